"""Two brokers and one store: the second is refused while the first runs, and no one else is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import ROOT, Broker, wait_until

Start = Callable[..., Broker]


def refused(home: Path, *flags: str) -> str:
    """What the start of a broker in another home says that must fail with code 2."""
    done = pycmbs(home, "serve", "--port", "0", "--log-level", "warning", *flags)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    return done.stderr


def pycmbs(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a home."""
    command = [sys.executable, "-m", "pycmbs", *arguments, "--home", str(home)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("kind", ["sqlite", "couchdb"])
def test_a_second_broker_on_the_same_store_is_refused(
    start_broker: Start, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """Another home with the store of a broker that runs: the sentence names that one, which goes on listening."""
    url = request.getfixturevalue("couchdb_url") if kind == "couchdb" else f"sqlite:{tmp_path}/shared.db"
    first = start_broker("--workers", "1", "--store", url)
    first.become("l1")
    assert first.process is not None
    said = refused(tmp_path / "other", "--store", url)
    assert str(first.home) in said
    assert f"(pid {first.process.pid})" in said
    assert first.attributes(f"/cmbs/member/{first.member}", "member")["listening"] == ["l1"]
    first.kill()
    first.start()
    assert first.stop() == 0
    other = start_broker("--workers", "1", "--store", url)
    assert first.member in other.line


@pytest.mark.parametrize("kind", ["sqlite", "couchdb"])
def test_a_command_leaves_the_store_of_another_broker_that_runs(
    start_broker: Start, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """What needs its broker stopped is refused while the broker of another home works with the store, with a sentence that
    names that one; what does not is done. Once that one is stopped all of it is."""
    url = request.getfixturevalue("couchdb_url") if kind == "couchdb" else f"sqlite:{tmp_path}/shared.db"
    first = start_broker("--workers", "1", "--store", url)
    first.become("l1")
    other, file, copied = tmp_path / "other", tmp_path / "backup.db", f"sqlite:{tmp_path}/copy.db"
    assert pycmbs(other, "backup", str(file), "--store", url).returncode == 0
    commands = [
        ("store", "compact", "--store", url),
        ("store", "copy", url, copied),
        ("restore", str(file), "--store", url),
    ]
    for command in commands:
        done = pycmbs(other, *command)
        assert (done.returncode, str(first.home) in done.stderr) == (2, True), done
    assert first.get("/cmbs/member/")["X-OCCI-Location"] != []
    assert first.stop() == 0
    for command in commands[
        : 2 if kind == "couchdb" else 3
    ]:  # a database must be empty to have a backup restored to it
        done = pycmbs(other, *command)
        assert done.returncode == 0, done


def test_a_store_that_was_copied_from_a_killed_broker_is_served_elsewhere(start_broker: Start, tmp_path: Path) -> None:
    """File and log of a killed broker, in another home: it starts, once the first one was silent for long enough."""
    first = start_broker("--workers", "1")
    first.become("l1")
    first.kill()
    (tmp_path / "broker-1").mkdir()
    for file in first.home.glob("pycmbs.db*"):
        shutil.copy(file, tmp_path / "broker-1")
    second = start_broker("--workers", "1")
    assert first.member in second.line


def test_a_copied_home_is_another_one(start_broker: Start, tmp_path: Path) -> None:
    """A copy of a home is not taken for the home itself: two of them on one store do not run together."""
    url = f"sqlite:{tmp_path}/shared.db"
    first = start_broker("--workers", "1", "--store", url)
    shutil.copytree(first.home, tmp_path / "copy", ignore=lambda *_: ["engine.sock"])
    assert str(first.home) in refused(tmp_path / "copy", "--store", url)


def test_a_broker_that_was_held_up_and_lost_its_store_ends_its_engine(start_broker: Start, tmp_path: Path) -> None:
    """Who comes back after another broker took over does not go on sending: its engine ends, and says why."""
    url = f"sqlite:{tmp_path}/shared.db"
    first = start_broker("--workers", "1", "--store", url)
    engine = first.pid("engine")
    assert first.process is not None
    pids = [first.process.pid, engine]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    second = start_broker("--workers", "1", "--store", url)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: f"with the home {second.home}" in first.log(), 30, "the first one says who has its store")
    wait_until(lambda: not Path(f"/proc/{engine}").exists(), 30, "its engine ends")
    assert second.stop() == 0
    wait_until(lambda: first.state()["children"][0]["ready"], 60, "it gets the store back")
