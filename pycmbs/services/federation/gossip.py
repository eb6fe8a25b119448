"""Gossip: what members tell of themselves and of others, who left, and what is passed on.

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
from pycmbs.occi.layers import INTRODUCTORY, LAYERS
from pycmbs.occi.topics import is_subscription
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.federation import versions
from pycmbs.services.federation.departures import Departures
from pycmbs.services.federation.health import ALIVE, HealthService
from pycmbs.services.federation.lives import LIFE, Lives
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.roster import INSTANCE, VERSION, Roster, introduce, socket_of, version_of
from pycmbs.services.records.entities import entity_write, take_place
from pycmbs.services.records.retrying import retried
from pycmbs.store.base import Store, Write

log = logging.getLogger(__name__)

_MOST_INSTANCE = 200
"""Characters of an instance that are looked at."""

_RAISE_SECONDS = 1.0
"""How seldom the own version follows what others say of it, at most: each time all of them hear of it."""


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
        self,
        store: Store,
        categories: CategoryService,
        members: MemberService,
        health: HealthService,
        *,
        most: int,
        hearsay: bool = True,
    ) -> None:
        """``most``: members that are known here, and entries that are looked at of each list in what another one tells.
        ``hearsay``: whether members are believed, and tell, what is about others."""
        self._hearsay = hearsay
        self._store = store
        self._categories = categories
        self._members = members
        self._health = health
        self._most = most
        self.lives = Lives()
        self.departures = Departures(store, members.now, health, most=most)
        self._raised = -_RAISE_SECONDS
        # What was said last by or of a member that is stored in this revision, and changed nothing: every message says it.
        self._heard: dict[str, tuple[_Told, bool, str]] = {}

    # What is told

    def greeting(self) -> dict[str, Any]:
        """What a hello says: the introduction, and which members are known here, and which have left."""
        return self._greeting(self._members.now())

    def _greeting(self, roster: Roster) -> dict[str, Any]:
        shared = {LIFE: self.lives.own, "sockets_l1": roster.sockets_l1, "known": roster.versions}
        return {**roster.introduction, **shared, **self.departures.told()}

    def welcome(self, greeting: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a greeting: one of the own, and descriptions of the members that the other lacks."""
        roster = self._members.now()
        missing = self._missing(greeting, roster)
        return {**self._greeting(roster), "members": [introduce(one) for one in missing[: self._most]]}

    def sockets(self, greeting: Mapping[str, Any]) -> list[str]:
        """Where those listen that another member knows, as it says: of what it tells, the addresses of other machines."""
        told = greeting.get("sockets_l1")
        urls = (url for url in told[: self._most] if isinstance(url, str)) if isinstance(told, list) else ()
        return [url for url in urls if self._members.is_networked(url)]

    def can_tell(self, greeting: Mapping[str, Any]) -> bool:
        """Whether members, or versions of them, are known here that the other lacks."""
        return bool(self._missing(greeting, self._members.now()))

    # What is heard

    def hear(self, greeting: Mapping[str, Any]) -> list[str]:
        """Take in what another member knows of others, with one commit; returns the ids of those that it told of.

        What is wrong, contradicts or is old news is left out: it is hearsay.
        """
        if self._hearsay:
            self.departures.hear(self._versions(greeting.get("left")), greeting.get("left_instances"))
        told = greeting.get("members") if self._hearsay else None
        roster = self._members.now()
        known = self._versions(greeting.get("known"))
        if roster.own is not None:
            self._catch_up(roster.own, known.get(roster.own.id, 0))
        heard = list(known)
        room = self._most - len(roster.others)
        news: dict[str, tuple[Any, list[Write]]] = {}
        singly = []
        for introduction in told[: self._most] if isinstance(told, list) else []:
            try:
                one = _told(introduction)
                if one.id not in roster.by_id and sum(id not in roster.by_id for id in news) >= room:
                    self._members.check_room(self._most)
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

    def lacks(self, greeting: Mapping[str, Any]) -> bool:
        """Whether the other knows members, or versions of them, that are not known here."""
        if not self._hearsay:
            return False
        roster = self._members.now()
        mine = {**self.departures.versions(), **roster.versions}
        theirs = self._versions(greeting.get("known"))
        return any(
            versions.newer(version, mine.get(id, -1))
            for id, version in theirs.items()
            if roster.own is None or id != roster.own.id
        )

    def learn(self, introduction: Any, *, direct: bool = True) -> tuple[Entity, bool]:
        """Take in a member as it is described; returns it, and whether it was unknown. ``direct``: by itself.

        Raises InvalidRequest for an invalid description, ClaimedId when another member has this id, Departed, Conflict
        also when there are too many members.
        """
        told = _told(introduction)
        own = self._members.local()
        if direct and own is not None and told.id == own.id and told.instance == own.private.get(INSTANCE):
            self.lives.check_own(own.id, introduction.get(LIFE))

        def attempt() -> tuple[Entity, bool]:
            roster = self._members.now()
            member, writes = self._news(told, roster, direct=direct)
            if writes:
                self._store.write(writes)
            return member, bool(writes) and told.id not in roster.by_id

        return retried(cmbs.MEMBER_LOCATION + told.id, attempt)

    def meet(self, introduction: Mapping[str, Any]) -> None:
        """Take in the description that comes with a message. Raises ClaimedId, Departed. What else is wrong with it is no
        reason to refuse the message."""
        if not isinstance(introduction.get("description"), dict):
            return
        try:
            self.learn(introduction)
        except (ClaimedId, Departed):
            raise
        except (InvalidRequest, Conflict) as exc:
            log.debug("a description that came with a message is left out: %s", exc)

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
        self._members.check_sockets(member, told=True)
        if known is None:
            self._members.check_room(len(roster.others))
            return member, [
                *self.departures.undone(told.id, told.version, direct=direct),
                entity_write(member, revision=None),
            ]
        take_place(member, known.private)
        if self._replaces(known, member, direct=direct):
            return member, [entity_write(member, revision=known.revision)]
        self._heard[told.id] = (told, direct, known.revision)
        return known, []

    def _check_echo(self, own: Entity, told: _Told) -> None:
        """What others say of the own member must be of this one. Raises ClaimedId."""
        theirs = self._attributes(told.draft).get(cmbs.socket_attribute(INTRODUCTORY))
        same = told.instance == own.private.get(INSTANCE) if told.instance else theirs == socket_of(own, INTRODUCTORY)
        if not same:
            raise ClaimedId(f"two members claim the id {own.id}", hint="Give one of them another id.", id=own.id)
        self._catch_up(own, told.version)

    def _catch_up(self, own: Entity, version: int) -> None:
        """Others remember the own member in this version: the own one becomes newer. A clock went back, or this store is an
        older copy."""
        if versions.newer(version, version_of(own)) and time.monotonic() >= self._raised + _RAISE_SECONDS:
            self._raised = time.monotonic()
            self._members.renew(version)

    def outlive(self, refused: Departed) -> bool:
        """Others refuse the own member since it left in a newer version than its own; tells whether its own is newer now."""
        own, version = self._members.local(), refused.data.get("version")
        if own is None or refused.data.get("id") != own.id or not isinstance(version, int):
            return False
        if not versions.credible(version):
            return False
        self._catch_up(own, version)
        own = self._members.local()
        return own is not None and versions.newer(version_of(own), version)

    def _replaces(self, known: Entity, told: Entity, *, direct: bool) -> bool:
        """Whether what is told of a known member is news. Raises ClaimedId when it is of another one that is alive."""
        instances = [one.private.get(INSTANCE) for one in (known, told)]
        if all(instances) and instances[0] != instances[1]:
            health = self._health.of(known.id)
            moved = socket_of(known, INTRODUCTORY) != socket_of(told, INTRODUCTORY)
            if moved and health is not None and health.state == ALIVE:
                raise ClaimedId(
                    f"two members claim the id {known.id}: one is alive at {socket_of(known, INTRODUCTORY)}",
                    hint="Give one of them another id, or stop the other.",
                    id=known.id,
                )
            return direct or versions.newer(version_of(told), version_of(known))
        if version_of(told) != version_of(known):
            return versions.newer(version_of(told), version_of(known))
        contents = [(one.attributes, one.title, one.summary) for one in (known, told)]
        return direct and contents[0] != contents[1]

    def _missing(self, greeting: Mapping[str, Any], roster: Roster) -> list[Entity]:
        """The members that another one lacks, or has in an older version, in order of creation."""
        if not self._hearsay:
            return []
        theirs = self._versions(greeting.get("known"))
        return [one for one in roster.others if versions.newer(version_of(one), theirs.get(one.id, -1))]

    def _versions(self, told: Any) -> dict[str, int]:
        """Versions by id, as another member tells them; invalid ones are left out, and what is too many."""
        pairs = told.items() if isinstance(told, dict) else ()
        return {
            canonical_id(id): version
            for id, version in itertools.islice(pairs, self._most)
            if isinstance(id, str) and versions.credible(version)
        }

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
            elif known is not None and known.name == cmbs.LISTENING and isinstance(value, list):
                found[cmbs.LISTENING] = [layer for layer in LAYERS if layer in value]
        if topics := found.get(cmbs.MEMBER_TOPICS):  # a broker of another version may have another rule
            found[cmbs.MEMBER_TOPICS] = [one for one in topics if not isinstance(one, str) or is_subscription(one)]
        return found


def _told(introduction: Any) -> _Told:
    """Raises InvalidRequest."""
    told = introduction if isinstance(introduction, dict) else {}
    description, version, instance = (told.get(name) for name in ("description", "version", "instance"))
    attributes = description.get("attributes") if isinstance(description, dict) else None
    if not isinstance(description, dict) or description.get("kind") != cmbs.MEMBER or not isinstance(attributes, dict):
        raise InvalidRequest("this is not a description of a member")
    title, summary = (str(description.get(name) or "") for name in ("title", "summary"))
    draft = Draft(cmbs.MEMBER, naming.bare_id(description.get("id")), (), attributes, title, summary)
    as_of = versions.checked(0 if version is None else version, "this description")
    return _Told(draft, as_of, instance[:_MOST_INSTANCE] if isinstance(instance, str) else "")
