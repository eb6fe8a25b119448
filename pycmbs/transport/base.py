"""The transport seam: how bytes get from one member to another.

A transport is chosen by the scheme of the socket URL in a member's description. It moves datagrams: bounded, unordered
across addresses, in order per address while a connection lives, **at most once** and without any promise of arrival. What
delivers a message in spite of that (retry, acknowledgement, deduplication) is above the seam and the same for all
transports.

The contract below is checked for every implementation by ``tests/transport/contract.py``.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import ClassVar, Protocol

from msgspec import Struct, field


class Arrival(Struct, frozen=True):
    """One datagram that came in.

    ``address`` is the listening URL it came in at, or, for an answer to something that was sent, the link it came over:
    the URL that was sent to, and never one that was not; ``answer`` tells which. ``peer`` is what :meth:`Transport.reply`
    needs to answer it; opaque. ``at``: when, by the monotonic clock. ``who``: the member that sent it, as its key proves now;
    None where members are not asked for one.
    """

    address: str
    data: bytes
    peer: Hashable
    answer: bool = False
    at: float = field(default_factory=time.monotonic)
    who: str | None = None


Receiver = Callable[[list[Arrival]], None]
"""Gets what one turn of the transport's loop received. Called on the transport's own thread: must return at once
(hand over, don't work) and must not raise."""


class Keyring(Protocol):
    """Whose key is whose, as of now. Asked for every datagram and by any thread, so it answers at once.

    A transport with one lets no one in and reaches no one but those that the ring knows: what comes from another, or from one
    whose key was withdrawn since the connection was made, does not arrive. A key is 32 bytes of X25519.
    """

    @property
    def public(self) -> bytes:
        """The own public key."""

    @property
    def secret(self) -> bytes:
        """The key to it."""

    def who(self, key: bytes) -> str | None:
        """The member with this public key, or None for a stranger's."""

    def key_at(self, url: str, member: str) -> bytes:
        """The public key of a member, or of the member known at an address if ``member`` is empty; no bytes for one that
        is reached without. Raises :class:`~pycmbs.errors.UnknownKey`."""

    def plain_at(self, url: str) -> bool:
        """Whether who comes to this own address is not asked for a key, as long as some members have none."""
        del url
        return False

    def socket_at(self, url: str, key: bytes) -> str:
        """Where the member with this key, which others reach at ``url``, is reached by it."""
        del key
        return url


class Transport(ABC):
    """Moves bytes between members. Every method may be called from any thread and none of them blocks for long."""

    schemes: ClassVar[frozenset[str]]
    """The URL schemes it serves, without the colon."""

    across_processes: ClassVar[bool]
    """Whether it reaches other processes. ``serve`` needs one that does."""

    @abstractmethod
    def start(self, receiver: Receiver) -> None:
        """Begin to work; arrivals go to ``receiver`` from now on. Called once."""

    @abstractmethod
    def listen(self, url: str) -> None:
        """Bind; on return, what others send to ``url`` arrives here. Idempotent. Raises
        :class:`~pycmbs.errors.SocketUnavailable` naming the URL and the reason, :class:`~pycmbs.errors.InvalidAddress`."""

    @abstractmethod
    def unlisten(self, url: str) -> None:
        """Unbind at once: on return the address is free for others and nothing more arrives from it. Idempotent."""

    @abstractmethod
    def send(self, url: str, data: bytes, *, apart: bool = False, peer: str = "") -> bool:
        """Queue a datagram for ``url``; tells whether it went out at once, and need not wait for a connection or for others.
        ``apart``: over a connection of its own, for what is small and must not wait behind what is large. ``peer``: the member
        that is to be there; where members are asked for their keys, no one else gets it, nor can answer.

        Raises :class:`~pycmbs.errors.QueueFull` when the bound towards this address is reached,
        :class:`~pycmbs.errors.InvalidAddress`, and :class:`~pycmbs.errors.TooLarge` for a datagram that the transport could
        never carry; with a :class:`Keyring` also :class:`~pycmbs.errors.UnknownKey`. Says nothing about arrival: what is sent
        while no one listens waits, up to the bound; after :meth:`close` it vanishes."""

    @abstractmethod
    def reply(self, peer: Hashable, data: bytes) -> None:
        """Answer an arrival; reaches the sender as an :class:`Arrival` with ``answer`` set. Lost silently when the sender
        is gone."""

    @abstractmethod
    def forget(self, url: str, *, silent: float = 0.0) -> None:
        """Drop the connections towards ``url`` and what is queued for them; the next :meth:`send` makes a new one.
        Idempotent. For peers that stay silent: a half-open connection is not noticed otherwise. ``silent``: only those over
        which nothing came for so many seconds: one that is merely slow, or is just being made, is left in peace."""

    def refuses(self, url: str) -> bool:  # noqa: ARG002 - where members are not asked for keys nobody is refused
        """Whether the member at ``url`` refuses this broker, as far as is known: it does not know its key."""
        return False

    @abstractmethod
    def rekey(self) -> None:
        """The :class:`Keyring` has another own key: from now on connections are made with that, those to where it listens, too.
        What is queued is lost. Raises :class:`~pycmbs.errors.SocketUnavailable`; then it is to be called again."""

    @abstractmethod
    def close(self) -> None:
        """Unbind and drop everything, wait for the transport's thread. Nothing arrives after the return. Idempotent."""
