"""Gossip: the exchange of members' descriptions and departures.

A member's description has a *version*, which grows with every change its own broker makes, and an *instance*, drawn when it
was created: so older news never replaces newer, and two members with one id are told apart.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Mapping
from typing import Any

from pycmbs.errors import (
    ClaimedId,
    CmbsError,
    Conflict,
    Departed,
    ForgedSender,
    InvalidRequest,
    RevisionConflict,
)
from pycmbs.ids import canonical_id
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.occi.layers import INTRODUCTORY
from pycmbs.occi.naming import plain_id
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.federation import versions
from pycmbs.services.federation.departures import Departures
from pycmbs.services.federation.health import ALIVE, HealthService
from pycmbs.services.federation.lives import LIFE, Lives
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.proofs import Proofs, Told, attributes
from pycmbs.services.federation.revocations import STATEMENTS as REVOCATIONS
from pycmbs.services.federation.roster import INSTANCE, VERSION, Roster, is_local, socket_of, version_of
from pycmbs.services.federation.statements import SIGNED
from pycmbs.services.federation.telling import Telling
from pycmbs.services.records.entities import entity_write, take_place
from pycmbs.services.records.retrying import retried
from pycmbs.store.base import Store, Write

log = logging.getLogger(__name__)

_RAISE_SECONDS = 1.0
"""How seldom the own version follows what others say of it, at most: each time all of them hear of it."""


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
        proofs: Proofs | None = None,
    ) -> None:
        """``most``: members that are known here, and entries that are looked at of each list in what another one tells.
        ``proofs``: what is believed of members, and how it is told; everything if it is None."""
        self.proofs = proofs or Proofs()
        self._store = store
        self._categories = categories
        self._members = members
        self._health = health
        self._most = most
        self.lives = Lives()
        self.departures = Departures(store, members.now, health, most=most)
        self._raised = -_RAISE_SECONDS
        # What was said last by or of a member that is stored in this revision, and changed nothing: every message says it.
        self._heard: dict[str, tuple[Told, bool, str]] = {}
        self._declined: dict[str, int] = {}
        self._newcomers: set[str] = set()
        self._telling = Telling(most)

    # What is told

    def greeting(self) -> dict[str, Any]:
        """What a hello says: the introduction, and which members are known here, and which have left."""
        return self._greeting(self._now())

    def _greeting(self, roster: Roster) -> dict[str, Any]:
        known = {one.id: version_of(one) for one in (*filter(None, [roster.own]), *self.proofs.tellable(roster))}
        shared = {LIFE: self.lives.own, "sockets_l1": roster.sockets_l1, "known": known}
        told = {**self.departures.told(), **self.proofs.revoked()}
        return {**self.proofs.introduction(roster), **shared, **told}

    def welcome(self, greeting: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a greeting: one of the own, and descriptions of the members that the other lacks."""
        roster = self._now()
        missing = self._missing(greeting, roster)
        told = {"members": [self.proofs.introduce(one) for one in missing[: self._most]]}
        gone = self.departures.farewells(self._versions(greeting.get("known"))) if self._signed else []
        lacking = {"farewells": gone, REVOCATIONS: self.proofs.revoked_since(greeting)}
        return {**self._greeting(roster), **told, **{name: some for name, some in lacking.items() if some}}

    def sockets(self, greeting: Mapping[str, Any]) -> list[str]:
        """Where those listen that another member knows, as it says: of what it tells, the addresses of other machines."""
        told = greeting.get("sockets_l1")
        urls = (url for url in told[: self._most] if isinstance(url, str)) if isinstance(told, list) else ()
        return [url for url in urls if self._members.is_networked(url)]

    def can_tell(self, greeting: Mapping[str, Any]) -> bool:
        """Whether members, or versions of them, are known here that the other lacks."""
        return bool(self._missing(greeting, self._now()) or self.proofs.revoked_since(greeting))

    def with_message(self, roster: Roster) -> Mapping[str, Any]:
        """What a message says of its sender: the introduction, or, where that is signed and known, which one."""
        introduction = roster.introduction
        strict = self._signed and not self._mixed
        return {name: introduction[name] for name in (VERSION, INSTANCE)} if strict else introduction

    def farewell(self, id: str, version: int, instance: str) -> dict[str, Any]:
        """What the own member, which was deleted, says of that."""
        trust = self.proofs.trust
        if trust is None:
            return {"version": version, "instance": instance}
        told = trust.farewell(id, version, instance)
        self.departures.keep(id, told)
        return {"version": version, "instance": instance, **told} if self._mixed else dict(told)

    # What is heard

    def hear(self, greeting: Mapping[str, Any], by: str = "") -> list[str]:
        """Take in what another member knows of others, with one commit; returns the ids of those that it told of. ``by``: who
        it is, where its key says so.

        What is wrong, contradicts or is old news is left out: it is hearsay.
        """
        if self._signed:
            self._hear_farewells(greeting.get("farewells"))
        left = {id: one for id, one in self._versions(greeting.get("left")).items() if self.proofs.is_plain(id)}
        self.departures.hear(left, greeting.get("left_instances"))
        self.proofs.hear_revoked(greeting)
        told = greeting.get("members")
        roster = self._now()
        known = self._versions(greeting.get("known"))
        if roster.own is not None and not self._signed:
            self._catch_up(roster.own, known.get(roster.own.id, 0))
        heard = list(known)
        room = self._most - len(roster.others)
        news: dict[str, tuple[Any, list[Write]]] = {}
        singly = []
        for introduction in told[: self._most] if isinstance(told, list) else []:
            one = None
            try:
                one = self.proofs.told(introduction)
                if one.id not in roster.by_id and sum(id not in roster.by_id for id in news) >= room:
                    self._members.check_room(self._most)
                writes = self._news(one, roster, direct=False)[1]
            except CmbsError as exc:
                log.debug("hearsay is ignored: %s", exc)
                if one is not None:
                    self._decline(one.id, one.version)
                continue
            heard.append(one.id)
            if one.id in news:
                singly.append(introduction)
            elif writes and self._telling.may(by if self._signed else ""):
                news[one.id] = introduction, writes
        results = self._store.write_batches([writes for _, writes in news.values()]) if news else []
        refused = [isinstance(one, RevisionConflict) for one in results]
        for introduction in [*itertools.compress((one for one, _ in news.values()), refused), *singly]:
            with contextlib.suppress(CmbsError):  # it was described twice, or changed meanwhile
                self.learn(introduction, direct=False)
        self._now()
        return heard

    def _hear_farewells(self, told: Any) -> None:
        """Others pass on what members said that have left."""
        trust = self.proofs.trust
        left, said = {}, {}
        for one in told[: self._most] if isinstance(told, list) else []:
            if trust is None:
                break
            try:
                statement = trust.departed(one)
                left[statement.id] = versions.checked(statement.said.get("version"), "this departure")
                said[statement.id] = statement
            except CmbsError as exc:
                log.debug("a farewell is ignored: %s", exc)
        self.departures.hear(
            left,
            {id: one.said.get("instance") for id, one in said.items()},
            {id: one.told() for id, one in said.items()},
        )
        known = self._members.now().by_id
        for id in left.keys() & known.keys():
            self._decline(f"left:{id}", left[id])

    def _decline(self, what: str, version: int) -> None:
        """Note that something was told, and not believed: it is not asked for again."""
        if len(self._declined) > 2 * self._most:
            self._declined.clear()
        self._declined[what] = max(version, self._declined.get(what, 0))

    def lacks(self, greeting: Mapping[str, Any]) -> bool:
        """Whether the other knows members, or versions of them, that are not known here."""
        roster = self._now()
        mine = {**self.departures.versions(), **roster.versions}
        theirs = self._versions(greeting.get("known"))
        own = roster.own.id if roster.own is not None else ""
        if self.proofs.lacks_revoked(greeting):
            return True
        if self._signed and self._lacks_farewells(self._versions(greeting.get("left")), roster):
            return True
        return any(
            versions.newer(version, max(mine.get(id, -1), self._declined.get(id, -1)))
            for id, version in theirs.items()
            if id != own or self._signed
        )

    def _lacks_farewells(self, left: Mapping[str, int], roster: Roster) -> bool:
        return any(
            not is_local(roster.by_id[id])
            and not versions.newer(version_of(roster.by_id[id]), version)
            and versions.newer(version, self._declined.get(f"left:{id}", -1))
            for id, version in left.items()
            if id in roster.by_id
        )

    def learn(self, introduction: Any, *, direct: bool = True, by: str | None = None) -> tuple[Entity, bool]:
        """Take in a member as it is described; returns it, and whether it was unknown. ``direct``: by itself, and ``by`` is
        what it calls itself.

        Raises InvalidRequest for an invalid description, ClaimedId when another member has this id, Departed, Conflict
        also when there are too many members; where members sign, also ForgedSender, UnknownKey.
        """
        told = self.proofs.told(introduction, by)
        own = self._members.local()
        if direct and own is not None and told.id == own.id and told.instance == own.private.get(INSTANCE):
            self.lives.check_own(own.id, introduction.get(LIFE))

        def attempt() -> tuple[Entity, bool]:
            roster = self._now()
            member, writes = self._news(told, roster, direct=direct)
            if writes:
                self._store.write(writes)
                self._now()
            new = bool(writes) and told.id not in roster.by_id
            if new and direct and self._signed:
                self._newcomers.add(told.id)
            return member, new

        return retried(cmbs.MEMBER_LOCATION + told.id, attempt)

    def is_newcomer(self, id: str) -> bool:
        """Whether a member introduced itself that was not known, and whom the others may not let in yet; said once."""
        new = id in self._newcomers
        self._newcomers.discard(id)
        return new

    def introduces(self, greeting: Mapping[str, Any]) -> bool:
        """Whether a greeting says whose it is: a broker without a member greets, too."""
        plain = isinstance(greeting.get("description"), dict)
        return (SIGNED in greeting or (self._mixed and plain)) if self._signed else plain

    def leave(self, sender: str, body: Mapping[str, Any]) -> None:
        """Another member says that it was deleted. Raises InvalidRequest, ClaimedId when another one is known, Conflict; where
        members sign, ForgedSender, UnknownKey."""
        trust, told = None if self.proofs.is_told_plain(body, sender) else self.proofs.trust, body
        if trust is not None:
            statement = trust.departed(body)
            if statement.id != sender:
                raise ForgedSender(f"{sender} says that {statement.id} has left", id=sender)
            told = statement.said
        version, instance = told.get("version"), str(told.get("instance") or "")
        self.departures.leave(sender, version, instance, statement.told() if trust is not None else None)

    def meet(self, sender: str, introduction: Mapping[str, Any]) -> None:
        """Take in the description that comes with a message. Raises ClaimedId, Departed. What else is wrong with it is no
        reason to refuse the message. Where members sign there is only its version: the description is asked for."""
        if not self.proofs.is_told_plain({}, plain_id(sender)):
            told = introduction.get("version")
            version = told if isinstance(told, int) and versions.credible(told) else 0
            self.departures.undone(plain_id(sender), version, direct=True)
            return
        if not isinstance(introduction.get("description"), dict):
            return
        try:
            self.learn(introduction)
        except (ClaimedId, Departed):
            raise
        except (InvalidRequest, Conflict) as exc:
            log.debug("a description that came with a message is ignored: %s", exc)

    def _news(self, told: Told, roster: Roster, *, direct: bool) -> tuple[Entity, list[Write]]:
        """The member that is described, and what is to be written of it, which is nothing when that is known or out of date.

        Raises as :meth:`learn`.
        """
        if roster.own is not None and told.id == roster.own.id:
            self._check_echo(roster.own, told)
            return roster.own, []
        known = roster.by_id.get(told.id)
        if known is not None and (told.is_of(known) or self._heard.get(told.id) == (told, direct, known.revision)):
            return known, []
        signed_news = known is None or self.proofs.is_behind(known, told, direct=direct)
        if known is not None and signed_news is False:
            return known, []
        proof = self.proofs.check(told)
        described = {**attributes(told.draft, self._categories.registry()), cmbs.LOCAL: "false"}
        path = known.path if known is not None else cmbs.MEMBER_LOCATION + told.id
        member = Entity(told.id, cmbs.MEMBER, path, (), described)
        member.title, member.summary = told.draft.title or "", told.draft.summary or ""
        member.private = {VERSION: told.version, INSTANCE: told.instance, **proof}
        self._members.check_sockets(member, told=True)
        if known is None:
            self._members.check_room(len(roster.others))
            return member, [
                *self.departures.undone(told.id, told.version, direct=direct or self._signed),
                entity_write(member, revision=None),
            ]
        take_place(member, known.private)
        if signed_news or (signed_news is None and self._replaces(known, member, direct=direct)):
            return member, [entity_write(member, revision=known.revision)]
        self._heard[told.id] = (told, direct, known.revision)
        return known, []

    def _check_echo(self, own: Entity, told: Told) -> None:
        """What others say of the own member must be of this one. Raises ClaimedId."""
        self.proofs.check_echo(told, own.id)
        theirs = attributes(told.draft, self._categories.registry()).get(cmbs.socket_attribute(INTRODUCTORY))
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

    @property
    def _signed(self) -> bool:
        """Whether members sign what they say here."""
        return self.proofs.trust is not None

    @property
    def _mixed(self) -> bool:
        """Whether some members sign, and some have no keys."""
        return self.proofs.trust is not None and self.proofs.trust.mixed

    def _now(self) -> Roster:
        """The members as they are now; the keyring is told, too."""
        roster = self._members.now()
        self.proofs.learned(roster)
        return roster

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
        theirs = self._versions(greeting.get("known"))
        return [one for one in self.proofs.tellable(roster) if versions.newer(version_of(one), theirs.get(one.id, -1))]

    def _versions(self, told: Any) -> dict[str, int]:
        """Versions by id, as another member tells them; invalid ones are left out, and what is too many."""
        pairs = told.items() if isinstance(told, dict) else ()
        return {
            canonical_id(id): version
            for id, version in itertools.islice(pairs, self._most)
            if isinstance(id, str) and versions.credible(version)
        }
