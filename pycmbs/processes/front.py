"""A front process: eventlet, one HTTP server, the services. Nothing is monkey-patched: waiting goes through the runtime."""

from __future__ import annotations

import select
import socket
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

with warnings.catch_warnings():
    # eventlet announces its retirement at every import; that decision is recorded in doc/architecture.md.
    warnings.simplefilter("ignore")
    import eventlet
    import eventlet.event
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


class _Hub(eventlet.hubs.epolls.Hub):  # type: ignore[misc] # eventlet is untyped
    """The loop, which counts its turns. One begins where it looks who is ready; they all run before it looks again.

    A descriptor that was ready is not waited for any more, until somebody waits again; it stays known to epoll. So a wait costs
    one system call, and not two. One that was closed meanwhile is forgotten by itself.
    """

    turns = 0

    @staticmethod
    def is_available() -> bool:
        """Whether this platform has it: eventlet asks."""
        return hasattr(select, "epoll")

    def register(self, fileno: int, new: bool = False) -> None:
        """Wait once for what the listeners of a descriptor want."""
        del new
        mask = select.EPOLLONESHOT
        if fileno in self.listeners[self.READ]:
            mask |= self.READ_MASK | self.EXC_MASK
        if fileno in self.listeners[self.WRITE]:
            mask |= self.WRITE_MASK | self.EXC_MASK
        try:
            self.poll.modify(fileno, mask)
        except FileNotFoundError:
            self.poll.register(fileno, mask)
        except ValueError:  # it is closed
            self.remove_descriptor(fileno)
            raise

    def remove(self, listener: Any) -> None:
        """Have one listener less. What nobody waits for may wake the loop once more, for nothing."""
        eventlet.hubs.hub.BaseHub.remove(self, listener)
        if any(listener.fileno in self.listeners[kind] for kind in (self.READ, self.WRITE)):
            self.register(listener.fileno)

    def wait(self, seconds: float | None = None) -> None:
        """Look who is ready, wait for the first if nobody is, and run them."""
        type(self).turns += 1
        super().wait(seconds)


class GreenSignal:
    """A :class:`~pycmbs.runtime.Signal` among green threads."""

    def __init__(self) -> None:
        self._event = eventlet.event.Event()

    def set(self) -> None:
        """Wake all who wait."""
        if not self._event.ready():
            self._event.send(True)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until set; False when ``seconds`` passed first."""
        return bool(self._event.wait(seconds))


class GreenRuntime:
    """A :class:`~pycmbs.runtime.Runtime` on green threads."""

    cooperative = True

    def sleep(self, seconds: float) -> None:
        """Let other green threads run."""
        eventlet.sleep(seconds)

    def spawn(self, name: str, work: Callable[[], None], *, vital: bool = False) -> None:
        """Run ``work`` in a green thread after the caller next waits."""
        eventlet.spawn_n(guarded(name, work, vital=vital))

    def signal(self) -> Signal:
        """A signal for green threads."""
        return GreenSignal()

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
    server.serve(
        listener,
        application,
        started=me.announce_ready,
        drain_seconds=_DRAIN_SECONDS,
        certificates=certificates,
    )


if __name__ == "__main__":
    child.run(main)
