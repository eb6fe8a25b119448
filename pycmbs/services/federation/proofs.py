"""Builds and reads member descriptions, signed or plain; the signed ones are verified by ring.py.

Without keys an introduction is ``description``, ``version`` and ``instance``, and what others say of a member counts if it is
newer. With keys it is what the member signed, with the certificates by which it is trusted; it is kept and passed on as it
came, and it counts no matter which member passed it on.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from pycmbs.errors import ClaimedId, ForgedSender, InvalidRequest, Revoked
from pycmbs.occi import cmbs, naming
from pycmbs.occi.entity import Draft, Entity
from pycmbs.occi.layers import LAYERS
from pycmbs.occi.registry import Registry
from pycmbs.occi.topics import is_subscription
from pycmbs.services.federation import versions
from pycmbs.services.federation.revocations import STATEMENTS
from pycmbs.services.federation.ring import Trust
from pycmbs.services.federation.roster import Roster, introduce, is_local
from pycmbs.services.federation.statements import (
    CERTIFICATES,
    DESCRIPTION,
    SIGNED,
    Certificate,
    Statement,
    certificates,
    curves_of,
    read,
)

_MOST_INSTANCE = 200
"""The most characters of an instance that are used."""


@dataclass(frozen=True, slots=True)
class Told:
    """A description of a member, by itself or by others. ``statement`` is what it signed, if it signed one."""

    draft: Draft
    version: int
    instance: str
    statement: Statement | None = None
    shown: tuple[Certificate, ...] = ()

    @property
    def id(self) -> str:
        """The member's id."""
        return self.draft.id or ""

    def is_of(self, member: Entity) -> bool:
        """Whether a stored member is the same, compared by the bytes that were signed."""
        if self.statement is None:
            return False
        kept = member.private.get(SIGNED), member.private.get(CERTIFICATES)
        return kept == (self.statement.told(), [one.statement.told() for one in self.shown])


class Proofs:
    """Decides which descriptions are believed here, and what others are told about members."""

    def __init__(self, trust: Trust | None = None) -> None:
        """``trust``: who is known by which key, if members sign; None if they are believed without."""
        self.trust = trust
        self._tellable: tuple[Roster, Hashable, list[Entity]] = Roster(), None, []
        """The last result of :meth:`tellable`, with its roster, files and second: each greeting asks several times."""

    # What is told

    def introduction(self, roster: Roster) -> Mapping[str, Any]:
        """The own member as it introduces itself; without an own member, empty values."""
        if self.trust is None or roster.own is None:
            return roster.introduction
        signed = self.trust.introduction(roster.own)
        return {**roster.introduction, **signed} if self.trust.mixed else signed

    def introduce(self, member: Entity) -> dict[str, Any]:
        """One of :meth:`tellable`, in the form that others get."""
        if self.trust is None:
            return introduce(member)
        signed = {**member.private.get(SIGNED, {}), CERTIFICATES: member.private.get(CERTIFICATES, [])}
        return {**introduce(member), **signed} if self.trust.mixed else signed

    def tellable(self, roster: Roster) -> list[Entity]:
        """The other members that this one can tell others about, in order of creation."""
        trust = self.trust
        if trust is None:
            return list(roster.others)
        now = trust.version, int(time.monotonic())  # certificates expire
        of, as_of, found = self._tellable
        if of is not roster or as_of != now:
            found = [
                one
                for one in roster.others
                if (SIGNED in one.private and trust.is_current(one)) or self.is_plain(one.id)
            ]
            self._tellable = roster, now, found
        return found

    def is_plain(self, id: str) -> bool:
        """Whether a member is believed without keys because it has none."""
        return self.trust is None or (self.trust.mixed and not self.trust.knows(id))

    def is_told_plain(self, said: Mapping[str, Any], sender: str) -> bool:
        """Whether what a member says about itself is unsigned, and may be."""
        return self.trust is None or (SIGNED not in said and self.is_plain(sender))

    # What is heard

    def told(self, introduction: Any, by: str | None = None) -> Told:
        """What another member says. ``by``: the member that says it about itself, if that is known. Raises InvalidRequest,
        ForgedSender."""
        said = introduction if isinstance(introduction, dict) else {}
        if self.trust is None or (self.trust.mixed and SIGNED not in said):
            return _plain(said)
        statement = read(said, DESCRIPTION)
        if by is not None and statement.id != naming.plain_id(by):
            raise ForgedSender(f"{by} introduces itself as {statement.id}", id=by)
        curves_of(statement)
        plain = _plain({**statement.said, "description": _of(statement)})
        return Told(plain.draft, plain.version, plain.instance, statement, tuple(certificates(said.get(CERTIFICATES))))

    def check(self, told: Told) -> dict[str, Any]:
        """What to keep of a description of another member, if it is believed. Raises UnknownKey, ForgedSender,
        ClaimedId."""
        if told.statement is None and not self.is_plain(told.id):
            raise ForgedSender(f"{told.id} has keys, and this is not signed", id=told.id)
        if self.trust is None or told.statement is None:
            return {}
        shown = self.trust.check(told.statement, told.shown)
        return {SIGNED: told.statement.told(), CERTIFICATES: [one.statement.told() for one in shown]}

    def check_echo(self, told: Told, id: str) -> None:
        """What others say about the own member must be what it said itself. Raises ClaimedId."""
        if self.trust is not None and (told.statement is None or not self.trust.is_own(told.statement)):
            raise ClaimedId(f"two members claim the id {id}", hint="Give one of them another id.", id=id)

    def is_behind(self, known: Entity, told: Told, *, direct: bool) -> bool | None:
        """Whether a signed description replaces what is known of a member; None where nothing is signed."""
        if self.trust is None:
            return None
        if told.statement is None:
            return None if self.is_plain(told.id) else False
        if is_local(known) or SIGNED not in known.private or not self.trust.is_current(known):
            return True
        version = int(known.private["version"])
        return versions.newer(told.version, version) or (direct and told.version == version)

    # Which members are no longer trusted

    def revoked(self) -> dict[str, Any]:
        """What a greeting says about revoked identities."""
        return self.trust.revocations.told() if self.trust is not None else {}

    def revoked_since(self, greeting: Mapping[str, Any]) -> list[dict[str, str]]:
        """The revocations, as issuers signed them, that another member does not know yet."""
        return self.trust.revocations.missing(greeting) if self.trust is not None else []

    def lacks_revoked(self, greeting: Mapping[str, Any]) -> bool:
        """Whether another member knows of more revocations."""
        return self.trust is not None and self.trust.revocations.lacks(greeting)

    def hear_revoked(self, greeting: Mapping[str, Any]) -> None:
        """Take in revocations that another member passes on."""
        if self.trust is not None:
            self.trust.revocations.hear(greeting.get(STATEMENTS))

    def check_standing(self, id: str) -> None:
        """Raises Revoked for a member that is no longer trusted."""
        if self.trust is not None and self.trust.is_revoked(id):
            raise Revoked(f"the member {id} is revoked", id=id)

    def learned(self, roster: Roster) -> None:
        """Take note that these members are known now."""
        if self.trust is not None:
            self.trust.learned(roster)


