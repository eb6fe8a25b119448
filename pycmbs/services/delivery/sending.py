"""Sending: accepts messages into the outbox, a delivery row for each recipient, and sets each row's deadline.

Those that one request sends share their commits.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from pycmbs import clock, tracing
from pycmbs.backends.base import Begun, Report
from pycmbs.errors import (
    CmbsError,
    EngineUnavailable,
    NoLocalMember,
    NotSendable,
    PreconditionFailed,
    RevisionConflict,
    TooLarge,
    Unavailable,
)
from pycmbs.metrics.table import ACCEPTED
from pycmbs.occi import cmbs, layers
from pycmbs.occi.entity import Entity
from pycmbs.occi.naming import canonical
from pycmbs.services.access.access import Access
from pycmbs.services.delivery.addressing import Addressing
from pycmbs.services.delivery.limit import OutboxBound
from pycmbs.services.delivery.reports import not_listening, plan, report
from pycmbs.services.engine_link import EngineLink
from pycmbs.services.entities.service import EntityService
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.roster import Roster
from pycmbs.services.records import deliveries
from pycmbs.services.records.deliveries import FAILED, Delivery, delivery_of
from pycmbs.services.records.entities import entity_write, note_settled
from pycmbs.store.base import Store, Write

log = logging.getLogger(__name__)

_TRIES = 20
_TOGETHER = 2000
"""How many documents are written with one commit, or those of one message: it holds up others' writes for some 50 ms."""

