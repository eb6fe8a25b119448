"""The benchmark runs, and prints a line for each of its scenarios. What it measures is no test's business."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

LINES = (
    "durable POST of one message",
    "durable POST of 10 messages",
    "read of one message",
    "list of 20 by attribute",
    "L1 round trip, 1 client",
    "L1 round trip, 8 clients",
    "L2 to 2 members",
    "L2 to 8 members",
    "L2 to 32 members",
    "200 undelivered",
    "POST on SQLite, 1",
    "write to SQLite, 1",
)


def test_quick_run(tmp_path: Path) -> None:
    """``python -m bench --quick`` ends with 0 and names every scenario once."""
    command = [sys.executable, "-m", "bench", "--quick", "--home", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.strip() for line in done.stdout.splitlines()]
    for name in LINES:
        assert sum(row.startswith(name + "  ") for row in rows) == 1, done.stdout
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"
