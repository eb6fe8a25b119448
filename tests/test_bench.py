"""The benchmark runs, and prints a line for each of its scenarios. What it measures is no test's business."""

import subprocess
import sys
from pathlib import Path

from bench.growth import Curve
from bench.page import KEPT
from bench.results import Results, Scale

ROOT = Path(__file__).parent.parent

LINES = (
    "durable POST of one message",
    "durable POST of 100 messages",
    "read of one message",
    "list of 20 by attribute",
    "the same POST without a broker",
    "L1 round trip, 1 client",
    "L1 round trip, 8 clients",
    "L1 round trip, 1 client, durable",
    "L1 round trip, 8 clients, durable",
    "L2 to 2 members",
    "L2 to 32 members",
    "L3.2 to one broker",
    "engine, 200 undelivered",
    "durable POST over TLS",
    "new connection over TLS",
    "POST on SQLite, 1",
    "write to SQLite, 1",
)


def test_quick_run(short: Path) -> None:
    """``python -m bench --quick`` ends with 0 and names every scenario once."""
    results = short / "results.json"
    command = [sys.executable, "-m", "bench", "--quick", "--home", str(short), "--json", str(results)]
    for section in ("http", "l1", "l2", "l32", "memory", "tls", "stores"):  # others' servers are no part of this
        command += ["--only", section]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.strip() for line in done.stdout.splitlines()]
    for name in LINES:
        assert sum(row.startswith(name + "  ") for row in rows) == 1, done.stdout
    assert [path.name for path in short.iterdir()] == ["results.json"], "it leaves nothing else behind"
    kept = Results.read(results)
    assert [row.name for row in kept.rows("l2")] == ["L2 to 2 members", "L2 to 32 members"]
    assert all(row.ours.rate > 0 and row.reference.rate > 0 for table in kept.tables for row in kept.rows(table))


def test_a_quick_growth(short: Path) -> None:
    """``python -m bench.growth --quick`` measures every curve that the page shows, discovery by real engines included."""
    results = short / "growth.json"
    command = [sys.executable, "-m", "bench.growth", "--quick", "--home", str(short), "--json", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    measured, kept = (Curve.read(path)[0] for path in (results, KEPT / "growth.json"))
    assert [one.name for one in measured] == [one.name for one in kept]
    assert all(cost > 0 for one in measured for _, cost in one.points)


def test_a_small_scale(short: Path) -> None:
    """``python -m bench.stores`` measures every call that the page shows, at every size, and what is kept can be read again."""
    results = short / "scale.json"
    command = [sys.executable, "-m", "bench.stores", "--home", str(short), "--json", str(results)]
    command += ["--sqlite", "100,200", "--couchdb", "", "--seconds", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    measured, kept = (Scale.read(path) for path in (results, KEPT / "scale.json"))
    assert list(measured.costs["SQLite"]) == list(kept.costs["SQLite"])
    assert all(sorted(by_size) == [100, 200] for by_size in measured.costs["SQLite"].values())
    assert len({(one.store, one.writers) for one in measured.over_http}) == len(kept.over_http) == len(kept.alone)


def test_the_page_is_what_was_measured() -> None:
    """doc/performance.md is what ``python -m bench.page`` writes of the kept results: no figure in it was typed."""
    done = subprocess.run([sys.executable, "-m", "bench.page", "--check"], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0, "run: make page"
