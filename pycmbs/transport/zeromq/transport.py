"""``tcp:``, ``ipc:`` and ``inproc:`` addresses: ZeroMQ.

A listener binds a ROUTER, a sender connects a DEALER per address; each datagram is one frame, which other ZeroMQ
programs can speak too. One thread looks after every socket (:mod:`~pycmbs.transport.zeromq.loop`); the methods here may be
called from any thread. A send goes out by itself when nothing waits for its address; otherwise it is counted and refused
here, without asking that thread: what waits is a bounded queue of ours, which the thread drains into the socket while
libzmq takes more (:class:`~pycmbs.transport.zeromq.ports.Link`).
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import random
import socket as sockets
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from typing import ClassVar

import zmq

from pycmbs.errors import InvalidAddress, QueueFull, SocketUnavailable, TooLarge, Unprotected
from pycmbs.queues import Budget
from pycmbs.transport.address import Address, parse_address, parse_bound
from pycmbs.transport.base import Keyring, Receiver, Transport
from pycmbs.transport.zeromq.context import CONTEXT, MAX_SIZE, MOST_GUESTS, Context, Limits, Lock, room_for
from pycmbs.transport.zeromq.guests import Guests
from pycmbs.transport.zeromq.loop import Loop
from pycmbs.transport.zeromq.ports import Link, Listener
from pycmbs.transport.zeromq.resolver import Resolver

log = logging.getLogger(__name__)

CALL_SECONDS = 2.0
"""Longest wait of ``listen`` and ``unlisten`` for the loop's thread."""

CLOSE_SECONDS = 5.0
"""Longest wait of ``close``."""

RESOLVE_SECONDS = 30.0
"""After how long a name is resolved again that is connected to, at least; twice that at most, at random."""

_REASONS = {
    errno.EADDRINUSE: "address already in use",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "permission denied",
    errno.ENOENT: "there is no such directory",
    errno.ENODEV: "this machine has no such address",
}


