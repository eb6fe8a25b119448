"""The federation as this broker knows it: who told what of itself, who left, and what is told to others of all that.

A member's description has a *version*, which grows with every change its own broker makes, and an *instance*, drawn when it
was created: so older news never replaces newer, and two members with one id are told apart.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pycmbs.errors import ClaimedId, CmbsError, Conflict, Departed, InvalidRequest, RevisionConflict
from pycmbs.ids import canonical_id
from pycmbs.occi import cmbs, naming
from pycmbs.occi.entity import Draft, Entity
from pycmbs.occi.topics import is_subscription
from pycmbs.services.categories import CategoryService
from pycmbs.services.deliveries import moment
from pycmbs.services.documents import entity_delete, entity_write
from pycmbs.services.health import ALIVE, HealthService
from pycmbs.services.members import LEFT, MemberService, left_document, left_write
from pycmbs.services.retrying import retried
from pycmbs.services.roster import INSTANCE, VERSION, Roster, introduce, is_local, socket_of, version_of
from pycmbs.store.base import Document, Query, Store, Write

log = logging.getLogger(__name__)

_MOST_TOLD = 1000
"""Members that one welcome describes; the next one has the rest."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A member as it is described, by itself or by others."""

    draft: Draft
    version: int
    instance: str

    @property
    def id(self) -> str:
        return self.draft.id or ""


