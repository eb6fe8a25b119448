"""What every ZeroMQ socket of this process shares: the context, the bounds, the options."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import zmq

from pycmbs import descriptors
from pycmbs.transport.base import Keyring
from pycmbs.transport.zeromq.curve import Door

log = logging.getLogger(__name__)

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]

MOST_SOCKETS = 8192
"""Most ZeroMQ sockets in this process; libzmq's default, 1023, is less than the links that may be open."""

SPARE_DESCRIPTORS = 512
"""File descriptors, and ZeroMQ sockets, left for everything but links."""

MOST_GUESTS = 4096
"""Most connections of others, over all addresses listened on."""

MAX_SIZE = 64 * 1024 * 1024
"""Largest datagram, in bytes, unless a transport is made with another bound, as a broker's is."""

MOST_ANSWERS = 65_536
"""Most answers that wait to go out at one address that is listened at."""

HEARTBEAT_SECONDS = 180
"""Longest time without a whole datagram or a heartbeat, after which a connection counts as broken."""

ANSWER_BYTES = 16 * 1024 * 1024
"""Most bytes of these."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a ZeroMQ transport."""

    max_size: int = MAX_SIZE
    """Largest datagram, in bytes. A larger one is refused by ``send``; a peer that sends one is cut off."""
    queue_messages: int = 1000
    """Most datagrams that wait for one address here."""
    pipe: int = 64
    """Most datagrams, whatever their size, that libzmq holds for a connection in each direction; of answers it holds
    ``queue_messages``, since an answer that does not fit is lost."""
    queue_bytes: int = 64 * 1024 * 1024
    """Most bytes that wait for one address here; one datagram may always wait."""
    all_bytes: int = 128 * 1024 * 1024
    """Most bytes that wait for all addresses together."""
    links: int = 4096
    """Most addresses with a connection; the one unused for longest gives way."""
    idle: float = 300.0
    """Seconds without traffic after which a connection is given up."""


class SharedContext:
    """libzmq's context, one per process while any transport is open: ``inproc:`` reaches no further than a context.

    ``ended`` counts, per inproc URL, the listeners that have gone: see ``Link.serve``.
    """

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._context: Context | None = None
        self._door: Door | None = None
        self._users = 0

    def acquire(self) -> Context:
        """The context, made when this is its first user."""
        with self._lock:
            if self._context is None:
                self._context = zmq.Context()
                self._context.set(zmq.MAX_SOCKETS, MOST_SOCKETS)
            self._users += 1
            return self._context

    def door(self) -> Door:
        """What lets members in by their keys, created by the first caller. After ``acquire``, before any socket
        of the caller is made."""
        with self._lock:
            assert self._context is not None
            if self._door is None:
                self._door = Door(self._context)
            return self._door

    def release(self) -> None:
        """The opposite; the last user terminates it. Every socket of the caller must be closed, or this blocks."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._context is not None:
                if self._door is not None:
                    self._door.close()
                    self._door = None
                self._context.term()
                self._context = None


CONTEXT = SharedContext()


class Lock(NamedTuple):
    """What makes a socket one that speaks CURVE."""

    ring: Keyring
    domain: str
    """Of the door, for a listener."""
    key: bytes = b""
    """The public key of who must be at the other end, for a link."""

    def put_on(self, socket: Socket) -> None:
        """Before it is bound or connected."""
        socket.set(zmq.CURVE_SECRETKEY, self.ring.secret)
        socket.set(zmq.CURVE_PUBLICKEY, self.ring.public)
        if self.key:
            socket.set(zmq.CURVE_SERVERKEY, self.key)
        else:
            socket.set(zmq.CURVE_SERVER, 1)
            socket.set(zmq.ZAP_DOMAIN, self.domain.encode())


def new_socket(context: Context, kind: int, endpoint: str, limits: Limits, lock: Lock | None = None) -> Socket:
    """A socket with the options that both kinds share. ``lock``: none for one without authentication; within the process it
    is left open, since libzmq knows no CURVE there."""
    socket = context.socket(kind)
    try:
        if lock is not None and not endpoint.startswith("inproc:"):
            lock.put_on(socket)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, limits.queue_messages if kind == zmq.ROUTER else limits.pipe)
        socket.set(zmq.RCVHWM, limits.pipe)
        socket.set(zmq.MAXMSGSIZE, limits.max_size)
        # Only where the address says so: with it, libzmq prefers IPv6 for everything.
        socket.set(zmq.IPV6, int("[" in endpoint))
        # A heartbeat waits behind a datagram that is under way, and is all that counts beside whole datagrams: so long, a
        # slow connection may take for one. A missing answer to a probe shows sooner that a peer has vanished.
        socket.set(zmq.HEARTBEAT_IVL, 10_000)
        socket.set(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_SECONDS * 1000)
        socket.set(zmq.HEARTBEAT_TTL, HEARTBEAT_SECONDS * 1000)
        socket.set(zmq.HANDSHAKE_IVL, 10_000)
        socket.set(zmq.TCP_KEEPALIVE, 1)
        socket.set(zmq.TCP_KEEPALIVE_IDLE, 60)
        socket.set(zmq.TCP_KEEPALIVE_INTVL, 10)
        socket.set(zmq.TCP_KEEPALIVE_CNT, 3)
    except BaseException:
        socket.close(0)
        raise
    return socket


class Room(NamedTuple):
    """What there are file descriptors for."""

    links: int
    """Connections to others."""
    guests: int
    """Connections of others."""


def room_for(links: int) -> Room:
    """How many of ``links`` this process has file descriptors for, and of connections of others, after raising its soft limit
    if it may.

    A link takes two: its mailbox and its connection. A process that runs out of them can open nothing at all.
    """
    wanted = 2 * links + MOST_GUESTS
    free = max(48, descriptors.room_for(wanted + SPARE_DESCRIPTORS) - SPARE_DESCRIPTORS)
    share = min(1.0, free / wanted)
    fitting = min(links, MOST_SOCKETS - SPARE_DESCRIPTORS, max(16, int(share * links)))
    if fitting < links:
        log.warning("at most %d connections at a time, not %d: raise the limit of open files", fitting, links)
    return Room(fitting, max(16, int(share * MOST_GUESTS)))
