"""The supervisor: locks home and port, starts the engine and the fronts, restarts those that die, stops them.

It serves nothing itself and imports neither eventlet nor zmq. Fronts stop before the engine, so that a request which
is still being answered finds everything it needs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import pycmbs
from pycmbs import clock, logs
from pycmbs.config import Settings
from pycmbs.errors import ConfigurationError, StoreUnavailable, Unavailable
from pycmbs.processes.child import Child
from pycmbs.processes.forked import run_forked
from pycmbs.processes.locks import lock_home, release_home, reserve_port
from pycmbs.processes.reach import check_reach
from pycmbs.processes.service_manager import tell
from pycmbs.processes.slot import Slot, describe_exit
from pycmbs.wsgi.tls import Certificates

_log = logging.getLogger(__name__)

FRONT_GRACE = 3.0  # seconds after the request to stop until fronts that still drain are killed …
STOP_GRACE = 4.0  # … and until the engine is, so that all is over within 5
STORE_PAUSE = 1.0  # seconds between looks at a store that does not answer yet
CLOCK_FILE = "clock.json"  # in the home: where time is counted from, until the machine is restarted

_STOP = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

_COMMANDS: Mapping[str, Sequence[str]] = {
    # -P: a module in the current directory must not come before the one it is named like.
    "engine": (sys.executable, "-P", "-m", "pycmbs.processes.engine"),
    "front": (sys.executable, "-P", "-m", "pycmbs.processes.front"),
}


def serve(settings: Settings, origins: Mapping[str, str]) -> int:
    """Run a broker until it is told to stop; the exit code. ``origins``: where settings are from, by name.

    Raises ConfigurationError when a setting keeps it from starting, Unavailable when something else does.
    """
    check_reach(settings, origins)
    Certificates.of(settings.tls_cert, settings.tls_key, settings.tls_client_ca)  # raises while nothing is begun
    return Supervisor(settings, _prepare).run()


def _prepare(settings: Settings) -> str:
    def work() -> str:
        from pycmbs.preparation import (
            prepare,  # the composition root: too heavy for a process that only looks after others
        )

        return prepare(settings)

    return run_forked(work)


class Supervisor:
    """Runs one broker. Must be used in the main thread, since it handles the process's signals.

    ``prepare`` makes the store ready and returns what the start line says about store and member;
    ``commands`` replaces the command lines by role, for tests.
    """

    def __init__(
        self,
        settings: Settings,
        prepare: Callable[[Settings], str],
        commands: Mapping[str, Sequence[str]] = _COMMANDS,
    ) -> None:
        self._settings = settings
        self._prepare = prepare
        self._engine = Slot("engine", 0, commands["engine"])
        self._fronts = [Slot("front", index, commands["front"]) for index in range(settings.workers)]
        self._slots = [self._engine, *self._fronts]
        self._orders: Child
        self._wakeup: socket.socket
        self._description = ""
        self._prepare_at: float | None = None  # when to look again for a store that did not answer
        self._ahead = 0.0  # how far the wall clock was set, as was said
        self._serving = False  # everything was ready once, and the start line is printed
        self._had_terminal = _has_terminal()
        self._stopping_since: float | None = None

    def run(self) -> int:
        """Start, supervise, stop; 0 after a stop that was asked for. Raises as :func:`serve` does."""
        with contextlib.ExitStack() as stack:
            lock = lock_home(self._settings)
            stack.callback(release_home, lock)
            logs.configure(self._settings, "supervisor")
            port = stack.enter_context(reserve_port(self._settings.host, self._settings.port))
            self._settings = replace(self._settings, port=port.getsockname()[1])
            self._prepare_store()
            lifeline, ours = os.pipe()
            stack.callback(os.close, ours)
            stack.callback(os.close, lifeline)
            origin = clock.resumed(self._settings.home / CLOCK_FILE)
            clock.begin(origin)
            self._orders = Child("", 0, self._settings, ready_fd=-1, lifeline_fd=lifeline, lock_fd=lock, origin=origin)
            stack.callback(self._clean_up)
            self._wakeup = stack.enter_context(_signals())
            self._supervise()
        return 0

    def _prepare_store(self) -> None:
        """Make the store ready; the broker starts without one that does not answer, refuses with 503, and waits for it."""
        try:
            description = self._prepare(self._settings)
        except StoreUnavailable as error:
            if self._prepare_at is None:
                self._description = f"without its store: {error.message}"
                _log.warning("the store does not answer, and every request gets a 503 until it does: %s", error.message)
            self._prepare_at = time.monotonic() + STORE_PAUSE
        else:
            if self._prepare_at is not None:
                _log.info("the store answers: %s", description)
            self._description, self._prepare_at = description, None

    def _supervise(self) -> None:
        for slot in self._slots:
            self._start(slot)
        while not self._stopped():
            self._wait()
            self._watch_clock()
            self._obey()
            for slot in self._slots:
                self._look_after(slot)
            if self._stopping_since is not None:
                self._stop_step(time.monotonic() - self._stopping_since)
                continue
            if self._prepare_at is not None and time.monotonic() >= self._prepare_at:
                self._prepare_store()
            if not self._serving and all(slot.ready for slot in self._slots):
                self._announce()

    def _start(self, slot: Slot) -> None:
        try:
            slot.start(self._orders)
        except OSError as error:
            if not self._serving:
                raise Unavailable(f"{slot.name} could not be started: {error.strerror}") from error
            _log.error("%s could not be started: %s; again in %.1f s", slot.name, error.strerror, slot.schedule())
        self._record()

    def _stopped(self) -> bool:
        return self._stopping_since is not None and not any(slot.process for slot in self._slots)

    def _wait(self) -> None:
        """Wait for a signal (the end of a child is one), a word from a child, or the next thing that is due."""
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        for slot in self._slots:
            if slot.ready_fd >= 0:
                poll.register(slot.ready_fd, select.POLLIN)
        now = time.monotonic()
        due = list(self._due())
        poll.poll(max(0.0, min(due) - now) * 1000 + 1 if due else None)

    def _due(self) -> Iterator[float]:
        if self._stopping_since is not None:
            fronts = [slot for slot in self._fronts if slot.process]
            if any(slot.told is not signal.SIGKILL for slot in fronts or [self._engine]):
                yield self._stopping_since + (FRONT_GRACE if fronts else STOP_GRACE)
            return
        if self._prepare_at is not None:
            yield self._prepare_at
        for slot in self._slots:
            if slot.restart_at is not None:
                yield slot.restart_at
            elif slot.late_at is not None:
                yield slot.late_at
            elif slot.look_at is not None:
                yield slot.look_at

    def _watch_clock(self) -> None:
        """Say that the wall clock was set; what is reckoned goes on as if it was not."""
        ahead = clock.ahead()
        if abs(ahead - self._ahead) > clock.NOTICED:
            self._ahead = ahead
            way = f"{abs(ahead):g} s {'ahead of' if ahead > 0 else 'behind'}" if ahead else "as far as"
            _log.warning("the clock was set: it is %s what has passed; deadlines and ages go by what has passed", way)

    def _obey(self) -> None:
        """Act on the signals that came: the first asks to stop, Ctrl-C after that kills at once."""
        received = set(self._read_signals())
        if signal.SIGHUP in received and self._stopping_since is None and self._reloads():
            received.discard(signal.SIGHUP)
        if not received & _STOP:
            return
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            _log.info("stopping")
            tell("STOPPING=1")
        elif signal.SIGINT in received:
            _log.warning("asked again to stop: stopping at once")
            for slot in self._slots:
                slot.send(signal.SIGKILL)

    def _reloads(self) -> bool:
        """Have files read again: certificates, and the log that was moved away; others are read as soon as they change. False
        where SIGHUP asks to stop instead, since the terminal is gone."""
        if self._had_terminal and not _has_terminal():
            return False
        tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        _log.info("certificates and the file of the log are read again")
        for slot in self._fronts:
            if slot.ready:  # else it has yet to read them
                slot.send(signal.SIGHUP)
        tell("READY=1")
        return True

    def _read_signals(self) -> bytes:
        try:
            return self._wakeup.recv(4096)
        except BlockingIOError:
            return b""

    def _look_after(self, slot: Slot) -> None:
        if slot.listen():
            self._record()
        code = slot.died()
        if self._stopping_since is not None:
            return
        now = time.monotonic()
        if code is not None:
            self._lost(slot, code)
        elif slot.restart_at is not None and now >= slot.restart_at:
            self._start(slot)
        elif slot.late_at is not None and now >= slot.late_at:
            if not self._serving:
                raise Unavailable(f"{slot.name} was not ready after {slot.READY_DEADLINE:.0f} seconds")
            _log.error("%s was not ready after %.0f seconds: killing it", slot.name, slot.READY_DEADLINE)
            slot.send(signal.SIGKILL)
        elif slot.look_at is not None and now >= slot.look_at and slot.look():
            _log.error("%s has given no sign of life for %.0f seconds: killing it", slot.name, slot.MOST_SILENT)
            slot.send(signal.SIGKILL)

    def _lost(self, slot: Slot, code: int) -> None:
        """A child died without being asked to: fatal while the broker starts, otherwise it is started again."""
        if not self._serving:
            if slot.reason:
                raise ConfigurationError(slot.reason)
            sentence = f"{slot.name} {describe_exit(code)} before it was ready: see what it wrote above"
            raise ConfigurationError(sentence) if code == 2 else Unavailable(sentence)
        reason = f" ({slot.reason})" if slot.reason else ""
        _log.error("%s %s%s: starting it again in %.1f s", slot.name, describe_exit(code), reason, slot.schedule())
        self._record()

    def _stop_step(self, since: float) -> None:
        """Bring the stop on: fronts first, then the engine; those too slow are killed."""
        fronts = [slot for slot in self._fronts if slot.process]
        late = since >= (FRONT_GRACE if fronts else STOP_GRACE)
        for slot in fronts or [self._engine]:
            if late and slot.told is not signal.SIGKILL:
                _log.warning("%s does not stop: killing it", slot.name)
                slot.send(signal.SIGKILL)
            elif slot.told is None:
                slot.send(signal.SIGTERM)

    def _announce(self) -> None:
        self._serving = True
        self._record()
        tell("READY=1", f"STATUS=listening on {self._settings.url}, {self._description}")
        line = f"pyCMBS {pycmbs.__version__} listening on {self._settings.url}, {self._description}\n"
        with contextlib.suppress(OSError):  # a broken pipe is no reason not to serve
            os.write(1, line.encode())  # at once, and nothing stays in a buffer to fail at exit

    def _record(self) -> None:
        """Write ``broker.json``: who runs now. Not before everything was ready once."""
        if not self._serving:
            return
        document = {
            "pid": os.getpid(),
            "version": pycmbs.__version__,
            "host": self._settings.host,
            "port": self._settings.port,
            "url": self._settings.url,
            "restarts": {slot.name: max(0, slot.restarts) for slot in self._slots},
            "children": [
                {"name": slot.name, "role": slot.role, "pid": slot.process.pid, "ready": slot.ready}
                for slot in self._slots
                if slot.process
            ],
        }
        path = self._settings.processes_file
        new = path.with_suffix(".new")
        try:
            new.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            new.replace(path)
        except OSError as error:  # a full disk must not end the supervision
            _log.warning("%s cannot be written: %s", path, error.strerror)

    def _clean_up(self) -> None:
        for slot in self._slots:
            slot.send(signal.SIGKILL)
        for slot in self._slots:
            if slot.process:
                slot.process.wait()
            slot.close_pipe()
        self._settings.processes_file.unlink(missing_ok=True)


def _has_terminal() -> bool:
    """Whether this process can be hung up on: it is of a session that has a terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that gets one byte per signal, its number: those that stop, and the end of a child."""
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    wanted = {*_STOP, signal.SIGCHLD}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        wanted.discard(signal.SIGHUP)  # started with nohup
    previous_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    # A handler that does nothing: only with one does the byte get written.
    previous = {number: signal.signal(number, lambda *_: None) for number in wanted}
    try:
        yield receiver
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_fd)
        receiver.close()
        sender.close()
