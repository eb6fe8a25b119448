"""The HTTP server: eventlet's WSGI server with the settings its defaults get wrong. One of two modules that know eventlet."""

from __future__ import annotations

import contextlib
import errno
import heapq
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import eventlet
import eventlet.greenio
import eventlet.wsgi
from eventlet.hubs import trampoline

from pycmbs import descriptors
from pycmbs.wsgi.connection import Connection

log = logging.getLogger(__name__)

_KEEP_ALIVE_SECONDS = 75
_HEADER_SECONDS = 60
_MOST_CONNECTIONS = 10_000  # beyond, and where there are no descriptors, those that were idle for longest give way
_GIVE_WAY = 16  # of these at a time
_SPARE_DESCRIPTORS = 256  # for everything but connections
_SAY_SECONDS = 60.0  # between two lines that say so
_CALM_SECONDS = 0.1  # before it is tried again to accept where there was no descriptor
_BACKLOG = 1024
_LINGER_SECONDS = 2.0
_PIECE = 65_536
_LOOK_SECONDS = 1.0
"""How often it is looked for connections that are silent for too long. A timer for every wait would cost more than the wait."""


class _Channel:
    """A client's socket, for :class:`~pycmbs.wsgi.connection.Connection`."""

    def __init__(self, state: list[Any]) -> None:
        """``state``: eventlet's record of the connection: address, socket, and whether a request is under way."""
        self._state = state
        self._green = state[1]
        self._plain: socket.socket = state[1].fd
        self.deadline = 0.0
        self.idle = True

    @property
    def closing(self) -> bool:
        """See :class:`~pycmbs.wsgi.connection.Channel`."""
        return bool(self._state[2] is eventlet.wsgi.STATE_CLOSE)

    def receive(self, *, idle: bool) -> bytes:
        """See :class:`~pycmbs.wsgi.connection.Channel`. Always waits, so whoever else is ready goes first."""
        if idle:
            if self.closing:
                return b""
            self._state[2] = eventlet.wsgi.STATE_IDLE
        self.idle = idle
        self.deadline = time.monotonic() + (_KEEP_ALIVE_SECONDS if idle else _HEADER_SECONDS)
        while True:
            trampoline(self._plain, read=True)
            try:
                piece = self._plain.recv(_PIECE)
            except BlockingIOError:
                continue
            except OSError:  # it was reset: the same as its end
                piece = b""
            if idle and not self.closing:
                self._state[2] = eventlet.wsgi.STATE_REQUEST
            self.deadline, self.idle = float("inf"), False
            return piece

    def send(self, data: bytes) -> None:
        """See :class:`~pycmbs.wsgi.connection.Channel`."""
        try:
            sent = self._plain.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._green.sendall(memoryview(data)[sent:])

    def give_way(self) -> None:
        """See :class:`~pycmbs.wsgi.connection.Channel`."""
        eventlet.sleep(0)

    def linger(self) -> None:
        """See :class:`~pycmbs.wsgi.connection.Channel`."""
        with contextlib.suppress(OSError), eventlet.Timeout(_LINGER_SECONDS, False):
            self._plain.shutdown(socket.SHUT_WR)
            while self.receive(idle=False):
                pass

    def hang_up(self) -> None:
        """End it; who waits for it gets nothing."""
        eventlet.greenio.shutdown_safe(self._green)

    def environ(self) -> dict[str, str]:
        """Who is at both ends, as WSGI says it."""
        server, client = self._plain.getsockname(), self._state[0]
        return {
            "SERVER_NAME": server[0],
            "SERVER_PORT": str(server[1]),
            "REMOTE_ADDR": client[0],
            "REMOTE_PORT": str(client[1]),
        }


