"""The supervisor, with real processes: children that speak its protocol and do nothing else."""

import contextlib
import itertools
import json
import os
import queue
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pycmbs.processes.child import BEAT
from pycmbs.processes.slot import Slot

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 20.0  # seconds until a condition that does not come true fails a test

# A child: says on standard error what happens to it. How it behaves is in the environment variable FAKE, by role.
CHILD = """
import os, signal, sys, time
from pycmbs.errors import ConfigurationError
from pycmbs.processes import child

def say(*words):
    os.write(2, (" ".join(map(str, words)) + "\\n").encode())

def main(me):
    behaviour = dict(pair.split(":") for pair in os.environ.get("FAKE", "").split()).get(me.name)
    def stop(*_):
        say(me.name, "asked to stop")
        if behaviour != "stubborn":
            raise SystemExit(0)
    signal.signal(signal.SIGTERM, stop)
    if behaviour == "refuses":
        raise ConfigurationError(me.name + " does not like its settings")
    if behaviour == "exits":
        sys.exit(3)
    if behaviour == "exits2":
        sys.exit(2)
    print("children may print", me.settings.port)
    say(me.name, "runs as", os.getpid())
    if behaviour != "mute":
        me.announce_ready()
    while True:
        time.sleep(0.1)
        me.beat()

child.run(main)
"""

# The parent: Supervisor with those children, and a prepare() that depends on the store.
PARENT = """
import json, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have ignored it, as nohup does
from pycmbs.config import Settings
from pycmbs.config_loading import load_settings
from pycmbs.errors import CmbsError, ConfigurationError
from pycmbs.processes.slot import Slot
from pycmbs.processes.supervisor import Supervisor

def prepare(settings):
    if settings.store == "memory:":
        raise ConfigurationError("the store memory: cannot be shared")
    return "store nowhere, member none"

options = json.loads(sys.argv[1])
Slot.READY_DEADLINE = options.pop("ready_deadline", Slot.READY_DEADLINE)
Slot.MOST_SILENT = options.pop("most_silent", Slot.MOST_SILENT)
child = [sys.executable, "-c", options.pop("child")]
try:
    sys.exit(Supervisor(load_settings(None, {}, options), prepare, {"engine": child, "front": child}).run())
except CmbsError as error:
    sys.stderr.write(f"pycmbs: {error.message}\\n")
    sys.exit(2 if isinstance(error, ConfigurationError) else 1)
"""


class Lines:
    """The lines of a stream, each awaited with a deadline."""

    def __init__(self, stream):
        self.seen = []
        self._queue = queue.SimpleQueue()
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._stream:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def until(self, *wanted):
        """The first new line that contains all of ``wanted``; fails at the end of the stream or the deadline."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"no line with {wanted} after {self.seen}"
            self.seen.append(line)
            if all(word in line for word in wanted):
                return line

    def rest(self):
        """All lines, once the stream ended."""
        self._thread.join(PATIENCE)
        with contextlib.suppress(queue.Empty):
            while (line := self._queue.get_nowait()) is not None:
                self.seen.append(line)
        return self.seen

    def close(self):
        self._thread.join(PATIENCE)
        self._stream.close()


class Broker:
    """A supervisor in a process group of its own, with its children."""

    def __init__(self, home, fake="", **options):
        self.home = home
        options = {"home": str(home), "port": "0", "child": CHILD, **options}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, json.dumps(options)],
            cwd=home.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT), "FAKE": fake, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)

    def ready(self):
        self.line = self.out.until("listening on")
        return self

    def record(self):
        return json.loads((self.home / "run" / "broker.json").read_text(encoding="utf-8"))

    def pids(self):
        return {child["name"]: child["pid"] for child in self.record()["children"]}

    def wait(self):
        return self.process.wait(PATIENCE)


@pytest.fixture
def start(tmp_path):
    """Start brokers in homes below ``tmp_path``; whatever is left of them is killed at the end."""
    brokers = []

    def start(fake="", name="home", **options):
        brokers.append(Broker(tmp_path / name, fake, **options))
        return brokers[-1]

    yield start
    for broker in brokers:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(broker.process.pid, signal.SIGKILL)
        broker.wait()
        broker.out.close()
        broker.err.close()


def eventually(condition):
    """Wait until ``condition`` holds; its result."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < deadline, "it never came true"
        select.select([], [], [], 0.01)
    return result


