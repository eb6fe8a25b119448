"""Limits connections, in all and per address.

libzmq accepts every connection, as long as there are descriptors, and then neither the transport nor the store gets any. So
its own reports of connections are followed, and where there are too many some are ended: first those that said nothing yet,
which a member does at once.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import zmq

from pycmbs.seldom import Seldom
from pycmbs.transport.base import Arrival
from pycmbs.transport.zeromq.context import Context, Socket
from pycmbs.transport.zeromq.loop import Loop, Port

log = logging.getLogger(__name__)

MOST_OF_ONE = 1024
"""Connections from one address."""
SILENT_OF_ONE = 64
"""Of these, such as have said nothing yet."""
_GREETING = 10
"""Bytes that a ZeroMQ peer sends before it has heard anything: the signature (ZMTP 3.0)."""
_SAY_SECONDS = 60.0
_RECEIVED = struct.Struct("128xQ")
"""Where Linux's ``tcp_info`` has the bytes received."""
_EVENT = struct.Struct("=HI")
_NOBLOCK = int(zmq.NOBLOCK)


@dataclass(eq=False, slots=True)
class _Guest:
    descriptor: int
    name: tuple[str, int]
    """Its address and port."""
    spoke: bool = False


class Guests:
    """The connections that were accepted, over all addresses listened on. For the loop's thread."""

    def __init__(self, most: int) -> None:
        """``most``: connections at a time."""
        self._most = most
        self._guests: dict[int, _Guest] = {}
        self._by_address: defaultdict[str, dict[int, _Guest]] = defaultdict(dict)  # the oldest first
        self._quiet: defaultdict[str, dict[int, _Guest]] = defaultdict(dict)
        """Of these, such as said nothing when it was last looked."""
        self._say = Seldom(log, seconds=_SAY_SECONDS)

    def came(self, descriptor: int) -> None:
        """A connection was accepted: it, or another one, goes when there are too many."""
        self.went(descriptor)
        name = _name(descriptor)
        if name is None:
            return
        guest = self._guests[descriptor] = _Guest(descriptor, name)
        address = name[0]
        self._by_address[address][descriptor] = self._quiet[address][descriptor] = guest
        if len(self._quiet[address]) > SILENT_OF_ONE:
            self._listen_to(address)
        if len(self._quiet[address]) > SILENT_OF_ONE or len(self._by_address[address]) > MOST_OF_ONE:
            self._end_one(address)
        elif len(self._guests) > self._most:
            self._end_one(max(self._by_address, key=lambda one: len(self._by_address[one])))

    def went(self, descriptor: int) -> None:
        """A connection is over."""
        guest = self._guests.pop(descriptor, None)
        if guest is not None:
            for table in (self._by_address, self._quiet):
                table[guest.name[0]].pop(descriptor, None)
                if not table[guest.name[0]]:
                    del table[guest.name[0]]

    def _listen_to(self, address: str) -> None:
        """Note which of the quiet connections from an address have spoken by now, or are gone."""
        for guest in list(self._quiet[address].values()):
            received = _received(guest)
            if received is None:
                self.went(guest.descriptor)
            elif received >= _GREETING:
                self._quiet[address].pop(guest.descriptor)

    def _end_one(self, address: str) -> None:
        """End the oldest silent connection from an address, or the oldest of all."""
        self._say(
            "too many connections, %d of them from %s: the oldest silent one is closed",
            len(self._by_address[address]),
            address,
        )
        self._listen_to(address)
        guest = next(iter((self._quiet.get(address) or self._by_address[address]).values()), None)
        if guest is not None:
            self.went(guest.descriptor)
            _hang_up(guest)


class Reception(Port):
    """Follows libzmq's reports of a listening socket's connections."""

    def __init__(self, guests: Guests, loop: Loop) -> None:
        self._guests = guests
        self._loop = loop
        self._socket: Socket | None = None
        self._fd = -1

    def open(self, context: Context, listener: Socket) -> None:
        """Begin, before the socket is bound."""
        place = f"inproc://zeromq.guests-{id(self)}"
        listener.monitor(place, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        reports = context.socket(zmq.PAIR)
        reports.set(zmq.LINGER, 0)
        reports.set(zmq.RCVHWM, 0)  # libzmq would wait until they are read
        reports.connect(place)
        self._socket, self._fd = reports, int(reports.get(zmq.FD))
        self._loop.watch(self, self._fd)

    def serve(self, arrivals: list[Arrival]) -> bool:
        """Read the reports; nothing of them is an arrival."""
        del arrivals
        self.due = False
        if self._socket is None:
            return False
        with contextlib.suppress(zmq.Again):
            while True:
                report, _ = self._socket.recv_multipart(_NOBLOCK)
                event, descriptor = _EVENT.unpack(report)
                (self._guests.came if event == zmq.EVENT_ACCEPTED else self._guests.went)(descriptor)
        return False

    def stop(self, listener: Socket) -> None:
        """No more reports, of a socket that is about to be closed."""
        listener.disable_monitor()
        self.close()

    def close(self) -> None:
        """Give the socket back."""
        reports, self._socket = self._socket, None
        if reports is not None:
            self._loop.unwatch(self, self._fd)
            reports.close(0)


@contextlib.contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    """The socket of a descriptor that is libzmq's. Raises OSError where it is gone."""
    found = socket.socket(fileno=descriptor)
    try:
        yield found
    finally:
        found.detach()


def _name(descriptor: int) -> tuple[str, int] | None:
    """Address and port of the peer; None for one that is gone, or not from a network."""
    try:
        with _borrowed(descriptor) as connection:
            name = connection.getpeername()
    except OSError:
        return None
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


def _received(guest: _Guest) -> int | None:
    """How much it has sent so far; None when the connection is gone."""
    try:
        with _borrowed(guest.descriptor) as connection:
            if connection.getpeername()[:2] != guest.name:
                return None
            information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED.size)
    except (OSError, TypeError):
        return None
    # An older kernel does not tell: then no connection counts as silent.
    return int(_RECEIVED.unpack(information)[0]) if len(information) == _RECEIVED.size else _GREETING


def _hang_up(guest: _Guest) -> None:
    """End the connection, if it still is that one: libzmq notices, and closes it. A member reconnects."""
    with contextlib.suppress(OSError, TypeError), _borrowed(guest.descriptor) as connection:
        if connection.getpeername()[:2] == guest.name:
            connection.shutdown(socket.SHUT_RDWR)
