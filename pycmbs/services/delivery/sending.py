"""Sending: messages are accepted for delivery. Those that one request sends share their commits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from pycmbs import clock
from pycmbs.backends.base import Report
from pycmbs.errors import (
    CmbsError,
    EngineUnavailable,
    InvalidRequest,
    NoLocalMember,
    NotSendable,
    PreconditionFailed,
    RevisionConflict,
    Unavailable,
)
from pycmbs.occi import cmbs, layers
from pycmbs.occi.entity import Entity
from pycmbs.occi.naming import canonical
from pycmbs.services.access.access import Access
from pycmbs.services.access.rules import Part
from pycmbs.services.delivery import recipients
from pycmbs.services.delivery.limit import OutboxBound
from pycmbs.services.engine_link import EngineLink
from pycmbs.services.entities.service import EntityService
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.roster import Roster, is_local, is_silent, socket_of
from pycmbs.services.records import deliveries
from pycmbs.services.records.deliveries import FAILED, Delivery, delivery_of
from pycmbs.services.records.entities import entity_write, settle
from pycmbs.store.base import Store, Write

T = TypeVar("T")

_TRIES = 20
_TOGETHER = 2000
"""How many documents are written with one commit, or those of one message: it holds up others' writes for some 50 ms."""


@dataclass(eq=False, slots=True)
class _Sending:
    """A message on its way into the outbox: as it is sent, its rows, and what is still to be written of both."""

    message: Entity
    rows: list[Delivery]
    writes: list[Write] = field(default_factory=list)
    after: list[Write] = field(default_factory=list)
    """What goes once it is written: rows of earlier rounds, where a batch may be written in part."""

    @property
    def waiting(self) -> int:
        """How many of the rows are new, and wait."""
        return sum(row.unsettled for row in self.rows) if self.writes else 0

    @property
    def unsettled(self) -> bool:
        return any(row.unsettled for row in self.rows)


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


