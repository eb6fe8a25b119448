"""A front process: eventlet, one HTTP server, the services. Nothing is monkey-patched: waiting goes through the runtime."""

from __future__ import annotations

import select
import socket
import sys
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

with warnings.catch_warnings():
    # eventlet announces its retirement at every import; that decision is recorded in doc/architecture.md.
    warnings.simplefilter("ignore")
    import eventlet
    import eventlet.green.socket
    import eventlet.hubs.epolls
    import eventlet.hubs.hub
    import eventlet.tpool

    from pycmbs.wsgi import server

from pycmbs import broker
from pycmbs.processes import child
from pycmbs.runtime import Signal, connected
from pycmbs.workers import guarded
from pycmbs.wsgi.tls import Certificates

T = TypeVar("T")

_DRAIN_SECONDS = 2.5
_FAILED = select.EPOLLERR | select.EPOLLHUP
_READABLE = select.EPOLLIN | select.EPOLLPRI | _FAILED
_WRITABLE = select.EPOLLOUT | _FAILED


class _Hub(eventlet.hubs.epolls.Hub):  # type: ignore[misc] # eventlet is untyped
    """The loop, which counts its turns. One begins where it looks who is ready; they all run before it looks again.

    A descriptor that was ready is not waited for any more, until the next wait; it stays known to epoll. So a wait costs
    one system call, and not two. A closed one is forgotten automatically.
    """

    turns = 0

    @staticmethod
    def is_available() -> bool:
        """Whether this platform has it: eventlet asks."""
        return hasattr(select, "epoll")

    def add(self, evtype: str, fileno: int, cb: Any, tb: Any, mac: Any) -> Any:
        """Have one more listener."""
        listener = eventlet.hubs.hub.BaseHub.add(self, evtype, fileno, cb, tb, mac)
        self.register(fileno)
        return listener

    def register(self, fileno: int, new: bool = False) -> None:
        """Wait once for what the listeners of a descriptor want."""
        del new
        mask = select.EPOLLONESHOT
        if fileno in self.listeners[self.READ]:
            mask |= _READABLE
        if fileno in self.listeners[self.WRITE]:
            mask |= _WRITABLE
        try:
            self.poll.modify(fileno, mask)
        except FileNotFoundError:
            self.poll.register(fileno, mask)
        except ValueError:  # it is closed
            self.remove_descriptor(fileno)
            raise

    def remove(self, listener: Any) -> None:
        """Remove a listener. Its descriptor may wake the loop once more, for nothing."""
        eventlet.hubs.hub.BaseHub.remove(self, listener)
        fileno = listener.fileno
        if fileno in self.listeners[self.READ] or fileno in self.listeners[self.WRITE]:
            self.register(fileno)

    def wait(self, seconds: float | None = None) -> None:
        """Run the listeners that are ready; if there are none, wait for the first."""
        type(self).turns += 1
        readers, writers = self.listeners[self.READ], self.listeners[self.WRITE]
        ready = []
        for fileno, event in self.poll.poll(seconds):
            if event & _READABLE and (listener := readers.get(fileno)):
                ready.append(listener)
            if event & _WRITABLE and (listener := writers.get(fileno)):
                ready.append(listener)
        for listener in ready:  # all were found before the first runs, which may change who listens
            try:
                listener.cb(listener.fileno)
            except self.SYSTEM_EXCEPTIONS:
                raise
            except BaseException:  # noqa: BLE001 - the loop goes on, whatever ends a green thread
                self.squelch_exception(listener.fileno, sys.exc_info())


class _Woken:
    """Signals that were set: those who wait for them go on in the loop's next turn. One timer does that for all of a turn,
    where eventlet's own events take one for each who waits."""

    def __init__(self) -> None:
        self._signals: deque[GreenSignal] = deque()

    def add(self, signal: GreenSignal) -> None:
        """One more."""
        if not self._signals:
            eventlet.hubs.get_hub().schedule_call_global(0, self._resume)
        self._signals.append(signal)

    def _resume(self) -> None:
        now, self._signals = self._signals, deque()
        try:
            while now:
                now.popleft().resume()
        finally:
            for left in now:  # the one before ended by an error, of which the loop tells
                self.add(left)


class GreenSignal:
    """A :class:`~pycmbs.runtime.Signal` among green threads."""

    __slots__ = ("_set", "_waiting", "_woken")

    def __init__(self, woken: _Woken) -> None:
        self._woken = woken
        self._set = False
        self._waiting: set[Any] = set()

    def set(self) -> None:
        """Wake all who wait."""
        if not self._set:
            self._set = True
            if self._waiting:
                self._woken.add(self)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until set; False when ``seconds`` passed first."""
        if self._set:
            return True
        hub, me = eventlet.hubs.get_hub(), eventlet.getcurrent()
        timer = None if seconds is None else hub.schedule_call_global(seconds, me.switch)
        self._waiting.add(me)
        try:
            hub.switch()
        finally:
            self._waiting.discard(me)
            if timer is not None:
                timer.cancel()
        return self._set

    def resume(self) -> None:
        """Have all who wait go on. For the loop, to which each comes back when it next waits."""
        try:
            while self._waiting:
                self._waiting.pop().switch()
        finally:
            if self._waiting:
                self._woken.add(self)


class GreenRuntime:
    """A :class:`~pycmbs.runtime.Runtime` on green threads."""

    cooperative = True

    def __init__(self) -> None:
        self._woken = _Woken()

    def sleep(self, seconds: float) -> None:
        """Let other green threads run."""
        eventlet.sleep(seconds)

    def spawn(self, name: str, work: Callable[[], None], *, vital: bool = False) -> None:
        """Run ``work`` in a green thread after the caller next waits."""
        eventlet.spawn_n(guarded(name, work, vital=vital))

    def signal(self) -> Signal:
        """A signal for green threads."""
        return GreenSignal(self._woken)

    def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Run it in an operating-system thread, while other green threads go on."""
        result: T = eventlet.tpool.execute(work, *args)
        return result

    def turn(self) -> int | None:
        """That of the loop."""
        return _Hub.turns

    def connect_unix(self, path: str) -> socket.socket:
        """A green socket."""
        return connected(eventlet.green.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path)


def main(me: child.Child) -> None:
    """Serve HTTP until SIGTERM."""
    eventlet.hubs.use_hub(_Hub)
    runtime = GreenRuntime()
    application = broker.build_application(me.settings, runtime)
    runtime.spawn("heartbeat", lambda: me.beat_for_ever(eventlet.sleep), vital=True)
    certificates = Certificates.of(me.settings.tls_cert, me.settings.tls_key, me.settings.tls_client_ca)
    listener = server.listen(me.settings.host, me.settings.port)
    try:
        server.serve(
            listener,
            application,
            started=me.announce_ready,
            ending=application.ending,
            drain_seconds=_DRAIN_SECONDS,
            certificates=certificates,
        )
    finally:
        application.close()


if __name__ == "__main__":
    child.run(main)