class ZeroMQTransport(Transport):
    """The transport of a real federation.

    ``limits`` bounds its queues and connections. ``max_size`` is short for the limit of that name, in bytes.
    Without a ``keyring`` who sends is not authenticated, so ``listen`` takes no address that other machines can reach. With
    one, all is CURVE.
    ``listen_at`` says where to bind instead of at an address that others use: a broker behind NAT, a mapped port or a proxy.
    """

    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "ipc", "inproc"})
    across_processes: ClassVar[bool] = True

    def __init__(
        self,
        max_size: int = MAX_SIZE,
        limits: Limits | None = None,
        listen_at: Mapping[str, str] | None = None,
        *,
        keyring: Keyring | None = None,
    ) -> None:
        self._keyring = keyring
        self._domain = ""
        self._listen_at = dict(listen_at or {})
        self._limits = limits or Limits(max_size=max_size)
        self._most_links = self._limits.links
        self._guests = Guests(MOST_GUESTS)
        self._waiting = Budget(self._limits.all_bytes)
        self._lock = threading.Lock()
        """Guards the links, their queues' fill and ``_closed``; never held while waiting."""
        # By address, whether it is the separate link, and the key of the member there; the one unused for longest first.
        self._links: OrderedDict[tuple[str, bool, bytes], Link] = OrderedDict()
        self._listeners: dict[str, Listener] = {}  # changed by the loop's thread only
        self._wanted: dict[str, str] = {}  # the endpoints of those; likewise
        self._resolver = Resolver()
        self._context: Context | None = None
        self._loop: Loop | None = None
        self._closed = False

    def start(self, receiver: Receiver) -> None:
        """Start the thread."""
        self._most_links, most_guests = room_for(self._limits.links)
        self._guests = Guests(most_guests)
        self._context = CONTEXT.acquire()
        if self._keyring is not None:
            self._domain = CONTEXT.door().add(self._keyring)
        self._loop = Loop(receiver, tick=self._tick, finish=self._finish)
        self._loop.start()

    def listen(self, url: str) -> None:
        """Bind. A host name is resolved first; an answer comes within two times :data:`CALL_SECONDS`."""
        address = self._address(url)
        if url in self._listen_at:
            address = parse_bound(self._listen_at[url])
        if url not in self._listeners:
            endpoint = self._endpoint(address)
            if self._keyring is None and not _stays_here(endpoint):
                raise Unprotected(
                    f"{url} can be reached by others, and --members is open",
                    hint="Say --members closed, and invite the others: pycmbs invite.",
                    url=url,
                    reason="it is not a loopback address",
                )
            self._call(url, lambda endpoint: self._bind(url, endpoint), endpoint)

    def unlisten(self, url: str) -> None:
        """Unbind, and wait until the operating system has the address back."""
        self._address(url)
        if url in self._listeners:
            self._call(url, self._unbind, url)

    def send(self, url: str, data: bytes, *, apart: bool = False, peer: str = "") -> bool:
        """Queue. Raises also :class:`~pycmbs.errors.TooLarge` for what is over ``max_size`` and could never arrive."""
        if len(data) > self._limits.max_size:
            raise TooLarge(f"a datagram has at most {self._limits.max_size} bytes, this one {len(data)}", url=url)
        key = self._keyring.key_at(url, peer) if self._keyring is not None else b""
        return self._send((url, apart, key), data)

    def _send(self, place: tuple[str, bool, bytes], data: bytes) -> bool:
        loop = self._running()
        with self._lock:
            if self._closed:
                return False
            link = self._links.get(place)
            if link is None:
                url, _, key = place
                lock, where = None, url
                if self._keyring is not None and key:
                    lock, where = Lock(self._keyring, self._domain, key), self._keyring.socket_at(url, key)
                link = self._links[place] = Link(self._address(where), self._limits, loop, self._waiting, lock, url=url)
                loop.post(lambda new=link: self._open(new))  # type: ignore[misc]
                if len(self._links) > self._most_links:
                    log.warning("over %d connections: closing the one unused for longest", self._most_links)
                    self._drop(next(iter(self._links)))
            else:
                self._links.move_to_end(place)
            return link.offer(data)

    def reply(self, peer: Hashable, data: bytes) -> None:
        """Answer. To an answer, it is a :meth:`send` that is lost silently when the queue is full. What is over ``max_size`` is
        lost, too: it would cost the connection."""
        if len(data) > self._limits.max_size:
            log.warning("an answer of %d bytes is lost: a datagram has at most %d", len(data), self._limits.max_size)
            return
        match peer:
            case ("dealer", str(url), bytes(key)):
                try:
                    self._send((url, False, key), data)
                except QueueFull:
                    log.debug("an answer to %s is lost: its queue is full", url)
            case (str(url), bytes(identity)):
                listener = self._listeners.get(url)
                if listener is not None:
                    listener.answer(identity, data)

    def forget(self, url: str, *, silent: float = 0.0) -> None:
        """Drop the queues now, and the connections on the thread's next turn."""
        self._address(url)
        with self._lock:
            for place in self._places(url):
                if self._links[place].silent >= silent:
                    self._drop(place)

    def refuses(self, url: str) -> bool:
        """By what libzmq reports of the handshakes since the link was made."""
        with self._lock:
            return any(self._links[place].turned_away for place in self._places(url))

    def rekey(self) -> None:
        """Bind every listener again, and drop the links: the next :meth:`send` makes one."""
        with self._lock:
            for place in list(self._links):
                self._drop(place)
        for url in list(self._wanted):
            self._call(url, self._rebind, url)

    def close(self) -> None:
        """Unbind, disconnect, end the thread: within :data:`CLOSE_SECONDS`, whatever is unsent."""
        with self._lock:
            self._closed = True
        if self._loop is not None:
            self._loop.stop(CLOSE_SECONDS)

    # What any thread may do.

    def _address(self, url: str) -> Address:
        address = parse_address(url)
        if address.scheme not in self.schemes:
            raise InvalidAddress(f"ZeroMQ does not serve the scheme of {url}", url=url)
        return address

    def _running(self) -> Loop:
        if self._loop is None:
            raise RuntimeError("the transport is not started")
        return self._loop

    def _call(self, url: str, work: Callable[[str], None], argument: str) -> None:
        """Have the loop's thread do it, and wait. Raises :class:`~pycmbs.errors.SocketUnavailable`."""
        try:
            self._running().call(lambda: work(argument), CALL_SECONDS)
        except TimeoutError:
            raise _unavailable(url, "the transport is closed, or has no time") from None

    def _endpoint(self, address: Address) -> str:
        """The address as libzmq can bind it. Raises :class:`~pycmbs.errors.SocketUnavailable` for an unknown host."""
        if address.literal:
            return address.url
        answer: Future[Sequence[str]] = Future()
        self._running().post(lambda: self._resolver.ask(address.host, answer.set_result))
        try:
            found = answer.result(CALL_SECONDS)
        except TimeoutError:
            raise _unavailable(address.url, "the name server does not answer") from None
        if not found:
            raise _unavailable(address.url, "the host's name is not known")
        return _tcp_endpoint(found[0], address.port)

    def _places(self, url: str) -> list[tuple[str, bool, bytes]]:
        """The links to an address; the caller holds the lock."""
        if self._keyring is None:
            return [place for place in ((url, False, b""), (url, True, b"")) if place in self._links]
        return [place for place in self._links if place[0] == url]

    def _drop(self, place: tuple[str, bool, bytes]) -> None:
        """Give a link up; the caller holds the lock."""
        link = self._links.pop(place)
        link.drop()
        self._running().post(link.close)

    # What the loop's thread does.

    def _bind(self, url: str, endpoint: str) -> None:
        if url in self._listeners:
            return
        assert self._context is not None
        if endpoint.startswith("ipc://"):
            _check_path(url, endpoint.removeprefix("ipc://"))
        keyed = self._keyring is not None and not self._keyring.plain_at(url)
        lock = Lock(self._keyring, self._domain) if self._keyring is not None and keyed else None
        listener = Listener(url, endpoint, self._running(), self._guests, lock)
        try:
            listener.open(self._context, self._limits)
        except zmq.ZMQError as error:
            raise _unavailable(url, _REASONS.get(error.errno or 0, str(error).lower())) from None
        self._listeners[url], self._wanted[url] = listener, endpoint

    def _rebind(self, url: str) -> None:
        if (endpoint := self._wanted.get(url)) is not None:
            if (listener := self._listeners.pop(url, None)) is not None:
                listener.close()
            self._bind(url, endpoint)

    def _unbind(self, url: str) -> None:
        self._wanted.pop(url, None)
        listener = self._listeners.pop(url, None)
        if listener is not None:
            listener.close()

    def _open(self, link: Link) -> None:
        """Connect a link, as soon as the IP address of its host is known. Does nothing for one that is, or is at it."""
        if not link.unopened:
            return
        if link.address.literal:
            self._connect(link, link.address.url)
            return
        link.opening = True
        self._resolve(link, self._resolved)

    def _resolve(self, link: Link, then: Callable[[Link, Sequence[str]], None]) -> None:
        """Have ``then`` called with the IP addresses of a link's host, on the loop's thread."""
        loop = self._running()
        link.resolve_at = time.monotonic() + RESOLVE_SECONDS * random.uniform(1, 2)  # noqa: S311 - spreads the load, no secret
        self._resolver.ask(link.address.host, lambda found: loop.post(lambda: then(link, found)))

    def _resolved(self, link: Link, found: Sequence[str]) -> None:
        link.opening = False
        if found:
            self._connect(link, _tcp_endpoint(found[0], link.address.port))
        else:
            log.info("the host of %s is not known; asked again when there is something to send", link.address.url)

    def _resolved_again(self, link: Link, found: Sequence[str]) -> None:
        """A name that means other addresses now leads elsewhere, though it is still answered where it led; one that means
        none just now stays where it is."""
        endpoints = [_tcp_endpoint(ip, link.address.port) for ip in found]
        if endpoints and link.endpoint and link.endpoint not in endpoints:
            log.info("%s is at %s now, no longer at %s", link.address.url, endpoints[0], link.endpoint)
            link.close()
            self._connect(link, endpoints[0])

    def _connect(self, link: Link, endpoint: str) -> None:
        if self._context is not None and not self._closed:
            link.open(self._context, endpoint)

    def _tick(self) -> None:
        """Give up idle links; look after those that wait for something that signals nothing."""
        with self._lock:
            for place in [place for place, link in self._links.items() if link.idle > self._limits.idle]:
                self._drop(place)
            links = list(self._links.values())
        now = time.monotonic()
        for link in links:
            self._open(link)
            if not link.address.literal and not link.opening and now >= link.resolve_at:
                self._resolve(link, self._resolved_again)
            link.knock_again()
            link.look_again()

    def _finish(self) -> None:
        with self._lock:
            links, self._links = list(self._links.values()), OrderedDict()
        self._resolver.close()
        for port in [*self._listeners.values(), *links]:
            try:
                port.close()
            except zmq.ZMQError:
                log.exception("a socket did not close cleanly: %s", port)
        self._listeners.clear()
        self._context = None
        if self._domain:
            CONTEXT.door().remove(self._domain)
        CONTEXT.release()


