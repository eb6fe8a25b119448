"""One transport in front of several: each call goes to the implementation of the URL's scheme."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple

from pycmbs.errors import ConfigurationError, SocketUnavailable
from pycmbs.transport import SCHEMES, SEAM
from pycmbs.transport.address import parse_address, scheme_of
from pycmbs.transport.base import Arrival, Receiver, Transport


class _Routed(NamedTuple):
    """The peer of an arrival, and the implementation that can answer it."""

    implementation: str
    peer: Hashable


class Transports:
    """The transports of one process, with the methods of :class:`~pycmbs.transport.base.Transport`.

    ``names`` are the implementations that may be used; each is imported and started when a URL first needs it.
    ``makers`` replaces how one is made (default: its class without arguments), for limits and for tests. Raises
    :class:`~pycmbs.errors.ConfigurationError` for an unknown name.

    Not a subclass of ``Transport``: which schemes it serves is known per object, not per class.
    """

    def __init__(self, names: Iterable[str], makers: Mapping[str, Callable[[], Transport]] | None = None) -> None:
        self._names = frozenset(names)
        unknown = ", ".join(sorted(self._names - SEAM.names().keys()))
        if unknown or not self._names:
            known = ", ".join(sorted(SEAM.names()))
            raise ConfigurationError(f"these are not transports: {unknown or 'none given'}; known: {known}")
        self._schemes = frozenset(scheme for scheme, name in SCHEMES.items() if name in self._names)
        self._makers = dict(makers or {})
        self._started: dict[str, Transport] = {}
        self._receiver: Receiver | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def schemes(self) -> frozenset[str]:
        """The URL schemes served, without the colon."""
        return self._schemes

    @property
    def across_processes(self) -> bool:
        """Whether each of the implementations reaches other processes."""
        return all(SEAM.load(name).across_processes for name in self._names)

    def check(self, url: str) -> None:
        """Raises :class:`~pycmbs.errors.InvalidAddress` unless ``url`` is an address of a scheme served here. Pure, and
        needs no :meth:`start`."""
        scheme_of(url, self.schemes)
        parse_address(url)

    def start(self, receiver: Receiver) -> None:
        """Arrivals of every transport go to ``receiver``, each on the thread of its transport."""
        self._receiver = receiver

    def listen(self, url: str) -> None:
        """As :meth:`Transport.listen`."""
        if (transport := self._serving(url)) is None:
            raise SocketUnavailable(f"cannot listen on {url}: the transport is closed", url=url)
        transport.listen(url)

    def unlisten(self, url: str) -> None:
        """As :meth:`Transport.unlisten`."""
        if (transport := self._serving(url)) is not None:
            transport.unlisten(url)

    def send(self, url: str, data: bytes, *, apart: bool = False, peer: str = "") -> bool:
        """As :meth:`Transport.send`."""
        transport = self._serving(url)
        return transport is not None and transport.send(url, data, apart=apart, peer=peer)

    def reply(self, peer: Hashable, data: bytes) -> None:
        """As :meth:`Transport.reply`; ``peer`` is that of an arrival that came from here, anything else is dropped."""
        if isinstance(peer, _Routed) and (transport := self._started.get(peer.implementation)) is not None:
            transport.reply(peer.peer, data)

    def forget(self, url: str, *, silent: float = 0.0) -> None:
        """As :meth:`Transport.forget`."""
        if (transport := self._serving(url)) is not None:
            transport.forget(url, silent=silent)

    def refuses(self, url: str) -> bool:
        """As :meth:`Transport.refuses`."""
        transport = self._serving(url)
        return transport is not None and transport.refuses(url)

    def rekey(self) -> None:
        """As :meth:`Transport.rekey`."""
        for transport in list(self._started.values()):
            transport.rekey()

    def close(self) -> None:
        """Close every transport that was started. Idempotent."""
        with self._lock:
            self._closed = True
            started = list(self._started.values())
        for transport in started:
            transport.close()

    def _serving(self, url: str) -> Transport | None:
        """The transport for this URL's scheme, started now if it is not; None when it would be, and all is closed."""
        name = SCHEMES[scheme_of(url, self.schemes)]
        started = self._started.get(name)
        return self._begin(name, url) if started is None else started

    def _begin(self, name: str, url: str) -> Transport | None:
        parse_address(url)  # an invalid address starts no transport
        with self._lock:
            if name in self._started:
                return self._started[name]
            if self._closed:
                return None
            if self._receiver is None:
                raise RuntimeError("the transports are not started")
            transport = self._makers.get(name, SEAM.load(name))()
            transport.start(_tagging(name, self._receiver))
            self._started[name] = transport
            return transport


def _tagging(name: str, receiver: Receiver) -> Receiver:
    """A receiver that notes in each arrival's peer which implementation it came from."""

    def receive(arrivals: list[Arrival]) -> None:
        receiver(
            [Arrival(one.address, one.data, _Routed(name, one.peer), one.answer, one.at, one.who) for one in arrivals]
        )

    return receive
