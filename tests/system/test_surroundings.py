"""What surrounds a broker: descriptors, umask, signals, warnings, other users. None of it may hurt or change it."""

from __future__ import annotations

import json
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness import ROOT, Broker, free_port, wait_until

Start = Callable[..., Broker]
SERVE = "os.execv(sys.executable, [sys.executable, '-m', 'pycmbs', 'serve', *sys.argv[1:]])"
NOBODY = pwd.getpwnam("nobody").pw_uid
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def after(code: str) -> dict[str, tuple[str, ...]]:
    """Has a broker started by a process that did this before."""
    return {"program": ("-c", f"import os, signal, sys\n{code}\n{SERVE}")}


def refused(*flags: str, **environ: str) -> str:
    """What a start says that must fail with code 2 and one sentence."""
    command = [sys.executable, "-m", "pycmbs", "serve", "--port", "0", *flags]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2, done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def threads(pid: int) -> list[Path]:
    """What the kernel says of each thread of a process."""
    return list(Path(f"/proc/{pid}/task").glob("*/stat"))


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def silent_broker(home: Path, code: str) -> Iterator[dict[str, object]]:
    """One that was started by a process that did this before, and whose start line no one reads; its own record."""
    program = f"import os, signal, sys\n{code}\n{SERVE}"
    command = [sys.executable, "-c", program, "--home", str(home), "--port", str(free_port()), "--workers", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    record = home / "run" / "broker.json"
    try:
        wait_until(record.exists, 30, "a broker")
        yield json.loads(record.read_text())
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


def test_closed_standard_descriptors_are_opened(tmp_path: Path) -> None:
    """What is printed where standard output is closed goes nowhere: not into the lock, nor into any other file."""
    with silent_broker(tmp_path / "home", "for number in range(3): os.close(number)") as record:
        assert (tmp_path / "home" / "lock").read_text() == f"{record['pid']}\n"
        for number in range(3):
            assert Path(f"/proc/{record['pid']}/fd/{number}").readlink() == Path(os.devnull)


def test_a_home_that_others_could_read_becomes_its_owners_alone(start_broker: Start, tmp_path: Path) -> None:
    """Whatever the home and the umask were, no one else can enter it, and no file in it is anybody else's to read."""
    home = tmp_path / "broker-0"
    (home / "run").mkdir(parents=True)
    for path in (home, home / "run"):
        path.chmod(0o777)
    broker = start_broker("--workers", "1", **after("os.umask(0)"))
    assert broker.home == home
    assert [(one.name, oct(mode(one) & 0o077)) for one in (home, *home.rglob("*")) if mode(one) & 0o077] == []


@as_root
def test_a_home_of_another_user_is_refused(tmp_path: Path) -> None:
    """A broker does not take a directory that is another user's, nor one in it; the sentence names whose it is."""
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOBODY, -1)
    assert "nobody" in refused("--home", str(home))
    assert list(home.iterdir()) == []


@as_root
def test_another_user_cannot_control_the_engine(start_broker: Start) -> None:
    """Even where the permissions of the home were opened by hand, the engine answers its own user and root only."""
    broker = start_broker("--workers", "1")
    broker.become("l1")
    for path in (broker.home.parent, broker.home, broker.home / "run", broker.home / "run" / "engine.sock"):
        path.chmod(0o777)
    code = (
        "import os, socket, sys\n"
        "from pycmbs.control.frames import encode\n"
        f"os.setuid({NOBODY})\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect('run/engine.sock')\n"
        "try: s.sendall(encode({'id': 1, 'operation': 'stop', 'parameters': {'layer': 'l1'}})); print(len(s.recv(9)))\n"
        "except ConnectionError: print(0)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=broker.home, env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout == "0\n", done
    assert broker.attributes(f"/cmbs/member/{broker.member}", "member")["listening"] == ["l1"]


@pytest.mark.parametrize(
    "code",
    [
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    ],
)
def test_ignored_and_blocked_signals_of_the_starter_do_not_count(start_broker: Start, code: str) -> None:
    """A front that dies is replaced, and SIGTERM stops the broker, whatever its starter ignores or blocks."""
    broker = start_broker("--workers", "1", **after(code))
    front = broker.pid("front")
    os.kill(front, signal.SIGKILL)
    wait_until(
        lambda: [one for one in broker.state()["children"] if one["role"] == "front" and one["pid"] != front], 20
    )
    assert broker.stop() == 0


def test_warnings_are_no_errors(start_broker: Start) -> None:
    """PYTHONWARNINGS=error, which a developer may have set, keeps nothing from starting."""
    broker = start_broker("--workers", "1", environ={"PYTHONWARNINGS": "error"})
    assert broker.get("/-/")["kinds"]


def test_a_user_without_a_home_directory_is_told_to_name_one(tmp_path: Path) -> None:
    """No HOME and no entry in the password file: one sentence that names the flag."""
    code = (
        "import os, pwd, sys\n"
        "def unknown(*_): raise KeyError('nobody of that name')\n"
        "pwd.getpwuid = pwd.getpwnam = unknown\n"
        "os.environ.pop('HOME', None)\n"
        "from pycmbs.cli import main\n"
        "sys.argv[1:] = ['serve', '--port', '0']\nsys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "--home" in done.stderr
    gone = tmp_path / "gone"
    command = f"mkdir {gone} && cd {gone} && rmdir {gone} && exec {sys.executable} -m pycmbs serve --home relative"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("pycmbs: ")) == (2, 1), done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_that_a_frozen_child_holds_names_the_child(start_broker: Start) -> None:
    """After the supervisor was killed while a child was frozen, the sentence names that child and how to end it."""
    broker = start_broker("--workers", "1")
    engine = broker.pid("engine")
    os.kill(engine, signal.SIGSTOP)
    wait_until(
        lambda: all(one.read_text().rpartition(")")[2].split()[0] == "T" for one in threads(engine)), 20, "it is frozen"
    )
    assert broker.process is not None
    assert broker.process.stdout is not None
    broker.process.kill()
    broker.process.wait()
    broker.process.stdout.close()
    try:
        said = refused("--home", str(broker.home))
        assert f"kill -9 {engine}" in said
        assert str(broker.process.pid) not in said.split()
    finally:
        os.kill(engine, signal.SIGKILL)
    broker.start()
    assert broker.stop() == 0


def test_a_home_that_is_in_use_names_its_supervisor(start_broker: Start) -> None:
    """While a broker runs, a second one in its home is told who that is."""
    broker = start_broker("--workers", "1")
    assert broker.process is not None
    assert f"(pid {broker.process.pid})" in refused("--home", str(broker.home))
