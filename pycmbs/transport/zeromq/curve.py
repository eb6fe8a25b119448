"""CURVE authentication of connections, and the ZAP thread (ZeroMQ RFC 27).

A transport that was given a :class:`~pycmbs.transport.base.Keyring` opens none but CURVE sockets, each of its listeners
under the *domain* of that transport. A peer that connects proves its key, and is let in if the ring knows that. What has
come in stays in, for libzmq: so the listener asks the ring again for every datagram.
"""

from __future__ import annotations

import base64
import itertools
import logging
import sys
import threading

import zmq

from pycmbs.seldom import Seldom
from pycmbs.transport.base import Keyring
from pycmbs.workers import new_thread

log = logging.getLogger(__name__)

_PLACE = "inproc://zeromq.zap.01"
"""Where libzmq asks."""
_SAY_SECONDS = 60.0
_SUCCEEDED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_LET_IN, _REFUSED = (b"200", b"OK"), (b"400", b"unknown key")


class Door:
    """Answers libzmq. One for each context, begun before the context's first CURVE socket: without it those let no one in."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._rings: dict[bytes, Keyring] = {}
        self._numbers = itertools.count(1)
        self._say = Seldom(log, seconds=_SAY_SECONDS)
        self._socket = context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(_PLACE)
        self._ended = threading.Event()
        self._stop = context.socket(zmq.PAIR)
        self._stopped = context.socket(zmq.PAIR)
        place = f"inproc://zeromq.door-{id(self)}"
        self._stopped.bind(place)
        self._stop.connect(place)
        self._thread = new_thread("zeromq-door", self._run, vital=True)
        self._thread.start()

    def add(self, ring: Keyring) -> str:
        """The domain in which this ring says who comes in."""
        domain = f"members-{next(self._numbers)}"
        self._rings[domain.encode()] = ring
        return domain

    def remove(self, domain: str) -> None:
        """No one comes in there any more."""
        self._rings.pop(domain.encode(), None)

    def close(self) -> None:
        """End the thread and give its sockets back. All sockets that need it are closed."""
        self._stop.send(b"")
        self._thread.join()
        for socket in (self._socket, self._stop, self._stopped):
            socket.close(0)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stopped, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._stopped in ready:
                return
            try:
                self._socket.send_multipart(self._answer(self._socket.recv_multipart()))
            except Exception:
                log.exception("cannot answer libzmq whether a connection may be let in: it is refused")

    def _answer(self, question: list[bytes]) -> list[bytes]:
        """What is answered to one question, in the frames of RFC 27."""
        (asker, _, version, request, domain, address, _, mechanism), proofs = question[:8], question[8:]
        ring = self._rings.get(domain)
        key = proofs[0] if mechanism == b"CURVE" and len(proofs) == 1 else b""
        known = ring is not None and bool(key) and ring.who(key) is not None
        if not known:
            self._say(
                "refused a member with the unknown key %s… from %s; to let it in run here: pycmbs invite",
                text_of(key)[:8],
                address.decode(errors="replace"),
            )
        status, words = _LET_IN if known else _REFUSED
        return [asker, b"", version, request, status, words, text_of(key).encode() if known else b"", b""]


class Handshakes:
    """What libzmq reports of the handshakes of a socket that connects: it stops trying where it was refused."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        reports: zmq.Socket[bytes] = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH | _SUCCEEDED)
        self._reports = reports

    def failed(self) -> bool | None:
        """Whether the last one failed, as the other side does not know this key; None for none since it was asked."""
        last = None
        while self._reports.poll(0):
            last = int.from_bytes(self._reports.recv_multipart()[0][:2], sys.byteorder) != _SUCCEEDED
        return last

    def close(self) -> None:
        """No more reports are wanted."""
        self._socket.disable_monitor()
        self._reports.close(0)


def text_of(key: bytes) -> str:
    """A key as text, such as stands in files: base64url without padding."""
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def key_of(frame: zmq.Frame) -> bytes:
    """The key that the sender of this frame has proven; empty for none, as within a process."""
    try:
        text = str(frame.get("User-Id"))
    except zmq.ZMQError:
        return b""
    return base64.urlsafe_b64decode(text + "=") if text else b""
