"""Which members get a message, on each layer: by provider, by matching topic, or all. Pure rules, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pycmbs.occi import naming
from pycmbs.occi.layers import PROVIDERS, RECEIVER, TOPICS
from pycmbs.occi.topics import matches


@dataclass(frozen=True, slots=True)
class Peer:
    """A member, as far as routing is concerned: its id, its socket of the layer in question, its topics."""

    id: str
    socket: str
    topics: tuple[str, ...] = ()
    own: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient and why it is one. ``member`` is empty when only the socket is known (L1 to a stranger)."""

    member: str
    socket: str
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The recipients, the named providers that are unknown, and those which are known and not interested in the topics."""

    recipients: tuple[Recipient, ...]
    unknown: tuple[str, ...] = ()
    uninterested: tuple[str, ...] = ()


def unicast(socket: str, peers: Iterable[Peer]) -> Choice:
    """L1: the member behind a socket; a socket that no known member has is a recipient too."""
    member = next((peer.id for peer in peers if peer.socket == socket), "")
    return Choice((Recipient(member, socket, f"it is addressed by its socket {socket}"),))


def broadcast(peers: Iterable[Peer]) -> Choice:
    """L2: every known member but the sender."""
    return Choice(tuple(Recipient(peer.id, peer.socket, "it is a known member") for peer in peers if not peer.own))


def multicast(providers: Sequence[str], peers: Iterable[Peer]) -> Choice:
    """L3.1: the members named. A name is an id, its URN or an entity's URL, and matches exactly."""
    by_id = {peer.id: peer for peer in peers}
    found: dict[str, Recipient] = {}
    unknown: list[str] = []
    for name in dict.fromkeys(providers):
        peer = by_id.get(provider_id(name))
        if peer is None:
            unknown.append(name)
        else:
            found.setdefault(peer.id, Recipient(peer.id, peer.socket, f"it is named as {name}"))
    return Choice(tuple(found.values()), tuple(unknown))


def topical(topics: Sequence[str], peers: Iterable[Peer]) -> Choice:
    """L3.2: the members interested in one of the topics, but the sender."""
    matched = ((peer, _interest(topics, peer.topics)) for peer in peers if not peer.own)
    return Choice(tuple(Recipient(peer.id, peer.socket, reason) for peer, reason in matched if reason))


def multicast_topical(providers: Sequence[str], topics: Sequence[str], peers: Sequence[Peer]) -> Choice:
    """L4: the members named that are also interested in one of the topics."""
    named = multicast(providers, peers)
    by_id = {peer.id: peer for peer in peers}
    recipients = tuple(
        Recipient(one.member, one.socket, f"{one.reason} and {reason}")
        for one in named.recipients
        if (reason := _interest(topics, by_id[one.member].topics))
    )
    interested = {one.member for one in recipients}
    others = tuple(one.member for one in named.recipients if one.member not in interested)
    return Choice(recipients, named.unknown, others)


CHOICES: Mapping[tuple[str, ...], Callable[..., Choice]] = {
    (): broadcast,
    (RECEIVER,): unicast,
    (PROVIDERS,): multicast,
    (TOPICS,): topical,
    (PROVIDERS, TOPICS): multicast_topical,
}
"""How the recipients are chosen, by what a message of the layer has to say of them: called with that, and with the members."""


def provider_id(name: str) -> str:
    """The id in any of its spellings, or in an entity's path or URL."""
    if "/" in name and not name.startswith("tag:"):
        name = name.rstrip("/").rpartition("/")[2]
    return naming.plain_id(name)


def _interest(topics: Sequence[str], subscriptions: Sequence[str]) -> str:
    for topic in topics:
        for subscription in subscriptions:
            if matches(subscription, topic):
                how = "" if subscription == topic else f" by {subscription}"
                return f"it is interested in {topic}{how}"
    return ""
