"""The HTTP server: eventlet's WSGI server, with safer settings and TLS.

One of two modules that know eventlet.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import eventlet
import eventlet.greenio
import eventlet.wsgi
from eventlet.hubs import trampoline

from pycmbs import descriptors
from pycmbs.metrics.table import HTTP_CONNECTIONS
from pycmbs.seldom import Seldom
from pycmbs.workers import guarded
from pycmbs.wsgi.auth import LOGIN, PEER_CERTIFICATE
from pycmbs.wsgi.connection import Connection
from pycmbs.wsgi.tls import Certificates, Session

log = logging.getLogger(__name__)

_IDLE, _REQUEST, _CLOSE = eventlet.wsgi.STATE_IDLE, eventlet.wsgi.STATE_REQUEST, eventlet.wsgi.STATE_CLOSE
_KEEP_ALIVE_SECONDS = 75
_HEADER_SECONDS = 60
_HANDSHAKE_SECONDS = 10.0
_MOST_CONNECTIONS = 10_000  # beyond, and where there are no descriptors, those that were idle for longest give way
_GIVE_WAY = 16  # of these at a time
_SPARE_DESCRIPTORS = 256  # for everything but connections
_SAY_SECONDS = 60.0  # between two lines that say so
_CALM_SECONDS = 0.1  # before it is tried again to accept where there was no descriptor
_BACKLOG = 1024
_LINGER_SECONDS = 2.0
_PIECE = 65_536
_MAPPED = "::ffff:"
"""What an address of IPv4 begins with where the broker listens at ``::``."""
_LOOK_SECONDS = 1.0
"""How often it is looked for connections that are silent for too long. A timer for every wait would cost more than the wait."""
_no_tls = Seldom(log, logging.INFO, seconds=_SAY_SECONDS)


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
        return self._state[2] is _CLOSE

    def receive(self, *, idle: bool) -> bytes:
        """See :class:`~pycmbs.wsgi.connection.Channel`. Always waits, so that other threads that are ready go first."""
        if idle:
            if self._state[2] is _CLOSE:
                return b""
            self._state[2] = _IDLE
        self.idle = idle
        self.deadline = time.monotonic() + (_KEEP_ALIVE_SECONDS if idle else _HEADER_SECONDS)
        try:
            piece = self._next()
        except OSError:  # it was reset: the same as its end
            piece = b""
        if idle and self._state[2] is not _CLOSE:
            self._state[2] = _REQUEST
        self.deadline, self.idle = float("inf"), False
        return piece

    def _next(self) -> bytes:
        """Wait for bytes of the socket; nothing at its end. Raises OSError."""
        while True:
            trampoline(self._plain, read=True)
            try:
                return self._plain.recv(_PIECE)
            except BlockingIOError:
                continue

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
            self.finish()
            self._plain.shutdown(socket.SHUT_WR)
            while self.receive(idle=False):
                pass

    def finish(self) -> None:
        """Nothing more is sent."""

    def hang_up(self) -> None:
        """End it; who waits for it gets nothing."""
        eventlet.greenio.shutdown_safe(self._green)

    def environ(self) -> dict[str, Any]:
        """What WSGI has of the connection: the addresses of both ends, and a place for the principal of the last request."""
        server, client = self._plain.getsockname(), self._state[0]
        return {
            "SERVER_NAME": server[0].removeprefix(_MAPPED),
            "SERVER_PORT": str(server[1]),
            "REMOTE_ADDR": client[0].removeprefix(_MAPPED),
            "REMOTE_PORT": str(client[1]),
            LOGIN: [],
        }


class _TlsChannel(_Channel):
    """A client's socket over which TLS is spoken."""

    def __init__(self, state: list[Any], session: Session) -> None:
        super().__init__(state)
        self._session = session
        self._over = False
        self._early = b""

    def shake(self) -> None:
        """The handshake. Raises OSError when it fails, as it does when it takes too long: until it is over, a client that makes
        none gives way before those that are only idle."""
        self.deadline, self.idle = time.monotonic() + _HANDSHAKE_SECONDS, True
        try:
            while not self._session.ready:
                piece = super()._next()
                if not piece:
                    raise ConnectionResetError("it went away during the handshake")
                self._session.shake(piece)
                self._send_due()
            self._early = self._session.arrived(b"")  # a request may come with the end of the handshake
        except ssl.SSLError as exc:
            _no_tls("a client at %s makes no TLS connection: %s", self._state[0][0], exc.reason or "no reason is given")
            self._send_due()  # an alert that says why
            raise
        self.deadline, self.idle = float("inf"), False
        # Nothing is answered to the client's last word of the handshake: one that waits until it has arrived, before it sends a
        # request (Nagle), would wait for as long as acknowledgements are put off.
        self._plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _next(self) -> bytes:
        if self._early:
            found, self._early = self._early, b""
            return found
        session = self._session
        while self._over or not session.ended:
            piece = super()._next()
            if self._over or not piece:
                return piece
            try:
                found = session.arrived(piece)
            except ssl.SSLError:
                self._send_due()  # an alert that says why
                raise
            self._send_due()
            if found:
                return found
        return b""

    def _send_due(self) -> None:
        if data := self._session.outgoing():
            _Channel.send(self, data)

    def send(self, data: bytes) -> None:
        """See :class:`~pycmbs.wsgi.connection.Channel`. Piece by piece, so that what is large is not there twice."""
        if len(data) <= _PIECE:
            _Channel.send(self, self._session.wrapped(data))
            return
        for start in range(0, len(data), _PIECE):
            _Channel.send(self, self._session.wrapped(data[start : start + _PIECE]))

    def finish(self) -> None:
        """Nothing more is sent, and the client is told so: otherwise it cannot know that nothing was cut off."""
        if self._session.ready and not self._over:
            self._over = True
            with contextlib.suppress(OSError):  # if there is no room for it, it is not waited for
                self._plain.send(self._session.farewell())

    def environ(self) -> dict[str, Any]:
        """The addresses of both ends, and the client's certificate, if it showed one."""
        certificate = self._session.certificate
        shown = {PEER_CERTIFICATE: certificate} if certificate else {}
        return {**super().environ(), "wsgi.url_scheme": "https", "HTTPS": "on", **shown}


