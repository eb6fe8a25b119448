"""Creates or updates the own member from the settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pycmbs.errors import NoLocalMember, SecondLocalMember
from pycmbs.occi import cmbs, naming
from pycmbs.occi.entity import Draft, Entity
from pycmbs.occi.layers import LAYERS
from pycmbs.services.entities.service import EntityService
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.roster import VERSION, version_of
from pycmbs.services.federation.versions import following


@dataclass(frozen=True, slots=True)
class Described:
    """What settings say of the own member: the socket of all its layers, if not empty; sockets and topics to be added."""

    socket: str = ""
    neighbors: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()


def have_member(entities: EntityService, members: MemberService, name: str, said: Described) -> None:
    """Have the own member be there with this name. A new one listens on all layers; one that is there goes on as it did.

    Raises SecondLocalMember when it has another name, and whatever forbids to create or change it so.
    """
    own = members.local()
    if own is not None:
        if own.id != naming.plain_id(name):
            raise SecondLocalMember(
                f"this broker is the member {own.id}, and not {name}",
                hint="Another member is another broker, with a home of its own: --home.",
            )
        have_described(entities, members, said)
        return
    entities.create(cmbs.MEMBER_LOCATION, [Draft(kind=cmbs.MEMBER, id=name, attributes=_attributes(said))])
    for layer in LAYERS:
        members.want([layer], listen=True)


def have_described(entities: EntityService, members: MemberService, said: Described) -> None:
    """Have the own member be as it is described. Raises NoLocalMember, InvalidRequest."""
    own = members.local()
    if own is None:
        raise NoLocalMember("there is no member yet, and its name is not given", hint="Give it with --member.")

    def change(member: Entity) -> bool:
        before = dict(member.attributes)
        member.attributes |= _attributes(said)
        for name, more in ((cmbs.NEIGHBORS, said.neighbors), (cmbs.MEMBER_TOPICS, said.topics)):
            member.attributes[name] = _united(cmbs.items(before, name), more)
        if member.attributes == before:
            return False
        members.check_sockets(member)
        member.private[VERSION] = following(version_of(member))  # others are told
        return True

    entities.modify(own.path, change)


def _attributes(said: Described) -> dict[str, Any]:
    sockets = {cmbs.socket_attribute(layer): said.socket for layer in LAYERS} if said.socket else {}
    return {**sockets, cmbs.NEIGHBORS: list(said.neighbors), cmbs.MEMBER_TOPICS: list(said.topics)}


def _united(before: Iterable[Any], more: Iterable[str]) -> list[Any]:
    return list(dict.fromkeys([*before, *more]))