@contextlib.contextmanager
def ends(*pids):
    """Inside, something ends these processes; leaving waits until they have."""
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        for descriptor in descriptors:
            assert select.select([descriptor], [], [], PATIENCE)[0], "a process still runs"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_one_line_says_that_it_serves_and_where(start):
    """Standard output carries one line, after every child is ready; what children print goes to standard error."""
    broker = start().ready()
    record = broker.record()
    assert broker.line == f"pyCMBS 0.4.0 listening on {record['url']}, store nowhere, member none"
    assert record["url"] == f"http://127.0.0.1:{record['port']}/"
    assert record["port"] > 0
    assert record["pid"] == broker.process.pid
    assert [(child["name"], child["ready"]) for child in record["children"]] == [
        ("engine", True),
        ("front-0", True),
        ("front-1", True),
    ]
    broker.process.send_signal(signal.SIGTERM)
    assert broker.wait() == 0
    assert broker.out.rest() == [broker.line]
    assert f"children may print {record['port']}" in broker.err.rest()


def test_the_home_is_private_and_left_tidy(start):
    """Only the user can look into a home, and a stopped broker leaves no trace that it runs."""
    broker = start().ready()
    for directory in (broker.home, broker.home / "run"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    broker.process.send_signal(signal.SIGTERM)
    assert broker.wait() == 0
    assert list((broker.home / "run").iterdir()) == []


@pytest.mark.parametrize("role", ["engine", "front-0"])
def test_a_killed_child_is_started_again(start, role):
    """After SIGKILL of any child a new one serves in its place, the others stay, and the file names it."""
    broker = start().ready()
    before = broker.pids()
    os.kill(before[role], signal.SIGKILL)
    broker.err.until(role, "was killed by SIGKILL", "starting it again in 0.1 s")
    new = int(broker.err.until(f"{role} runs as").rpartition(" ")[2])
    eventually(lambda: broker.pids() == {**before, role: new})
    eventually(lambda: all(child["ready"] for child in broker.record()["children"]))
    assert new != before[role]


@pytest.mark.parametrize("role", ["engine", "front-0"])
def test_a_child_that_hangs_is_replaced(start, role):
    """A child that is there and does nothing any more is killed, and another takes its place."""
    broker = start(workers="2", most_silent=3).ready()
    first = broker.pids()[role]
    os.kill(first, signal.SIGSTOP)
    broker.err.until(f"{role} has given no sign of life")
    broker.err.until(f"{role} was killed by SIGKILL: starting it again")
    again = eventually(lambda: broker.pids().get(role) not in (None, first) and broker.pids()[role])
    assert Path(f"/proc/{again}").exists()


def test_a_broker_that_was_stopped_as_a_whole_goes_on(monkeypatch):
    """When all its processes are stopped and go on together, as at Ctrl-Z, none of them counts as hung."""
    clock = itertools.count(1000, 3600)
    monkeypatch.setattr("pycmbs.processes.slot.time.monotonic", lambda: next(clock))
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    slot = Slot("front", 0, [])
    slot.process, slot.ready, slot.ready_fd = object(), True, reader
    with os.fdopen(writer, "wb", buffering=0) as child:
        for _ in range(3 * Slot.MOST_SILENT):  # the supervisor runs once an hour, and so does the child
            assert not slot.look()
            child.write(BEAT)
            slot.listen()
        assert [slot.look() for _ in range(Slot.MOST_SILENT)] == [False] * (Slot.MOST_SILENT - 1) + [True]
    slot.close_pipe()


def test_a_child_that_keeps_dying_is_started_more_and_more_slowly(start):
    """The pause doubles, so that a child that cannot run does not take the machine."""
    broker = start().ready()
    for pause in ("0.1", "0.2", "0.4"):
        pid = eventually(lambda: broker.pids().get("front-1"))
        os.kill(pid, signal.SIGKILL)
        broker.err.until("front-1 was killed by SIGKILL", f"again in {pause} s")
        broker.err.until("front-1 runs as")
        eventually(lambda old=pid: broker.pids().get("front-1", old) != old)


def test_fronts_drain_before_the_engine_stops(start):
    """A request that is still answered finds the engine running."""
    broker = start().ready()
    broker.process.send_signal(signal.SIGTERM)
    assert broker.wait() == 0
    asked = [line for line in broker.err.rest() if line.endswith("asked to stop")]
    assert sorted(asked[:2]) == ["front-0 asked to stop", "front-1 asked to stop"]
    assert asked[2:] == ["engine asked to stop"]


@pytest.mark.parametrize("stubborn", ["front-0", "engine"])
def test_a_child_that_does_not_stop_is_killed_within_five_seconds(start, stubborn):
    """A stop takes five seconds at most, and ends the engine properly even when a front hangs."""
    broker = start(f"{stubborn}:stubborn").ready()
    pids = broker.pids()
    begun = time.monotonic()
    with ends(*pids.values()):
        broker.process.send_signal(signal.SIGTERM)
        assert broker.wait() == 0
    assert time.monotonic() - begun < 15
    lines = broker.err.rest()
    assert "engine asked to stop" in lines
    assert any(f"{stubborn} does not stop: killing it" in line for line in lines)


def test_ctrl_c_stops_once_and_a_second_one_kills(start):
    """Ctrl-C reaches the whole process group, drains, and pressed again ends everything at once."""
    broker = start("front-0:stubborn").ready()
    with ends(*broker.pids().values()):
        os.killpg(broker.process.pid, signal.SIGINT)
        broker.err.until("front-0 asked to stop")
        os.killpg(broker.process.pid, signal.SIGINT)
        assert broker.wait() == 0
    assert "engine asked to stop" not in broker.err.rest()
    assert not any("KeyboardInterrupt" in line for line in broker.err.rest())


def test_a_signal_to_the_whole_group_stops_it(start):
    """`kill -- -PGID` stops a broker cleanly."""
    broker = start().ready()
    with ends(*broker.pids().values()):
        os.killpg(broker.process.pid, signal.SIGTERM)
        assert broker.wait() == 0


def test_sighup_has_files_read_again(start):
    """Service managers reload so; also when all processes get it, none of them ends."""
    broker = start().ready()
    before = broker.pids()
    os.killpg(broker.process.pid, signal.SIGHUP)
    broker.err.until("are read again")
    assert broker.pids() == before
    with ends(*before.values()):
        os.killpg(broker.process.pid, signal.SIGTERM)
        assert broker.wait() == 0


def test_a_service_manager_is_told(start, monkeypatch, tmp_path):
    """That the broker serves, once it does; that it reads its files again; that it stops (sd_notify)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        broker = start().ready()
        told = manager.recv(4096).decode().splitlines()
        assert told[0] == "READY=1"
        assert told[1].startswith("STATUS=listening on http://")
        broker.process.send_signal(signal.SIGHUP)
        assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(4096) == b"READY=1"
        broker.process.send_signal(signal.SIGTERM)
        assert manager.recv(4096) == b"STOPPING=1"
        assert broker.wait() == 0


def test_a_stop_during_the_start_is_a_clean_stop(start):
    """A broker that is told to stop before it serves stops, and prints no start line."""
    broker = start("front-1:mute")
    broker.err.until("front-1 runs as")
    broker.process.send_signal(signal.SIGTERM)
    assert broker.wait() == 0
    assert broker.out.rest() == []


def test_children_do_not_outlive_a_killed_supervisor(start):
    """SIGKILL of the supervisor ends its children, and the home and the port can be used again at once."""
    broker = start().ready()
    port = broker.record()["port"]
    with ends(*broker.pids().values()):
        broker.process.kill()
        assert broker.wait() == -signal.SIGKILL
        successor = start(port=str(port))
    successor.ready()
    assert successor.record()["port"] == port


def test_a_port_in_use_is_said_in_one_sentence(start):
    """A second broker on the port, or any other server there, is told of by a sentence and code 2."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        broker = start(port=str(port))
        assert broker.wait() == 2
        assert broker.err.rest() == [
            f"pycmbs: port {port} on 127.0.0.1 is already in use: choose another with --port, or stop what listens there"
        ]
    first = start(name="first").ready()
    second = start(name="second", port=str(first.record()["port"]))
    assert second.wait() == 2
    assert "already in use" in second.err.rest()[0]


def test_a_second_broker_in_the_same_home_is_refused(start):
    """Two brokers never work on one database; the sentence names the one that runs."""
    first = start().ready()
    second = start()
    assert second.wait() == 2
    said = (
        f"pycmbs: another broker already uses the home {first.home} (pid {first.process.pid}): "
        "stop it, or choose another home with --home"
    )
    assert second.err.rest() == [said]
    assert first.record()["pid"] == first.process.pid


def test_a_home_that_cannot_be_used_is_named(start, tmp_path):
    """A file in the way, and a path too long for local sockets, are each one sentence."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    blocked = start(name="file")
    assert blocked.wait() == 2
    assert f"the home {tmp_path}/file cannot be used: File exists" in blocked.err.rest()[0]
    deep = start(name="x" * 100)
    assert deep.wait() == 2
    assert "too long a path" in deep.err.rest()[0]


def test_what_prepare_refuses_ends_the_start(start):
    """A store that the processes cannot share is refused before any of them is started."""
    broker = start(store="memory:")
    assert broker.wait() == 2
    assert broker.err.rest() == ["pycmbs: the store memory: cannot be shared"]


@pytest.mark.parametrize(
    ("behaviour", "code", "said"),
    [
        ("refuses", 2, "pycmbs: front-0 does not like its settings"),
        ("exits2", 2, "pycmbs: front-0 exited with code 2 before it was ready: see what it wrote above"),
        ("exits", 1, "pycmbs: front-0 exited with code 3 before it was ready: see what it wrote above"),
    ],
)
def test_a_child_that_cannot_start_ends_the_start(start, behaviour, code, said):
    """Its reason is the broker's own one sentence, and nothing is left running."""
    broker = start(f"front-0:{behaviour}")
    assert broker.wait() == code
    assert broker.err.rest()[-1] == said
    assert not (broker.home / "run" / "broker.json").exists()


def test_a_child_that_never_gets_ready_ends_the_start(start):
    """A start does not hang: after a while it fails and says who was missing."""
    broker = start("engine:mute", ready_deadline=1.0)
    assert broker.wait() == 1
    assert broker.err.rest()[-1] == "pycmbs: engine was not ready after 1 seconds"


def test_a_child_cannot_be_started_by_hand():
    """Who runs a child's module directly learns what to run instead."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "pycmbs: this process is started by the broker itself: run `pycmbs serve`\n",
    )


def test_all_processes_log_to_the_one_file(start, tmp_path):
    """A line says when, how grave, which process and from where; a file that cannot be opened is told of, with code 2."""
    broker = start(log_file=str(tmp_path / "log")).ready()
    broker.process.send_signal(signal.SIGTERM)
    assert broker.wait() == 0
    (line,) = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    expected = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z INFO supervisor\[{broker.process.pid}\] [\w.]+: stopping"
    assert re.fullmatch(expected, line)
    refused = start(name="other", log_file=str(tmp_path / "nowhere" / "log"))
    assert refused.wait() == 2
    assert refused.err.rest() == [
        f"pycmbs: log_file {tmp_path}/nowhere/log cannot be opened: No such file or directory"
    ]