def _of(statement: Statement) -> Any:
    described = statement.said.get("description")
    return {**described, "id": statement.id} if isinstance(described, dict) else None


def _plain(told: Mapping[str, Any]) -> Told:
    """A description as it came. Raises InvalidRequest."""
    description, version, instance = (told.get(name) for name in ("description", "version", "instance"))
    attributes = description.get("attributes") if isinstance(description, dict) else None
    if not isinstance(description, dict) or description.get("kind") != cmbs.MEMBER or not isinstance(attributes, dict):
        raise InvalidRequest("this is not a description of a member")
    title, summary = (str(description.get(name) or "") for name in ("title", "summary"))
    draft = Draft(cmbs.MEMBER, naming.bare_id(description.get("id")), (), attributes, title, summary)
    as_of = versions.checked(0 if version is None else version, "this description")
    return Told(draft, as_of, instance[:_MOST_INSTANCE] if isinstance(instance, str) else "")


def attributes(draft: Draft, registry: Registry) -> dict[str, Any]:
    """The attributes of a description that the member kind has here; a newer broker may send more."""
    schema = registry.schema(registry.kind(cmbs.MEMBER), ())
    wanted = {name: schema.definitions[name] for name in schema.definitions if name.startswith("cmbs.member.")}
    given = draft.attributes or {}
    inside = given.get("cmbs", {})
    nested = inside.get("member", {}) if isinstance(inside, dict) else {}
    flat = {f"cmbs.member.{key}": value for key, value in (nested.items() if isinstance(nested, dict) else ())}
    found = {}
    for name, value in {**given, **flat}.items():
        known = wanted.get(naming.canonical(name))
        if known is not None and not known.internal and known.name != cmbs.LOCAL:
            found[known.name] = known.check(value)
        elif known is not None and known.name == cmbs.LISTENING and isinstance(value, list):
            found[cmbs.LISTENING] = [layer for layer in LAYERS if layer in value]
    if topics := found.get(cmbs.MEMBER_TOPICS):  # a broker of another version may have another rule
        found[cmbs.MEMBER_TOPICS] = [one for one in topics if not isinstance(one, str) or is_subscription(one)]
    return found