_MOST_BEGUN = 5000
"""Documents of several messages that are made and sent with one commit."""


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
        self._addressing = Addressing(members)

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
        end = _end(attributes)
        roster, own = self._ready(messages, layer)
        if attributes.get("dry_run"):
            return self._plans(messages, layer, roster)
        accepted = self._accept(messages, layer, own, pinned=pinned)
        return self._reports(accepted, end if attributes.get("wait") else None)

    def begin(self, messages: Sequence[Entity], layer: str, attributes: Mapping[str, Any]) -> Begun:
        """Accept messages that are not stored yet, with the commit that stores them; changes them. Raises as :meth:`send`, and
        TooLarge for more than one commit takes."""
        end = _end(attributes)
        roster, own = self._ready(messages, layer)
        if attributes.get("dry_run"):
            return Begun([()] * len(messages), lambda: self._plans(messages, layer, roster), tried=True)
        begun = [_Sending(message, self._routed(message, layer, own)) for message in messages]
        documents = len(begun) + sum(len(one.rows) for one in begun)
        if len(begun) > 1 and documents > _MOST_BEGUN:
            raise TooLarge(
                f"these messages and their recipients are {documents} documents, and one request makes {_MOST_BEGUN}",
                hint="Send several requests, or POST the messages first and then send them.",
                most=_MOST_BEGUN,
            )
        for one in begun:
            one.writes = [row.write() for row in one.rows]
        self._take(begun)
        return Begun(
            [one.writes for one in begun],
            lambda: self._stored(begun, end if attributes.get("wait") else None),
            lambda: self._bound.give_back(sum(one.waiting for one in begun)),
        )

    def reports(self, messages: Sequence[Entity], attributes: Mapping[str, Any]) -> list[Report]:
        """What :meth:`send` would tell of messages that were sent: as they are by now, or once they are settled, if
        ``attributes`` has a ``wait``."""
        end = _end(attributes)
        sent = [_Sending(message, self._rows_of(message)) for message in messages]
        return self._reports(sent, end if attributes.get("wait") else None)

    def _stored(self, begun: Sequence[_Sending], end: float | None) -> list[Report]:
        """What there is to say of messages that were begun, once they are stored."""
        for one in begun:
            _count(one)
        return self._reports(begun, end)

    def _ready(self, messages: Sequence[Entity], layer: str) -> tuple[Roster, Entity]:
        """The members, and the own one, with which all of the messages may be sent on a layer. Raises."""
        for message in messages:
            _check_sendable(message, layer)
        roster = self._members.now()
        if roster.own is None:
            raise NoLocalMember(
                "this broker has no member to send as",
                hint=f"POST one to {cmbs.MEMBER_LOCATION} first.",
            )
        for message in messages if self._access.asked else ():
            self._access.check_parts(message, layer, self._addressing.parts(message, layer))
        return roster, roster.own

    def _plans(self, messages: Sequence[Entity], layer: str, roster: Roster) -> list[Report]:
        silent = self._addressing.silent(layer, roster)
        dead = self._members.dead()
        return [plan(self._addressing.choose(message, layer, roster), layer, silent, dead) for message in messages]

    def _reports(self, accepted: Sequence[_Sending], end: float | None) -> list[Report]:
        """What there is to say of messages that are in the outbox; not before they are settled, or the ``end``, if there is
        one."""
        if end is None or not any(one.unsettled for one in accepted):
            self._engine.wake()
            rows = [one.rows for one in accepted]
        else:
            rows = [self._settled(one, end) if one.unsettled else one.rows for one in accepted]
        dead = self._members.dead()
        return [report(one.message, some, dead) for one, some in zip(accepted, rows, strict=True)]

    def _settled(self, sending: _Sending, end: float) -> list[Delivery]:
        """The rows of a message once all are settled, or as they are at the ``end``. Asking for that wakes the engine, too."""
        path, seconds = sending.message.path, max(0.0, end - time.monotonic())
        try:
            answer = self._engine.call("wait", {"message": path, "seconds": seconds}, seconds=seconds + 2)
        except EngineUnavailable:
            answer = {}  # accepted is accepted, and the report says how far it is
        rows = [delivery_of(row) for row in answer.get("rows") or ()]
        return rows or self._rows_of(self._entities.stored(path))

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
            begun = [self._sending(message, layer, own) for message in left]
            refused = self._write([one for one in begun if one.writes], accepted)
            accepted |= {one.message.path: one for one in begun if one not in refused}
            if not refused:
                return [accepted[message.path] for message in messages]
            paths = [one.message.path for one in refused]
            if pinned:
                raise PreconditionFailed(f"{paths[0]} was changed meanwhile", location=paths[0])
            left = [self._entities.stored(path) for path in paths]
        raise NotSendable(f"too many concurrent changes to {left[0].path}", hint="Try again.")

    def _sending(self, message: Entity, layer: str, own: Entity) -> _Sending:
        # All under its path, if it was sent before: a send that failed half-way may have left some of a round of its own.
        old = deliveries.of_message(self._store, message.path) if "round" in message.private else []
        current = [row for row in old if deliveries.belongs(row, message)]
        # One that all have may be changed while they execute it, and sent again: what came of the execution is lost then.
        if any(row.open if deliveries.CHANGED in message.private else row.unsettled for row in current):
            return _Sending(message, current)
        sent = message.copy()
        rows = self._routed(sent, layer, own, old)
        gone = [Write(row.id, deliveries.DELIVERY, revision=row.revision, delete=True) for row in old]
        writes = [*(row.write() for row in rows), entity_write(sent, revision=message.revision)]
        if self._store.atomic:
            return _Sending(sent, rows, [*gone, *writes])
        return _Sending(sent, rows, writes, gone)

    def _routed(self, message: Entity, layer: str, own: Entity, old: Sequence[Delivery] = ()) -> list[Delivery]:
        """Make a message one that is being sent, in a new round; returns its rows. ``old``: those of earlier rounds."""
        # Grows with every sending, also when a message is deleted and recreated under its id: receivers tell them apart.
        self._round = max(message.private.get("round", 0) + 1, self._round + 1, int(clock.now() * 1e6))
        message.private["round"] = self._round
        message.private.pop(deliveries.CHANGED, None)
        tracing.note(message.private)
        rows = self._rows(message, layer)
        # Where a batch may be written in part, what goes goes afterwards, or is left by a kill.
        deliveries.note_rounds(message, len(rows), () if self._store.atomic else old)
        note_settled(message, deliveries.settled_at(rows))
        message.attributes |= {cmbs.ORIGIN: own.id, cmbs.STATE: deliveries.summary(rows), cmbs.LAYER: layer}
        return rows

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
                for one in written:
                    _count(one)
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
        found = self._addressing.choose(message, layer, roster)
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
        silent = self._addressing.silent(layer, roster)
        for one in found.recipients:
            reason = not_listening(layer) if one.member in silent else ""
            row = replace(blank, index=len(rows), member=one.member, socket=one.socket, why=one.reason, reason=reason)
            rows.append(row if one.socket else row.settled(FAILED, now, f"it has no {layer} socket"))
        for name in found.unknown:
            row = replace(blank, index=len(rows), member=name, why=f"it is named as {name}")
            rows.append(row.settled(FAILED, now, "no member of that name is known"))
        return rows or [blank.settled(FAILED, now, f"there is no recipient: {layers.TABLE[layer].nobody}")]


def _end(attributes: Mapping[str, Any]) -> float:
    """Until when a send waits."""
    return time.monotonic() + float(attributes.get("wait", 0))


def _count(sending: _Sending) -> None:
    """A message was accepted; what has no recipient is settled with that."""
    message, layer = sending.message, str(sending.message.attributes[cmbs.LAYER])
    ACCEPTED.count(layer)
    if fields := tracing.log_fields(message.private):
        named = {"message_id": message.id, "layer": layer, **fields}
        log.info("%s is accepted for %s (request %s)", message.path, layer, fields.get("request_id", "-"), extra=named)
    for row in sending.rows:
        if not row.unsettled:
            deliveries.count_settled(row)


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
