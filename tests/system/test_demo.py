"""``pycmbs demo`` shows what it says, ends by itself, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, wait_until

COMMAND = [sys.executable, "-m", "pycmbs", "demo"]
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background has it ignored
from pycmbs.cli import main
sys.exit(main(["demo"]))
"""


def brokers_in(folder: Path) -> list[str]:
    """The processes that were started with a home in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if f"{folder}/pycmbs-demo-".encode() in told:
            found.append(process.name)
    return found


def test_the_demo(short: Path) -> None:
    """Discovery, all five layers, a kill and a restart, in under 30 seconds, in lines a person can read."""
    environ = {**os.environ, "TMPDIR": str(short), "PYCMBS_PORT": "1"}
    done = subprocess.run(COMMAND, capture_output=True, text=True, env=environ, cwd=ROOT, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    steps = ["start", "discover", "l1", "l2", "l3.1", "l3.2", "l4", "kill", "restart", "end"]
    assert [step for step, _ in lines] == steps
    said = dict(lines)
    assert "rome delivered, oslo delivered" in said["l2"]
    assert said["l3.2"].endswith("network.link: rome delivered")
    assert said["kill"].endswith("they are sending")
    assert "[0, 1, 2]" in said["restart"]
    assert list(short.iterdir()) == []
    assert brokers_in(short) == []


def test_the_demo_of_keys(short: Path) -> None:
    """An invitation, two that join by it and know each other, a stranger, one that is revoked."""
    environ = {**os.environ, "TMPDIR": str(short), "PYCMBS_PORT": "1"}
    done = subprocess.run(
        [*COMMAND, "--secure"], capture_output=True, text=True, env=environ, cwd=ROOT, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    steps = ["start", "invite", "join", "join", "vouch", "send", "late", "stranger", "revoke", "gone", "end"]
    assert [step for step, _ in lines] == steps
    said = dict(lines)
    assert "joined paris at tcp://127.0.0.1:" in said["join"]
    assert said["send"].endswith("delivered")
    assert said["late"].endswith("this invitation has expired")
    assert said["stranger"].endswith("it does not know this member")
    assert "sends to oslo is failed" in said["gone"]
    assert list(short.iterdir()) == []
    assert brokers_in(short) == []


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo(short: Path, which: signal.Signals) -> None:
    """Ctrl-C in the middle: exit code 130, no process and no file left."""
    environ = {**os.environ, "TMPDIR": str(short)}
    command = [sys.executable, "-c", INTERRUPTIBLE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("start")
        assert brokers_in(short)
        process.send_signal(which)
        assert process.wait(10) == 130
    assert list(short.iterdir()) == []
    wait_until(lambda: brokers_in(short) == [], what="no process is left")


def test_a_demo_that_is_kept(short: Path) -> None:
    """Three URLs that answer until Ctrl-C, as contexts with which commands work; nothing is left then."""
    environ = {**os.environ, "TMPDIR": str(short), "XDG_CONFIG_HOME": str(short / "config")}
    command = [sys.executable, "-c", INTERRUPTIBLE.replace('"demo"', '"demo", "--keep"')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, cwd=ROOT) as process:
        assert process.stdout is not None
        lines = []
        while not (lines and lines[-1].startswith("Ctrl-C")):
            lines.append(process.stdout.readline())
        urls = dict(line.split() for line in lines if line.startswith("demo-"))
        assert sorted(urls) == ["demo-oslo", "demo-paris", "demo-rome"]
        for name in urls:
            asked = [sys.executable, "-m", "pycmbs", "members", "--context", name, "-o", "value"]
            found = subprocess.run(asked, capture_output=True, text=True, env=environ, cwd=ROOT, timeout=30, check=True)
            assert set(found.stdout.split()) == {"oslo", "paris", "rome"}
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert "demo-" not in (short / "config" / "pycmbs" / "contexts.toml").read_text()
    wait_until(lambda: brokers_in(short) == [], what="no process is left")