class _Protocol:
    """What eventlet's server calls for a connection; it serves until the connection ends."""

    channels: set[_Channel] = set()  # noqa: RUF012 - all of this process
    certificates: Certificates | None = None
    """For connections over TLS; None: they are not."""

    def __init__(self, state: list[Any], server: Any) -> None:
        tls = _TlsChannel(state, Session(self.certificates.context)) if self.certificates else None
        channel = tls or _Channel(state)
        self.channels.add(channel)
        try:
            if tls:
                tls.shake()
            Connection(channel, server.app, channel.environ()).serve()
            channel.finish()
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
            log.warning("no room for more connections (%d are open): idle ones are closed", len(_Protocol.channels))
        _Protocol.make_room()


def listen(host: str, port: int) -> _Listener:
    """A listening socket that shares its port with the other front processes: the kernel spreads the connections, where a
    shared listening socket sometimes gives one process all of them. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    plain = socket.socket(family, socket.SOCK_STREAM)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Of the connections: what ends one over TLS would wait for the client to acknowledge what it was answered.
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.bind((host, port))
    plain.listen(_BACKLOG)
    return _Listener(plain)


def serve(
    listener: _Listener,
    application: Callable[..., Any],
    *,
    started: Callable[[], None],
    ending: Callable[[], None],
    drain_seconds: float,
    certificates: Certificates | None = None,
) -> None:
    """Serve until SIGTERM, then let requests under way finish, for at most ``drain_seconds``.

    ``started`` is called once connections are accepted, ``ending`` when no more are. With ``certificates`` they are over TLS,
    and SIGHUP has the files read again. Raises SystemExit, or what went wrong, when no more are.
    """
    terminated, terminate = _termination_pipe()
    HTTP_CONNECTIONS.look = lambda: len(_Protocol.channels)
    if certificates:
        _Protocol.certificates = certificates
        signal.signal(signal.SIGHUP, lambda _number, _frame: certificates.reload())
        eventlet.spawn_n(guarded("certificates", lambda: certificates.keep_fresh(eventlet.sleep), vital=True))
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
    eventlet.spawn_n(guarded("silent-connections", _Protocol.end_silent, vital=True))
    started()
    while not server.dead:
        trampoline(terminated, read=True)
        if os.read(terminated, 1)[0] != signal.SIGHUP:
            break
    if server.dead:
        log.critical("the HTTP server ended by itself, and so does its process")
        server.wait()  # raises what ended it
        raise SystemExit(1)
    log.info("draining")
    server.kill(SystemExit)  # its own way to stop: idle connections are closed, busy ones finish
    ending()
    with eventlet.Timeout(drain_seconds, False):
        server.wait()


def _termination_pipe() -> tuple[int, int]:
    """A descriptor from which the number of a signal that comes can be read, SIGTERM's at least, and one that makes it so.

    A handler that talked to the hub would have to wait for its poll."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    return reader, writer