def _stays_here(endpoint: str) -> bool:
    """Whether only this machine reaches an address."""
    if not endpoint.startswith("tcp://"):
        return True
    return ipaddress.ip_address(endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")).is_loopback


def _tcp_endpoint(ip: str, port: int) -> str:
    return f"tcp://[{ip}]:{port}" if ":" in ip else f"tcp://{ip}:{port}"


def _check_path(url: str, path: str) -> None:
    """Raises :class:`~pycmbs.errors.SocketUnavailable` unless a socket can be made at ``path``.

    libzmq removes whatever is there before it binds: another process's socket, silently, and any file. The path
    comes from a client, so this is no place for trust.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return  # nothing there; or bind() has the better words
    if not stat.S_ISSOCK(mode):
        raise _unavailable(url, "the file at this path is not a socket")
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return  # left behind by a process that is gone
        except OSError as error:
            if error.errno != errno.EAGAIN:  # EAGAIN: it is listening, and busy
                raise _unavailable(url, _REASONS.get(error.errno or 0, "the path cannot be used")) from None
    raise _unavailable(url, _REASONS[errno.EADDRINUSE])


def _unavailable(url: str, reason: str) -> SocketUnavailable:
    return SocketUnavailable(f"cannot listen on {url}: {reason}", url=url, reason=reason)
