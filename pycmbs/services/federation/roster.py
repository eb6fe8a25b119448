"""The roster: a consistent snapshot of the known members, cached until the store says that it has changed.

Every message asks who there is, and the answer seldom changes: reading two hundred members again takes milliseconds, asking
whether they changed some ten microseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pycmbs.ids import canonical_id
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.occi.layers import INTRODUCTORY, LAYERS
from pycmbs.occi.rendering.json_2012 import entity_document
from pycmbs.services.records.entities import ENTITY, entity_from
from pycmbs.store.base import Query, Store

OWN_MEMBER = "claim"  # what versions up to 0.3 call this type of document
OWN_MEMBER_ID = f"{OWN_MEMBER}:local-member"
"""The document that says which member is the own one: two requests that both see none both write it, and one loses."""
VERSION, INSTANCE = "version", "instance"
"""The member's private record of what tells its descriptions apart: see :mod:`pycmbs.services.federation.gossip`."""
_SHARED = (
    "state",
    *(f"{layer}_socket" for layer in LAYERS),
    "curve_sockets",
    "neighbors_socket",
    "topics",
    "listening",
)
_MEMBERS = Query(ENTITY, {"kind": cmbs.MEMBER})


@dataclass(frozen=True)
class Roster:
    """The known members. Its entities are shared: change a copy only."""

    members: Sequence[Entity] = ()
    """Every known member, the own one included, in order of creation."""
    own: Entity | None = None

    @cached_property
    def others(self) -> Sequence[Entity]:
        """Those that other brokers are, in order of creation."""
        return [one for one in self.members if not is_local(one)]

    @cached_property
    def by_id(self) -> Mapping[str, Entity]:
        """Every known member, by id."""
        return {one.id: one for one in self.members}

    @cached_property
    def sockets_l1(self) -> Sequence[str]:
        """The L1 sockets of all known members, the own one first."""
        own_first = sorted(self.members, key=lambda one: not is_local(one))
        return list(dict.fromkeys(url for one in own_first if (url := socket_of(one, INTRODUCTORY))))

    @cached_property
    def introduction(self) -> Mapping[str, Any]:
        """The own member as it introduces itself; its description is None while there is none."""
        return introduce(self.own) if self.own is not None else {"description": None, "version": 0, "instance": ""}

    @cached_property
    def versions(self) -> Mapping[str, int]:
        """In which version each member is known, by id."""
        return {one.id: version_of(one) for one in self.members}

    @cached_property
    def digest(self) -> str:
        """The same for two brokers that know the same members in the same versions."""
        known = sorted(f"{id} {version}" for id, version in self.versions.items())
        return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]

    def at(self, layer: str, socket: str) -> list[Entity]:
        """The members with this socket of a layer, in order of creation: one, unless two claim it."""
        return [one for one in self.members if socket_of(one, layer) == socket]


class Rosters:
    """Makes a new picture whenever a member was created, changed or deleted, by whatever process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._latest: tuple[str, Roster] | None = None
        self._own = ("", "")

    def own_id(self) -> str:
        """The id of the own member as it is now, empty while there is none. What costs the same however many there are."""
        token = self._store.change_token(OWN_MEMBER)
        if self._own[0] != token:
            mark = self._store.get(OWN_MEMBER_ID)
            self._own = (token, canonical_id(mark.body["member"].rpartition("/")[2]) if mark is not None else "")
        return self._own[1]

    def now(self) -> Roster:
        """The members as they are now. One cheap question to the store when nothing changed."""
        version = self._store.version(_MEMBERS)  # before they are read: what changes meanwhile counts as newer
        latest = self._latest
        if latest is not None and latest[0] == version:
            return latest[1]
        members = [entity_from(one) for one in self._store.find(_MEMBERS)]
        mark = self._store.get(OWN_MEMBER_ID)
        own = next((one for one in members if mark is not None and one.path == mark.body["member"]), None)
        roster = Roster(members, own)
        self._latest = (version, roster)
        return roster


def is_silent(member: Entity, layer: str) -> bool:
    """Whether another broker's member says that it does not listen on a layer; one that says nothing is taken to listen."""
    listening = member.attributes.get(cmbs.LISTENING)
    return isinstance(listening, list) and layer not in listening and not is_local(member)


def is_local(member: Entity) -> bool:
    """Whether it is the broker's own member."""
    return bool(member.attributes.get(cmbs.LOCAL) == "true")


def socket_of(member: Entity, layer: str) -> str:
    """The member's socket URL of a layer, empty if it has none."""
    return str(member.attributes.get(cmbs.socket_attribute(layer)) or "")


def version_of(member: Entity) -> int:
    """The version of a member's description; 0 for one that a client described."""
    return int(member.private.get(VERSION, 0))


def describe(own: Entity) -> dict[str, Any]:
    """The own member as it is told to others, ``local`` being false there."""
    shared = own.copy()
    names = {f"cmbs.member.{name}" for name in _SHARED}
    shared.attributes = {name: value for name, value in own.attributes.items() if name in names}
    shared.attributes[cmbs.LOCAL] = "false"
    return entity_document(shared)


def introduce(member: Entity) -> dict[str, Any]:
    """A member as it is told to others: its description, with the version and the instance of that."""
    return {
        "description": describe(member),
        "version": version_of(member),
        "instance": str(member.private.get(INSTANCE, "")),
    }
