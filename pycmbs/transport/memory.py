"""``memory:`` addresses: members within one process, for tests.

A :class:`MemoryNetwork` is the world: names, who listens at each, and what waits for each. Transports that share a network
reach each other. It keeps the contract with the least code that can: one lock, plain queues, one thread per transport.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Hashable
from typing import ClassVar, NamedTuple

from pycmbs.errors import InvalidAddress, QueueFull, SocketUnavailable
from pycmbs.transport.address import parse_address
from pycmbs.transport.base import Arrival, Keyring, Receiver, Transport
from pycmbs.workers import new_thread

log = logging.getLogger(__name__)

BATCH = 1000
"""Most arrivals handed to a receiver at once."""


class _Datagram(NamedTuple):
    """One datagram under way; ``url`` as its sender spelled it, ``key`` of whom it is meant for."""

    sender: MemoryTransport
    url: str
    data: bytes
    key: bytes | None


class _Peer(NamedTuple):
    """Where a reply goes, and what it is an answer to."""

    sender: MemoryTransport
    url: str


class MemoryNetwork:
    """The names of one little world.

    ``bound`` is the most datagrams that may wait for one address, and the most answers that may wait for one transport.
    """

    def __init__(self, bound: int = 1000) -> None:
        self.bound = bound
        self.changed = threading.Condition()
        """Guards everything here and in the transports; notified whenever a dispatcher may have something to do."""
        self.listening: dict[str, tuple[MemoryTransport, str]] = {}
        """Name to the listener there, and the URL it gave."""
        self.waiting: defaultdict[str, deque[_Datagram]] = defaultdict(deque)
        """Name to what was sent there and not taken yet; waits for a listener when there is none."""


DEFAULT_NETWORK = MemoryNetwork()
"""The network of transports that were given none."""


class MemoryTransport(Transport):
    """The reference: what the contract means, without sockets."""

    schemes: ClassVar[frozenset[str]] = frozenset({"memory"})
    across_processes: ClassVar[bool] = False

    def __init__(self, network: MemoryNetwork = DEFAULT_NETWORK, keyring: Keyring | None = None) -> None:
        self._network = network
        self._keyring = keyring
        self._answers: deque[Arrival] = deque(maxlen=network.bound)
        self._closed = False
        # Held while the receiver runs: who holds it knows that nothing is arriving. Reentrant, since a receiver may
        # call back. Always taken before the network's lock.
        self._delivering = threading.RLock()
        self._thread: threading.Thread | None = None

    def start(self, receiver: Receiver) -> None:
        """Start the dispatcher thread."""
        self._thread = new_thread("memory-transport", lambda: self._dispatch(receiver), vital=True)
        self._thread.start()

    def listen(self, url: str) -> None:
        """Take the name; what waits for it comes in at once."""
        name = self._name(url)
        with self._network.changed:
            if self._closed:
                raise SocketUnavailable(f"cannot listen on {url}: the transport is closed", url=url)
            holder, _ = self._network.listening.setdefault(name, (self, url))
            if holder is not self:
                raise SocketUnavailable(f"cannot listen on {url}: address already in use", url=url)
            self._network.changed.notify_all()

    def unlisten(self, url: str) -> None:
        """Give the name up. What was sent there and not taken waits for the next listener."""
        name = self._name(url)
        with self._delivering, self._network.changed:
            if self._network.listening.get(name, (None,))[0] is self:
                del self._network.listening[name]

    def send(self, url: str, data: bytes, *, apart: bool = False, peer: str = "") -> bool:
        """Put it into the address's queue. Raises :class:`~pycmbs.errors.QueueFull` at the network's bound."""
        del apart  # nothing here takes time
        name = self._name(url)
        key = self._keyring.key_at(url, peer) if self._keyring is not None else None
        with self._network.changed:
            if self._closed:
                return False
            queue = self._network.waiting[name]
            if len(queue) >= self._network.bound:
                raise QueueFull(f"{len(queue)} datagrams wait for {url} already", url=url)
            queue.append(_Datagram(self, url, data, key))
            self._network.changed.notify_all()
            return name in self._network.listening

    def reply(self, peer: Hashable, data: bytes) -> None:
        """Put it into the peer's queue of answers."""
        if not isinstance(peer, _Peer):
            return
        with self._network.changed:
            asker = peer.sender
            if not asker._closed and self._may_reach(asker):  # noqa: SLF001 - the same class
                asker._answers.append(  # noqa: SLF001
                    Arrival(peer.url, data, _Peer(self, peer.url), answer=True, who=asker._who(self))  # noqa: SLF001
                )
                self._network.changed.notify_all()

    def forget(self, url: str, *, silent: float = 0.0) -> None:
        """Take what this transport sent there out of the queue. There is no connection that could be slow."""
        del silent
        name = self._name(url)
        with self._network.changed:
            self._withdraw(name)

    def rekey(self) -> None:
        """The ring is asked for each datagram: there is nothing to do."""

    def close(self) -> None:
        """Give up every name, take back what is still under way, end the dispatcher."""
        with self._network.changed:
            self._closed = True
            held = [name for name, (holder, _) in self._network.listening.items() if holder is self]
            for name in held:
                del self._network.listening[name]
            for name in list(self._network.waiting):
                self._withdraw(name)
            self._answers.clear()
            self._network.changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _withdraw(self, name: str) -> None:
        """Take what this transport sent to ``name`` back; the caller holds the lock."""
        kept = [datagram for datagram in self._network.waiting.pop(name, ()) if datagram.sender is not self]
        if kept:
            self._network.waiting[name].extend(kept)

    def _name(self, url: str) -> str:
        address = parse_address(url)
        if address.scheme not in self.schemes:
            raise InvalidAddress(f"{url} is not a memory: address", url=url)
        return address.name

    def _dispatch(self, receiver: Receiver) -> None:
        """The thread: hand over what came, wait for more."""
        while True:
            with self._network.changed:
                self._network.changed.wait_for(self._has_work)
                if self._closed:
                    return
            with self._delivering:
                arrivals = self._take()
                try:
                    if arrivals:
                        receiver(arrivals)
                except Exception:
                    log.exception("the receiver failed on %d arrivals; they are lost", len(arrivals))

    def _has_work(self) -> bool:
        return self._closed or bool(self._answers) or any(self._network.waiting.get(name) for name in self._names())

    def _names(self) -> list[str]:
        return [name for name, (holder, _) in self._network.listening.items() if holder is self]

    def _take(self) -> list[Arrival]:
        """One turn's arrivals, at most :data:`BATCH` per source."""
        with self._network.changed:
            if self._closed:
                return []
            arrivals = [self._answers.popleft() for _ in range(min(BATCH, len(self._answers)))]
            for name in self._names():
                url = self._network.listening[name][1]
                queue = self._network.waiting[name]
                for _ in range(min(BATCH, len(queue))):
                    datagram = queue.popleft()
                    if self._takes(datagram):
                        peer = _Peer(datagram.sender, datagram.url)
                        arrivals.append(Arrival(url, datagram.data, peer, who=self._who(datagram.sender)))
            return arrivals

    @property
    def _public(self) -> bytes | None:
        return self._keyring.public if self._keyring is not None else None

    def _who(self, other: MemoryTransport) -> str | None:
        """Whose transport this is, as far as it is asked."""
        return self._keyring.who(other._public or b"") if self._keyring is not None else None

    def _may_reach(self, other: MemoryTransport) -> bool:
        """Whether the other takes what comes from here: both ask for keys and it knows ours, or none does."""
        if other._keyring is None or self._keyring is None:
            return other._keyring is self._keyring
        return other._who(self) is not None

    def _takes(self, datagram: _Datagram) -> bool:
        """Whether it is meant for this one, and by someone who is known."""
        return datagram.sender._may_reach(self) and datagram.key == self._public  # noqa: SLF001 - the same class
