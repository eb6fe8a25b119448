"""The thread that serves a ZeroMQ transport's sockets.

It opens and closes them, receives, and sends what could not go out at once. Other threads hand *commands* to it, or say that a
*port* (a socket and what waits for it) is due, and wake it through a socket pair: one byte for as many commands as come
before it looks.

The loop waits with the system's selector on each socket's ``ZMQ_FD`` rather than with ``zmq.Poller``, which asks every
socket at every turn: a turn of the poller takes 0.44 ms with 1000 idle sockets, a turn here what the busy ones take. The
price is a rule. That descriptor signals edges, and any operation on the socket may swallow one; so serving a port ends with
reading ``ZMQ_EVENTS``, and says whether there is more to do. :class:`Port` spells it out. The same goes for a thread that
sends by itself."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from pycmbs.transport.base import Arrival, Receiver
from pycmbs.workers import new_thread

log = logging.getLogger(__name__)

T = TypeVar("T")

TICK = 1.0
"""Seconds between two calls of the loop's ``tick``."""

CALM = 0.05
"""Seconds to wait after a failure, so that one that repeats fills neither the log nor the processor."""


class Port(ABC):
    """A socket of the loop, with what waits to go out through it."""

    due = False
    """Whether the loop knows already that there is something to do; it need not be woken then."""

    @abstractmethod
    def serve(self, arrivals: list[Arrival]) -> bool:
        """Send and receive what can be now, a bounded batch; add to ``arrivals``. The return says, from ``ZMQ_EVENTS``
        read last, whether there is more to do at once; if not, the descriptor will tell."""

    @abstractmethod
    def close(self) -> None:
        """Give the socket back. Idempotent."""


class Loop:
    """The thread and its turns: select, run commands, serve ports, hand over what came.

    ``tick`` is called about every :data:`TICK` seconds, ``finish`` once at the end; both on the loop's thread.
    """

    def __init__(self, receiver: Receiver, *, tick: Callable[[], None], finish: Callable[[], None]) -> None:
        self._receiver = receiver
        self._tick = tick
        self._finish = finish
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._woken = False
        self._commands: deque[Callable[[], None]] = deque()
        self._due: deque[Port] = deque()
        self._ready: dict[Port, None] = {}  # a set that keeps its order: first come, first served
        self._next_tick = 0.0
        self._stopping = False
        self._thread = new_thread("zeromq-transport", self._run, vital=True)

    def start(self) -> None:
        """Begin to turn."""
        self._thread.start()

    def post(self, command: Callable[[], None]) -> None:
        """Have ``command`` run on the loop's thread, soon. From any thread; dropped once the loop has stopped."""
        self._commands.append(command)
        self._wake()

    def call(self, command: Callable[[], T], seconds: float) -> T:
        """Run ``command`` on the loop's thread and return its result or raise its exception. From any thread, the
        loop's own included. Raises :class:`TimeoutError` after ``seconds``; a command that has not begun by then never
        will."""
        if threading.current_thread() is self._thread:
            return command()
        if self._stopping:
            raise TimeoutError
        outcome: Future[T] = Future()

        def run() -> None:
            if outcome.set_running_or_notify_cancel():
                try:
                    outcome.set_result(command())
                except Exception as error:  # noqa: BLE001 - it is raised where it was called from
                    outcome.set_exception(error)

        self.post(run)
        try:
            return outcome.result(seconds)
        finally:
            outcome.cancel()

    def serve(self, port: Port) -> None:
        """Have ``port`` served in the next turn. From any thread. Costs little when that is known already."""
        if not port.due:
            port.due = True
            self._due.append(port)
            self._wake()

    def watch(self, port: Port, descriptor: int) -> None:
        """Serve ``port`` whenever ``descriptor`` signals, and once now. On the loop's thread."""
        self._selector.register(descriptor, selectors.EVENT_READ, port)
        self._ready[port] = None

    def unwatch(self, port: Port, descriptor: int) -> None:
        """The opposite. On the loop's thread, before the descriptor is closed."""
        self._selector.unregister(descriptor)
        self._ready.pop(port, None)

    def stop(self, seconds: float) -> None:
        """End the turns, run ``finish``, wait for the thread for at most ``seconds``. Idempotent, from any thread."""
        self._stopping = True
        self._wake(always=True)
        if threading.current_thread() is self._thread:
            return  # called by the receiver: the thread ends after this turn
        self._thread.join(seconds)
        if self._thread.is_alive():
            log.error("the thread of the ZeroMQ transport did not end within %.1f s; it is left behind", seconds)

    def _wake(self, *, always: bool = False) -> None:
        # The loop looks at its queues before it sleeps, so it need not wake itself.
        if (self._woken or threading.current_thread() is self._thread) and not always:
            return
        self._woken = True
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._wake_writer.send(b"\0")

    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    self._turn()
                except Exception:
                    log.exception("a turn of the ZeroMQ transport failed; it carries on")
                    time.sleep(CALM)
            self._run_commands()  # threads that wait for a command get its answer
        finally:
            try:
                self._finish()
            except Exception:
                log.exception("the ZeroMQ transport did not close cleanly")
            self._selector.close()
            self._wake_reader.close()
            self._wake_writer.close()

    def _turn(self) -> None:
        self._wait()
        self._run_commands()
        while self._due:
            self._ready[self._due.popleft()] = None
        ready, self._ready = self._ready, {}
        arrivals: list[Arrival] = []
        for port in ready:
            self._serve(port, arrivals)
        if arrivals:
            self._hand_over(arrivals)
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TICK
            self._tick()

    def _wait(self) -> None:
        """Until a descriptor signals, something is due, or it is time for a tick."""
        busy = self._ready or self._due or self._commands
        seconds = 0.0 if busy else max(0.0, self._next_tick - time.monotonic())
        for key, _ in self._selector.select(seconds):
            if key.data is not None:
                self._ready[key.data] = None
                continue
            self._wake_reader.recv(4096)
            # Only now, and before looking at the queues: what is queued later wakes again.
            self._woken = False

    def _run_commands(self) -> None:
        for _ in range(len(self._commands)):  # those that come later are for the next turn
            try:
                self._commands.popleft()()
            except Exception:
                log.exception("a command of the ZeroMQ transport failed")

    def _serve(self, port: Port, arrivals: list[Arrival]) -> None:
        try:
            if port.serve(arrivals):
                self._ready[port] = None
        except Exception:
            log.exception("a socket of the ZeroMQ transport failed: %s", port)
            self._ready[port] = None  # an edge may be lost: look again
            time.sleep(CALM)

    def _hand_over(self, arrivals: list[Arrival]) -> None:
        try:
            self._receiver(arrivals)
        except Exception:
            log.exception("the receiver failed on %d arrivals; they are lost", len(arrivals))