class SendingService:
    """The way of a message into the outbox."""

    def __init__(
        self,
        store: Store,
        entities: EntityService,
        members: MemberService,
        access: Access,
        engine: EngineLink,
        bound: OutboxBound,
        *,
        deadline: float,
    ) -> None:
        """``deadline``: seconds a message without one of its own is kept trying."""
        self._store = store
        self._entities = entities
        self._members = members
        self._access = access
        self._engine = engine
        self._bound = bound
        self._deadline = deadline
        self._round = 0
        """The last one that was given: two sends may fall into one microsecond."""
        self._silent = _OfRoster(_silent)
        self._peers = _OfRoster(_peers)

    def send(
        self, messages: Sequence[Entity], layer: str, attributes: Mapping[str, Any], *, pinned: bool = False
    ) -> list[Report]:
        """Accept messages for delivery on a layer: durable when this returns. Returns a report for each.

        ``attributes`` may hold ``dry_run`` (tell who would get it, send nothing) and ``wait`` (seconds to wait until all
        recipients are settled). A message that is being sent is not sent twice. ``pinned``: send them as they are given only.
        Raises NotSendable, NoLocalMember, InvalidRequest for one of them, QueueFull: then none is sent; PreconditionFailed.
        Beyond :data:`_TOGETHER` documents they are accepted in steps, in order; an error of a later one has, as ``accepted``,
        how many are sent.
        """
        end = time.monotonic() + float(attributes.get("wait", 0))
        for message in messages:
            _check_sendable(message, layer)
        roster = self._members.now()
        own = roster.own
        if own is None:
            raise NoLocalMember(
                "this broker has no member to send as",
                hint=f"POST one to {cmbs.MEMBER_LOCATION} first.",
            )
        for message in messages if self._access.asked else ():
            self._access.check_parts(message, layer, self._parts(message, layer))
        if attributes.get("dry_run"):
            silent = self._silent.on(layer, roster)
            return [_plan(self._route(message, layer, roster), layer, silent) for message in messages]
        accepted = self._accept(messages, layer, own, pinned=pinned)
        if not attributes.get("wait") or not any(one.unsettled for one in accepted):
            self._engine.wake()
            return [_report(one.message, one.rows) for one in accepted]
        return [_report(one.message, self._settled(one, end) if one.unsettled else one.rows) for one in accepted]

    def _settled(self, sending: _Sending, end: float) -> list[Delivery]:
        """The rows of a message once all are settled, or as they are at the ``end``. Asking for that wakes the engine, too."""
        path, seconds = sending.message.path, max(0.0, end - time.monotonic())
        try:
            answer = self._engine.call("wait", {"message": path, "seconds": seconds}, seconds=seconds + 2)
        except EngineUnavailable:
            answer = {}  # accepted is accepted, and the report says how far it is
        rows = [delivery_of(row) for row in answer.get("rows") or ()]
        return rows or self._rows_of(self._entities.stored(path))

    # Who gets it

    def _parts(self, message: Entity, layer: str) -> list[Part]:
        """What the message is sent for, as it says: whether that can be done is seen later."""
        attributes, needs = message.attributes, layers.TABLE[layer].needs
        if layers.RECEIVER in needs:
            behind = self._members.now().at(layer, str(attributes.get(cmbs.RECEIVER)))
            return [Part(layer, to=next((one.id for one in behind), ""))]
        members = [recipients.provider_id(name) for name in cmbs.items(attributes, cmbs.PROVIDERS)]
        topics = cmbs.items(attributes, cmbs.TOPICS)
        return [
            Part(layer, topic, member)
            for topic in (topics if layers.TOPICS in needs else [None])
            for member in (members if layers.PROVIDERS in needs else [None])
        ]

    def _route(self, message: Entity, layer: str, roster: Roster) -> recipients.Routing:
        """Who of these members gets the message on this layer. Raises InvalidRequest when it does not say whom it is for."""
        needs = layers.TABLE[layer].needs
        said = [_needed(message.attributes, f"cmbs.message.{name}", layer) for name in needs]
        if layers.RECEIVER in needs:
            peers = [_peer(member, layer) for member in roster.at(layer, said[0])]
        else:
            peers = self._peers.on(layer, roster)
        return recipients.CHOICES[needs](*said, peers)

    # Into the outbox

    def _accept(self, messages: Sequence[Entity], layer: str, own: Entity, *, pinned: bool) -> list[_Sending]:
        """A row per recipient, and the message that makes them valid. Changes made meanwhile are respected, or, if the messages
        are ``pinned``, forbid it. An error after some were accepted says how many."""
        accepted: dict[str, _Sending] = {}
        try:
            return self._accepted(messages, layer, own, accepted, pinned=pinned)
        except CmbsError as exc:
            if accepted:
                exc.data["accepted"] = len(accepted)
                self._engine.wake()
            raise

    def _accepted(
        self, messages: Sequence[Entity], layer: str, own: Entity, accepted: dict[str, _Sending], *, pinned: bool
    ) -> list[_Sending]:
        left = messages
        for _ in range(_TRIES):
            begun = [self._begun(message, layer, own) for message in left]
            refused = self._write([one for one in begun if one.writes], accepted)
            accepted |= {one.message.path: one for one in begun if one not in refused}
            if not refused:
                return [accepted[message.path] for message in messages]
            paths = [one.message.path for one in refused]
            if pinned:
                raise PreconditionFailed(f"{paths[0]} was changed meanwhile", location=paths[0])
            left = [self._entities.stored(path) for path in paths]
        raise NotSendable(f"too many concurrent changes to {left[0].path}", hint="Try again.")

    def _begun(self, message: Entity, layer: str, own: Entity) -> _Sending:
        # All under its path, if it was sent before: a send that failed half-way may have left some of a round of its own.
        old = deliveries.of_message(self._store, message.path) if "round" in message.private else []
        current = [row for row in old if deliveries.belongs(row, message)]
        # One that all have may be changed while they execute it, and sent again: what came of the execution is lost then.
        if any(row.open if deliveries.CHANGED in message.private else row.unsettled for row in current):
            return _Sending(message, current)
        sent = message.copy()
        # Grows with every sending, also when a message is deleted and recreated under its id: receivers tell them apart.
        self._round = max(message.private.get("round", 0) + 1, self._round + 1, int(clock.now() * 1e6))
        sent.private["round"] = self._round
        sent.private.pop(deliveries.CHANGED, None)
        rows = self._rows(sent, layer)
        # Where a batch may be written in part, what goes goes afterwards, or is left by a kill.
        deliveries.note_rounds(sent, len(rows), () if self._store.atomic else old)
        settle(sent, deliveries.settled_at(rows))
        sent.attributes |= {cmbs.ORIGIN: own.id, cmbs.STATE: deliveries.summary(rows), cmbs.LAYER: layer}
        gone = [Write(row.id, deliveries.DELIVERY, revision=row.revision, delete=True) for row in old]
        writes = [*(row.write() for row in rows), entity_write(sent, revision=message.revision)]
        if self._store.atomic:
            return _Sending(sent, rows, [*gone, *writes])
        return _Sending(sent, rows, writes, gone)

    def _rows_of(self, message: Entity) -> list[Delivery]:
        return deliveries.of_sent(self._store, message)

    def _write(self, sendings: Sequence[_Sending], accepted: dict[str, _Sending]) -> list[_Sending]:
        """Write them in steps, noting in ``accepted`` what is written; returns those that were refused, since the message is
        not any more as it was read. Raises QueueFull, having written none."""
        refused, left = [], list(sendings)
        self._take(left)
        try:
            for some in _portions(sendings):
                results = self._store.write_batches([one.writes for one in some])
                del left[: len(some)]
                conflicts = [isinstance(result, RevisionConflict) for result in results]
                refused += [one for one, conflict in zip(some, conflicts, strict=True) if conflict]
                written = [one for one, conflict in zip(some, conflicts, strict=True) if not conflict]
                accepted |= {one.message.path: one for one in written}
                self._clear(written)
        finally:
            self._bound.give_back(sum(one.waiting for one in [*refused, *left]))
        return refused

    def _clear(self, accepted: Sequence[_Sending]) -> None:
        """Delete rows that count for nothing any more; those for which that fails go with the next round, or the message."""
        batches = [[write] for one in accepted for write in one.after]
        if batches:
            with contextlib.suppress(Unavailable):
                self._store.write_batches(batches)

    def _take(self, sendings: Sequence[_Sending]) -> None:
        """Room in the outbox for all of them, or none. Raises QueueFull, NotSendable."""
        taken = 0
        try:
            for one in sendings:
                number = one.waiting
                self._bound.take(number)
                taken += number
        except BaseException:
            self._bound.give_back(taken)
            raise

    def _rows(self, message: Entity, layer: str) -> list[Delivery]:
        roster = self._members.now()
        found = self._route(message, layer, roster)
        message.private["uninterested"] = list(found.uninterested)
        now = clock.now()
        blank = Delivery(
            message=message.path,
            round=message.private["round"],
            index=0,
            recipient_count=max(1, len(found.recipients) + len(found.unknown)),
            member="",
            socket="",
            layer=layer,
            accepted=now,
            deadline=now + float(message.attributes.get(cmbs.DEADLINE) or self._deadline),
        )
        rows: list[Delivery] = []
        silent = self._silent.on(layer, roster)
        for one in found.recipients:
            reason = _not_listening(layer) if one.member in silent else ""
            row = replace(blank, index=len(rows), member=one.member, socket=one.socket, why=one.reason, reason=reason)
            rows.append(row if one.socket else row.settled(FAILED, now, f"it has no {layer} socket"))
        for name in found.unknown:
            row = replace(blank, index=len(rows), member=name, why=f"it is named as {name}")
            rows.append(row.settled(FAILED, now, "no member of that name is known"))
        return rows or [blank.settled(FAILED, now, f"there is no recipient: {layers.TABLE[layer].nobody}")]