class _Protocol:
    """What eventlet's server calls for a connection; it serves until the connection ends."""

    channels: set[_Channel] = set()  # noqa: RUF012 - all of this process

    def __init__(self, state: list[Any], server: Any) -> None:
        channel = _Channel(state)
        self.channels.add(channel)
        try:
            Connection(channel, server.app, channel.environ()).serve()
        except OSError:
            log.debug("a client went away")  # before it was served, or while it was refused
        except Exception:
            log.exception("a connection failed")
        finally:
            self.channels.discard(channel)

    @classmethod
    def end_silent(cls) -> None:
        """For ever: ends connections that say nothing for too long."""
        while True:
            eventlet.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            try:
                for channel in [one for one in cls.channels if one.deadline < now]:
                    channel.hang_up()
            except Exception:
                log.exception("silent connections are not ended; it is tried again")

    @classmethod
    def make_room(cls) -> None:
        """Ends some of the connections without a request, those that will be silent for too long first."""
        idle = [one for one in cls.channels if one.idle]
        for channel in heapq.nsmallest(_GIVE_WAY, idle, key=lambda one: one.deadline):
            channel.hang_up()


class _Listener(eventlet.greenio.GreenSocket):  # type: ignore[misc] # eventlet is untyped
    """A listening socket whose ``accept`` fails only when it is closed: eventlet's server ends with that."""

    def __init__(self, plain: socket.socket) -> None:
        super().__init__(plain)
        room = descriptors.room_for(_MOST_CONNECTIONS + _SPARE_DESCRIPTORS) - _SPARE_DESCRIPTORS
        self._most = max(_GIVE_WAY, min(_MOST_CONNECTIONS, room))
        self._said_at = -_SAY_SECONDS

    def accept(self) -> tuple[eventlet.greenio.GreenSocket, Any]:
        """The next connection, as soon as there is one and a descriptor for it."""
        if len(_Protocol.channels) > self._most - _GIVE_WAY:
            self._make_room()
        while True:
            try:
                accepted: tuple[eventlet.greenio.GreenSocket, Any] = super().accept()
            except OSError as exc:
                if exc.errno in (errno.EBADF, errno.EINVAL):
                    raise  # it is closed
                if exc.errno in descriptors.EXHAUSTED:
                    self._make_room()
                    eventlet.sleep(_CALM_SECONDS)
                # Any other is of the one connection, which went away before it was accepted.
            else:
                return accepted

    def _make_room(self) -> None:
        if time.monotonic() - self._said_at >= _SAY_SECONDS:
            self._said_at = time.monotonic()
            log.warning("no room for more connections (%d are open): idle ones give way", len(_Protocol.channels))
        _Protocol.make_room()


def listen(host: str, port: int) -> _Listener:
    """A listening socket that shares its port with the other front processes: the kernel spreads the connections, where a
    shared listening socket sometimes gives one process all of them. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    plain = socket.socket(family, socket.SOCK_STREAM)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    plain.bind((host, port))
    plain.listen(_BACKLOG)
    return _Listener(plain)


def serve(
    listener: _Listener,
    application: Callable[..., Any],
    *,
    started: Callable[[], None],
    drain_seconds: float,
) -> None:
    """Serve until SIGTERM, then let requests under way finish, for at most ``drain_seconds``.

    ``started`` is called once connections are accepted. Raises SystemExit, or what went wrong, when no more are.
    """
    terminated, terminate = _termination_pipe()
    server = eventlet.spawn(
        eventlet.wsgi.server,
        listener,
        application,
        protocol=_Protocol,
        log=log,
        log_output=False,
        max_size=_MOST_CONNECTIONS,
        socket_timeout=_HEADER_SECONDS,  # of what is sent
    )
    server.link(lambda _thread: os.write(terminate, b"\0"))
    eventlet.spawn(_Protocol.end_silent)
    started()
    trampoline(terminated, read=True)
    if server.dead:
        log.critical("the HTTP server ended by itself, and so does its process")
        server.wait()  # raises what ended it
        raise SystemExit(1)
    log.info("draining")
    server.kill(SystemExit)  # its own way to stop: idle connections are closed, busy ones finish
    with eventlet.Timeout(drain_seconds, False):
        server.wait()


def _termination_pipe() -> tuple[int, int]:
    """A descriptor that becomes readable at SIGTERM, and one that makes it so.

    A handler that talked to the hub would have to wait for its poll."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    return reader, writer
