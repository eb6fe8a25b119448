"""Addressing: which of the known members get a message. The rules are :mod:`pycmbs.services.delivery.recipients`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from pycmbs.errors import InvalidRequest
from pycmbs.occi import cmbs, layers
from pycmbs.occi.entity import Entity
from pycmbs.services.access.rules import Part
from pycmbs.services.delivery import recipients
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.roster import Roster, is_local, is_silent, socket_of

T = TypeVar("T")


class _OfRoster(Generic[T]):
    """What is made of the members for each layer: once, for as long as they stay the same."""

    def __init__(self, make: Callable[[Roster, str], T]) -> None:
        self._make = make
        self._kept: tuple[Roster | None, dict[str, T]] = (None, {})

    def on(self, layer: str, roster: Roster) -> T:
        """What these members are for a layer."""
        of, kept = self._kept
        if of is not roster:
            kept = {}
            self._kept = roster, kept
        if layer not in kept:
            kept[layer] = self._make(roster, layer)
        return kept[layer]


class Addressing:
    """Asks who gets messages."""

    def __init__(self, members: MemberService) -> None:
        self._members = members
        self._silent = _OfRoster(_silent)
        self._peers = _OfRoster(_peers)

    def silent(self, layer: str, roster: Roster) -> frozenset[str]:
        """Those of these members that say that they do not listen on a layer."""
        return self._silent.on(layer, roster)

    def parts(self, message: Entity, layer: str) -> list[Part]:
        """What the message is sent for, as it says: whether that can be done is seen later."""
        attributes, needs = message.attributes, layers.TABLE[layer].needs
        if layers.RECEIVER in needs:
            said, roster = str(attributes.get(cmbs.RECEIVER)), self._members.now()
            behind = _named(roster, said) or roster.at(layer, said)
            return [Part(layer, to=next((one.id for one in behind), ""))]
        members = [recipients.provider_id(name) for name in cmbs.items(attributes, cmbs.PROVIDERS)]
        topics = cmbs.items(attributes, cmbs.TOPICS)
        return [
            Part(layer, topic, member)
            for topic in (topics if layers.TOPICS in needs else [None])
            for member in (members if layers.PROVIDERS in needs else [None])
        ]

    def choose(self, message: Entity, layer: str, roster: Roster) -> recipients.Choice:
        """Who of these members gets the message on this layer. Raises InvalidRequest when it does not say whom it is for."""
        needs = layers.TABLE[layer].needs
        said = [_needed(message.attributes, f"cmbs.message.{name}", layer) for name in needs]
        if layers.RECEIVER not in needs:
            return recipients.CHOICES[needs](*said, self._peers.on(layer, roster))
        named = _named(roster, said[0])
        if named or ":" not in said[0]:  # a socket has one
            return recipients.multicast(said, [_peer(member, layer) for member in named])
        peers = [_peer(member, layer) for member in roster.at(layer, said[0])]
        return recipients.CHOICES[needs](*said, peers)


def _named(roster: Roster, name: str) -> list[Entity]:
    """The member of this name, if it is known."""
    found = roster.by_id.get(recipients.provider_id(name))
    return [] if found is None else [found]


def _peers(roster: Roster, layer: str) -> list[recipients.Peer]:
    """The members as routing sees them."""
    return [_peer(member, layer) for member in roster.members]


def _silent(roster: Roster, layer: str) -> frozenset[str]:
    """Those that say that they do not listen on a layer: what is sent to them waits."""
    return frozenset(one.id for one in roster.members if is_silent(one, layer))


def _peer(member: Entity, layer: str) -> recipients.Peer:
    topics = tuple(member.attributes.get(cmbs.MEMBER_TOPICS) or ())
    return recipients.Peer(member.id, socket_of(member, layer), topics, is_local(member))


def _needed(attributes: Mapping[str, Any], name: str, layer: str) -> Any:
    value = attributes.get(name)
    if not value:
        raise InvalidRequest(f"a message of layer {layer} must say {name}", attribute=name)
    return value