class FederationService:
    """What members tell each other of members."""

    def __init__(
        self, store: Store, categories: CategoryService, members: MemberService, health: HealthService
    ) -> None:
        self._store = store
        self._categories = categories
        self._members = members
        self._health = health
        # What was said last by or of a member that is stored in this revision, and changed nothing: every message says it.
        self._heard: dict[str, tuple[_Told, bool, str]] = {}
        self._left: tuple[str | None, Mapping[str, Document]] = None, {}

    # What is told

    def greeting(self) -> dict[str, Any]:
        """What a hello says: the introduction, and which members are known here, and which have left."""
        return self._greeting(self._members.now())

    def _greeting(self, roster: Roster) -> dict[str, Any]:
        left = {id: one.body["version"] for id, one in self._departed().items() if not one.body["local"]}
        return {**roster.introduction, "sockets_l1": roster.sockets_l1, "known": roster.versions, "left": left}

    def welcome(self, greeting: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a greeting: one of the own, and descriptions of the members that the other lacks."""
        roster = self._members.now()
        missing = _missing(greeting, roster)
        return {**self._greeting(roster), "members": [introduce(one) for one in missing[:_MOST_TOLD]]}

    def can_tell(self, greeting: Mapping[str, Any]) -> bool:
        """Whether members, or versions of them, are known here that the other lacks."""
        return bool(_missing(greeting, self._members.now()))

    # What is heard

    def hear(self, greeting: Mapping[str, Any]) -> list[str]:
        """Take in what another member knows of others, with one commit; returns the ids of those that it told of.

        What is wrong, contradicts or is old news is left out: it is hearsay.
        """
        self._hear_of_departures(greeting)
        told = greeting.get("members")
        roster = self._members.now()
        heard = list(_versions(greeting.get("known")))
        news: dict[str, tuple[Any, list[Write]]] = {}
        singly = []
        for introduction in told if isinstance(told, list) else []:
            try:
                one = _told(introduction)
                writes = self._news(one, roster, direct=False)[1]
            except CmbsError as exc:
                log.debug("hearsay is left out: %s", exc)
                continue
            heard.append(one.id)
            if one.id in news:
                singly.append(introduction)
            elif writes:
                news[one.id] = introduction, writes
        results = self._store.write_batches([writes for _, writes in news.values()]) if news else []
        refused = [isinstance(one, RevisionConflict) for one in results]
        for introduction in [*itertools.compress((one for one, _ in news.values()), refused), *singly]:
            with contextlib.suppress(CmbsError):  # it was described twice, or changed meanwhile
                self.learn(introduction, direct=False)
        return heard

    def _hear_of_departures(self, greeting: Mapping[str, Any]) -> None:
        known, gone = self._members.now().by_id, self._departed()
        for id, version in _versions(greeting.get("left")).items():
            if id in known or id not in gone or gone[id].body["version"] < version:
                with contextlib.suppress(Conflict):  # the next greeting says it again
                    self.depart(id, version)

    def lacks(self, greeting: Mapping[str, Any]) -> bool:
        """Whether the other knows members, or versions of them, that are not known here."""
        roster = self._members.now()
        gone = {id: one.body["version"] for id, one in self._departed().items()}
        mine = {**gone, **roster.versions}
        theirs = _versions(greeting.get("known"))
        return any(
            version > mine.get(id, -1) for id, version in theirs.items() if roster.own is None or id != roster.own.id
        )

    def learn(self, introduction: Any, *, direct: bool = True) -> tuple[Entity, bool]:
        """Take in a member as it is described; returns it, and whether it was unknown. ``direct``: by itself.

        Raises InvalidRequest for a description that is none, ClaimedId when another member has this id, Departed, Conflict.
        """
        told = _told(introduction)

        def attempt() -> tuple[Entity, bool]:
            roster = self._members.now()
            member, writes = self._news(told, roster, direct=direct)
            if writes:
                self._store.write(writes)
            return member, bool(writes) and told.id not in roster.by_id

        return retried(cmbs.MEMBER_LOCATION + told.id, attempt)

    def _news(self, told: _Told, roster: Roster, *, direct: bool) -> tuple[Entity, list[Write]]:
        """The member that is described, and what is to be written of it, which is nothing when that is known or out of date.

        Raises as :meth:`learn`.
        """
        if roster.own is not None and told.id == roster.own.id:
            self._check_echo(roster.own, told)
            return roster.own, []
        known = roster.by_id.get(told.id)
        if known is not None and self._heard.get(told.id) == (told, direct, known.revision):
            return known, []
        attributes = {**self._attributes(told.draft), cmbs.LOCAL: "false"}
        path = known.path if known is not None else cmbs.MEMBER_LOCATION + told.id
        member = Entity(told.id, cmbs.MEMBER, path, (), attributes)
        member.title, member.summary = told.draft.title or "", told.draft.summary or ""
        member.private = {VERSION: told.version, INSTANCE: told.instance}
        self._members.check_sockets(member)
        if known is None:
            return member, [*self._return(told, direct=direct), entity_write(member, revision=None)]
        if self._replaces(known, member, direct=direct):
            return member, [entity_write(member, revision=known.revision)]
        self._heard[told.id] = (told, direct, known.revision)
        return known, []

    def _check_echo(self, own: Entity, told: _Told) -> None:
        """What others say of the own member must be of this one. Raises ClaimedId."""
        theirs = self._attributes(told.draft).get(cmbs.socket_attribute("l1"))
        same = told.instance == own.private.get(INSTANCE) if told.instance else theirs == socket_of(own, "l1")
        if not same:
            raise ClaimedId(f"two members claim the id {own.id}", hint="Give one of them another id.", id=own.id)
        if told.version > version_of(own):  # somebody remembers a newer one: this store is an older copy
            self._members.renew(told.version)

    def _return(self, told: _Told, *, direct: bool) -> list[Write]:
        """The write that lets a member come back that had left or was forgotten. Raises Departed for old news of it."""
        left = self._departed().get(told.id)
        if left is None:
            return []
        if told.version <= left.body["version"] and not (direct and left.body["local"]):
            raise Departed(f"the member {told.id} has left", hint="Create it anew to have it back.", id=told.id)
        return [Write(left.id, LEFT, revision=left.revision, delete=True)]

    def _replaces(self, known: Entity, told: Entity, *, direct: bool) -> bool:
        """Whether what is told of a known member is news. Raises ClaimedId when it is of another one that is alive."""
        instances = [one.private.get(INSTANCE) for one in (known, told)]
        if all(instances) and instances[0] != instances[1]:
            health = self._health.of(known.id)
            moved = socket_of(known, "l1") != socket_of(told, "l1")
            if moved and health is not None and health.state == ALIVE:
                raise ClaimedId(
                    f"two members claim the id {known.id}: one is alive at {socket_of(known, 'l1')}",
                    hint="Give one of them another id, or stop the other.",
                    id=known.id,
                )
            return direct or version_of(told) > version_of(known)
        if version_of(told) != version_of(known):
            return version_of(told) > version_of(known)
        contents = [(one.attributes, one.title, one.summary) for one in (known, told)]
        return direct and contents[0] != contents[1]

    def depart(self, id: str, version: int) -> bool:
        """A member has left, as it was in this version; tells whether it was known here. Newer ones stay. Raises Conflict."""

        def attempt() -> bool:
            member, left = self._members.by_id(id), self._store.get(left_document(id))
            if member is not None and (is_local(member) or version_of(member) > version):
                return False
            if member is None and left is not None and left.body["version"] >= version:
                return False
            writes = [left_write(id, version, left, local=False)]
            self._store.write([*writes, *([entity_delete(member)] if member is not None else [])])
            self._health.forget(id)
            return member is not None

        return retried(cmbs.MEMBER_LOCATION + id, attempt)

    def has_left(self, id: str) -> bool:
        """Whether a member is known to have left."""
        return self._store.get(left_document(id)) is not None

    def forget_left(self) -> int:
        """Delete what is remembered of those that left long ago; returns of how many."""
        gone = self._store.lowest(LEFT, "expires", moment(time.time()), 500)
        if gone:
            self._store.write_batches([[Write(one.id, LEFT, revision=one.revision, delete=True)] for one in gone])
        return len(gone)

    def _departed(self) -> Mapping[str, Document]:
        """The records of those that left, or were only forgotten here (``local``), by id: read anew when one changed."""
        head = self._store.head(LEFT)  # before they are read: what changes meanwhile counts as newer
        if self._left[0] != head:
            self._left = head, {one.id.removeprefix(f"{LEFT}:"): one for one in self._store.find(Query(LEFT))}
        return self._left[1]

    def _attributes(self, draft: Draft) -> dict[str, Any]:
        """What of a description the member kind here has; a newer broker may send more."""
        registry = self._categories.registry()
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
        if topics := found.get(cmbs.MEMBER_TOPICS):  # a broker of another version may have another rule
            found[cmbs.MEMBER_TOPICS] = [one for one in topics if not isinstance(one, str) or is_subscription(one)]
        return found


def _told(introduction: Any) -> _Told:
    """Raises InvalidRequest."""
    told = introduction if isinstance(introduction, dict) else {}
    description, version, instance = (told.get(name) for name in ("description", "version", "instance"))
    attributes = description.get("attributes") if isinstance(description, dict) else None
    if not isinstance(description, dict) or description.get("kind") != cmbs.MEMBER or not isinstance(attributes, dict):
        raise InvalidRequest("this is no description of a member")
    title, summary = (str(description.get(name) or "") for name in ("title", "summary"))
    draft = Draft(cmbs.MEMBER, naming.bare_id(description.get("id")), (), attributes, title, summary)
    known = type(version) is int and version >= 0
    return _Told(
        draft, version if known and isinstance(version, int) else 0, instance if isinstance(instance, str) else ""
    )


def _missing(greeting: Mapping[str, Any], roster: Roster) -> list[Entity]:
    """The members that another one lacks, or has in an older version, in order of creation."""
    theirs = _versions(greeting.get("known"))
    return [one for one in roster.others if version_of(one) > theirs.get(one.id, -1)]


def _versions(told: Any) -> dict[str, int]:
    """Versions by id, as another member tells them; what is none is left out."""
    pairs = told.items() if isinstance(told, dict) else ()
    return {
        canonical_id(id): version
        for id, version in pairs
        if isinstance(id, str) and type(version) is int and 0 <= version < 2**63
    }