def _portions(sendings: Sequence[_Sending]) -> Iterator[list[_Sending]]:
    some: list[_Sending] = []
    number = 0
    for one in sendings:
        if some and number + len(one.writes) > _TOGETHER:
            yield some
            some, number = [], 0
        some.append(one)
        number += len(one.writes)
    if some:
        yield some


def _check_sendable(message: Entity, layer: str) -> None:
    if message.attributes.get(cmbs.SENDABLE) == "false":
        raise NotSendable(
            f"{message.path} is not sendable", hint=f"Set {cmbs.SENDABLE} to true.", attribute=cmbs.SENDABLE
        )
    said = canonical(str(message.attributes.get(cmbs.LAYER) or layer))
    if said != layer:
        raise NotSendable(
            f"{message.path} is a message of layer {said}", hint=f"Use ?action=send_{said}.", attribute=cmbs.LAYER
        )


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


def _report(message: Entity, rows: Sequence[Delivery]) -> Report:
    report: Report = {
        "state": deliveries.summary(rows),
        "recipients": sum(bool(row.member or row.socket) for row in rows),
        "delivered": sum(row.arrived for row in rows),
        "deliveries": [row.entry() for row in rows],
    }
    if rows and not report["recipients"]:
        report["reason"] = rows[0].reason
    if silent := [row.member for row in rows if row.unsettled and row.reason == _not_listening(row.layer)]:
        report["not_listening"] = silent
    if uninterested := message.private.get("uninterested"):
        report["uninterested"] = uninterested
    return report


def _plan(found: recipients.Routing, layer: str, silent: frozenset[str]) -> Report:
    planned: list[Report] = []
    for one in found.recipients:
        planned.append({"member": one.member, "socket": one.socket, "why": one.reason})
        if one.member in silent:
            planned[-1]["reason"] = _not_listening(layer)
    waiting = [one.member for one in found.recipients if one.member in silent]
    return {
        "recipients": planned,
        "unknown": list(found.unknown),
        **({"not_listening": waiting} if waiting else {}),
        **({"uninterested": list(found.uninterested)} if found.uninterested else {}),
        "dry_run": True,
    }


def _not_listening(layer: str) -> str:
    return f"it does not listen on {layer} now"
