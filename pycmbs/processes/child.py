"""Start-up and life of a child process: reads its orders, and ends with its parent.

A child is started by exec with its orders as JSON in a file without a name (settings hold secrets, and ``ps`` shows
environments), whose descriptor is in the environment variable ``PYCMBS_CHILD``::

    {"role": "front", "index": 0, "settings": {…}, "ready_fd": 5, "lifeline_fd": 6, "lock_fd": 4, "origin": 1.8e9}

- ``ready_fd``: the child writes the byte ``1`` when it serves, or the sentence that says why it never will. While it serves it
  writes a byte a second, its heartbeat: one that falls silent hangs, and is replaced.
- ``lifeline_fd``: nothing is ever written there; end of file means that the supervisor is gone.
- ``lock_fd``: the lock on the home. Held, never used: no new broker starts in this home while a child still runs.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import NoReturn

from pycmbs import clock, logs
from pycmbs.config import Settings
from pycmbs.errors import ConfigurationError
from pycmbs.workers import KEEPER, new_thread

VARIABLE = "PYCMBS_CHILD"
log = logging.getLogger(__name__)

READY = b"1"
BEAT = b"."
BEAT_SECONDS = 1.0
"""Between two heartbeats of a child that serves."""
_UNSEEN = 10_000
"""Objects more than before, of those that can hold others, until the garbage collector looks at them: Python's own 700 are made
by a request with 25 messages."""


@dataclass
class Child:
    """What the supervisor told this process. ``settings.port`` is the port to serve, also where the user said 0.

    ``ready_fd`` is -1 once there is nothing more to report.
    """

    role: str
    index: int
    settings: Settings
    ready_fd: int
    lifeline_fd: int
    lock_fd: int
    origin: float
    """Where the broker's processes count time from (:mod:`pycmbs.clock`)."""
    serves: bool = False
    """Whether the supervisor was told that this process serves."""

    @property
    def name(self) -> str:
        """``engine``, ``front-0``, ``front-1`` …, for logs."""
        return process_name(self.role, self.index)

    def to_json(self) -> str:
        """The text of the orders."""
        document = {
            name: getattr(self, name) for name in ("role", "index", "ready_fd", "lifeline_fd", "lock_fd", "origin")
        }
        return json.dumps({**document, "settings": self.settings.to_json()})

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> Child:
        """The orders that ``environ`` says where to find, and does not any more then: what this process starts, such as
        handlers, is not to know them. Raises ConfigurationError when there are none, as it was started by hand."""
        if VARIABLE not in environ:
            raise ConfigurationError("this process is started by the broker itself: run `pycmbs serve`")
        with os.fdopen(int(environ.pop(VARIABLE)), "rb") as orders:
            document = json.load(orders)
        return cls(**{**document, "settings": Settings.from_json(document["settings"])})

    def orders(self) -> int:
        """A descriptor from which another process can read all this."""
        descriptor = os.memfd_create("orders")
        with os.fdopen(descriptor, "wb", closefd=False) as orders:
            orders.write(self.to_json().encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def announce_ready(self) -> None:
        """Tell the supervisor that this process serves. Once only; from here on it waits for every :meth:`beat`.

        What was made by now stays as long as the process, and the garbage collector passes it over from here on. Nearly all
        else goes by itself, so it looks for what does not less often: looking took a tenth of a message's time.
        """
        gc.collect()
        gc.freeze()
        gc.set_threshold(_UNSEEN)
        os.set_blocking(self.ready_fd, False)
        self.serves = True
        self._tell(READY)

    def beat(self) -> None:
        """Tell the supervisor that this process works. To be called every :data:`BEAT_SECONDS`, by what would not get its turn
        if the process hung."""
        if self.serves and self.ready_fd >= 0:
            self._tell(BEAT)

    def beat_for_ever(self, sleep: Callable[[float], object] = time.sleep) -> None:
        """For ever: a :meth:`beat` after every sleep."""
        while True:
            sleep(BEAT_SECONDS)
            self.beat()

    def announce_failure(self, sentence: str) -> None:
        """Tell the supervisor why this process will never serve; instead of :meth:`announce_ready`, then exit."""
        self._tell(sentence.encode())
        self._close()

    def _tell(self, message: bytes) -> None:
        try:
            os.write(self.ready_fd, message[:4096])
        except BlockingIOError:
            pass  # the supervisor does not read just now, and has enough heartbeats to read
        except BrokenPipeError:
            self._close()  # the supervisor is gone, and the lifeline is about to say so

    def _close(self) -> None:
        descriptor, self.ready_fd = self.ready_fd, -1
        os.close(descriptor)

    def watch_lifeline(self) -> None:
        """Exit at once when the supervisor is gone, even by SIGKILL: watched by an operating-system thread."""
        new_thread("lifeline", self._await_end, vital=True).start()

    def _await_end(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
        while os.read(self.lifeline_fd, 1):
            pass
        # No clean-up: a new supervisor may already wait for this home, and what was accepted is on disk.
        os._exit(1)


def process_name(role: str, index: int) -> str:
    """How a child is called in logs: the engine is one, fronts are numbered."""
    return role if role == "engine" else f"{role}-{index}"


def ignore_interrupt() -> None:
    """Leave Ctrl-C and a terminal that is closed, which reach the whole process group, to the supervisor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # The supervisor starts its children with SIGINT blocked, so that it cannot hit them before this line.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def enter() -> Child:
    """Become a child: read the orders, keep the descriptors to this process, log, ignore Ctrl-C, watch the lifeline.

    Raises ConfigurationError when there are no orders or the log cannot be opened.
    """
    child = Child.from_environ(os.environ)
    clock.begin(child.origin)
    for descriptor in (child.ready_fd, child.lifeline_fd, child.lock_fd):
        os.set_inheritable(descriptor, False)
    ignore_interrupt()
    child.watch_lifeline()
    KEEPER.ending = _end_process
    threading.excepthook = _log_thread
    logs.configure(child.settings, child.name)
    return child


def _end_process() -> None:
    """End at once, to be started again. Nothing is tidied up: what was accepted is on disk."""
    log.critical("a thread that this process needs has died: exiting, to be restarted")
    os._exit(1)


def _log_thread(failed: threading.ExceptHookArgs) -> None:
    """Log what ended a thread that others started, such as a library."""
    name = failed.thread.name if failed.thread is not None else "unknown"
    error = failed.exc_value or failed.exc_type()
    log.critical("the thread %s ended by an error", name, exc_info=error)


def run(main: Callable[[Child], None]) -> NoReturn:
    """Run ``main`` as this process and exit: 0 when it returns, 2 when it (or :func:`enter`) finds a setting wrong.

    A ConfigurationError of ``main`` before :meth:`Child.announce_ready` reaches the user as the supervisor's own one sentence.
    """
    child = None
    try:
        child = enter()
        main(child)
    except ConfigurationError as error:
        if child is None or child.serves:
            sys.stderr.write(f"pycmbs: {error.message}\n")
        else:
            child.announce_failure(error.message)
        sys.exit(2)
    sys.exit(0)
