"""Store operations behind the outbox: pending rows, bodies of messages, settling."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from pycmbs import clock, tracing
from pycmbs.errors import CmbsError, Departed, NoLocalMember, RevisionConflict, StoreUnavailable, UnknownEntity
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.occi.layers import INTRODUCTORY
from pycmbs.occi.rendering.json_2012 import entity_document
from pycmbs.services.delivery.letter import travelling
from pycmbs.services.entities.service import EntityService
from pycmbs.services.federation.gossip import FederationService
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.roster import socket_of
from pycmbs.services.records import deliveries
from pycmbs.services.records.deliveries import SENDING, Delivery
from pycmbs.services.records.entities import ENTITY, entity_write, note_settled
from pycmbs.services.records.times import sort_key_of_time
from pycmbs.store.base import Query, Store, Write

log = logging.getLogger(__name__)

_TRIES = 5
_DOUBT_SECONDS = 600.0
"""How long a message is looked at whose rows were removed since it was not there."""
_REMEMBERED = 64
"""Messages that are under way to one recipient and need not be read again when that has answered."""


class OutboxService:
    """Rows of deliveries on their way from accepted to settled."""

    def __init__(
        self, store: Store, entities: EntityService, members: MemberService, federation: FederationService
    ) -> None:
        self._store = store
        self._entities = entities
        self._members = members
        self._federation = federation
        self._sent: OrderedDict[str, Entity] = OrderedDict()
        self._reconciled = False
        self._behind: dict[str, float] = {}
        """Messages that may be behind their rows, and until when that is looked for again."""

    def outgoing(self, row: Delivery) -> dict[str, Any] | None:
        """The body of the envelope for one recipient; None when the row does not count: its message was deleted, or sent
        again, or, in a store that is not atomic, is not there yet, and perhaps never will be.

        Raises NoLocalMember if the own member has been deleted.
        """
        roster = self._members.now()
        message = self._entities.stored_many([row.message]).get(row.message)
        if message is None or not deliveries.belongs(row, message):
            return None
        own = roster.own
        if own is None:
            raise NoLocalMember("this broker has no member to send as")
        if row.recipient_count == 1:
            self._remember(message)
        shared = message.copy()
        history = message.attributes.get(cmbs.PATH_HISTORY) or []
        shared.attributes = {
            **travelling(message),
            cmbs.ORIGIN: own.id,
            cmbs.PATH_HISTORY: [*history, cmbs.urn(own.id)],
        }
        return {
            "layer": row.layer,
            "round": row.round,
            "message": entity_document(shared),
            **self._federation.with_message(roster),
            "sockets_l1": roster.sockets_l1 if row.layer == INTRODUCTORY else [],
            "deadline": round(row.deadline - clock.now(), 3),
            **tracing.carried(message.private),
        }

    def _remember(self, message: Entity) -> None:
        self._sent[message.path] = message
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)

    def settle(self, rows: Sequence[Delivery]) -> tuple[list[Delivery | None], dict[str, list[Delivery]]]:
        """Store changed rows with one commit, and with them the state of messages that have a single recipient; then bring
        the state of the others up to date.

        Returns the rows, with new revisions where they may be written again, None for one whose message was deleted or sent
        again meanwhile, and all rows of the messages of which none is unsettled any more, by path.
        """
        single = {row.message: row for row in rows if row.recipient_count == 1 and not row.unsettled}
        messages = self._as_sent(single)
        batches: list[list[Write]] = []
        for row in rows:
            message = messages.get(row.message)
            batch = [row.write()]
            if message is not None and _conclude(message, [row]):
                batch.append(entity_write(message, revision=message.revision))
            batches.append(batch)
        stored: list[Delivery | None] = []
        touched = set()
        for row, result in zip(rows, self._store.write_batches(batches), strict=True):
            if isinstance(result, RevisionConflict):
                stored.append(self.correct(row))
            else:
                # A settled row is never written again, and so needs no revision.
                stored.append(replace(row, revision=result[0].revision) if row.unsettled else row)
            if stored[-1] is not None and not row.unsettled:
                touched.add(row.message)
                deliveries.count_settled(row)
        alone = {
            row.message: [row] for row in stored if row is not None and row.message in single and not row.unsettled
        }
        concluded = alone | self._concluded(touched - single.keys())
        for path in touched:
            self._behind.pop(path, None)
        return stored, concluded

    def _as_sent(self, paths: Iterable[str]) -> dict[str, Entity]:
        """The messages at these paths: as they were sent, if that is remembered (who changed one since then has changed its
        revision), or as they are stored."""
        found = {path: message for path in paths if (message := self._sent.pop(path, None)) is not None}
        missing = [path for path in paths if path not in found]
        return found | self._entities.stored_many(missing) if missing else found

    def row(self, id: str) -> Delivery | None:
        """A row as it is stored; None when it is gone, its message being deleted or sent again."""
        found = self._store.get(id)
        return deliveries.delivery_from(found) if found is not None else None

    def rewrite(self, row: Delivery) -> None:
        """Store a row once more as it is stored: raises Unavailable if nothing can be written now."""
        found = self._store.get(row.id)
        if found is not None:
            self._store.write_batches([[Write(found.id, found.type, found.body, found.keys, found.revision)]])

    def correct(self, row: Delivery) -> Delivery | None:
        """Store what is known of a row, however it is stored by now, and bring its message up to date. Returns it as it is
        then, None when it is gone. Raises StoreUnavailable after too many concurrent changes to it."""
        for _ in range(_TRIES):
            found = self._store.get(row.id)
            if found is None:
                return None
            stored = deliveries.delivery_from(found)
            raised = stored.raised(row)
            if raised != stored:
                try:
                    (written,) = self._store.write([raised.write()])
                except RevisionConflict:
                    continue
                raised = replace(raised, revision=written.revision)
            message = self._entities.stored_many([row.message]).get(row.message)
            if message is not None and deliveries.belongs(row, message):
                self._conclude_again(row.message, deliveries.of_sent(self._store, message))
            return raised
        raise StoreUnavailable(f"too many concurrent changes to {row.id}", hint="It is tried again.")

    # Rows without their message

    def counting(self, rows: Sequence[Delivery]) -> list[Delivery]:
        """Those of the rows whose message is there, and of their round."""
        messages = self._entities.stored_many({row.message for row in rows}) if rows else {}
        return [row for row in rows if deliveries.belongs(row, messages.get(row.message))]

    def discard(self, rows: Sequence[Delivery]) -> None:
        """Delete rows that do not count."""
        # And of what was settled at once, which no other path looks after.
        found = self._store.get_many(deliveries.siblings(rows))
        batches = [[Write(one.id, deliveries.DELIVERY, revision=one.revision, delete=True)] for one in found.values()]
        if batches:
            self._store.write_batches(batches)
            log.info("%d deliveries without their message are removed: their sending failed half-way", len(batches))
            # A call that was not answered may be carried out yet.
            self._behind |= dict.fromkeys((row.message for row in rows), time.monotonic() + _DOUBT_SECONDS)
        self._concluded({row.message for row in rows})

    # Messages behind their rows

    def reconcile(self) -> None:
        """Bring up to date the messages that a kill left behind their rows: once, all that are sent; later those that this
        process left behind, since only the engine settles rows."""
        query = Query(ENTITY, {"kind": cmbs.MESSAGE, cmbs.STATE: SENDING}, limit=200)
        while not self._reconciled and (found := self._store.find(query)):
            self._concluded({one.body["path"] for one in found})
            query = replace(query, after=found[-1].number)
        self._reconciled = True
        behind, now = dict(self._behind), time.monotonic()
        for path, until in behind.items():
            self._concluded([path])
            if until <= now:
                self._behind.pop(path, None)

    def _concluded(self, paths: Iterable[str]) -> dict[str, list[Delivery]]:
        """The rows of those of the messages of which all are settled; their states are brought up to date, with one commit."""
        settled = {path for path in paths if not self.unsettled(path)}
        messages = self._entities.stored_many(settled) if settled else {}
        rows: dict[str, list[Delivery]] = {path: [] for path in settled}
        rows |= {path: deliveries.of_sent(self._store, message) for path, message in messages.items()}
        changed = [message for path, message in messages.items() if _conclude(message, rows[path])]
        batches = [[entity_write(message, revision=message.revision)] for message in changed]
        results = self._store.write_batches(batches) if batches else []
        for message, result in zip(changed, results, strict=True):
            if isinstance(result, RevisionConflict):  # another process was faster
                self._conclude_again(message.path, rows[message.path])
        return rows

    def _conclude_again(self, path: str, rows: Sequence[Delivery]) -> None:
        with contextlib.suppress(UnknownEntity):
            self._entities.modify(path, lambda message: _conclude(message, rows))

    def pending(self, *, after: int, limit: int, route: str = "") -> list[Delivery]:
        """Unsettled rows in the order of acceptance, of all routes or of one; ``after``: the last ``number`` seen."""
        equals = {"route": route} if route else {"unsettled": "1"}
        found = self._store.find(Query(deliveries.DELIVERY, equals, after=after, limit=limit))
        return [deliveries.delivery_from(one) for one in found]

    def latest(self) -> str:
        """Where in the change feed all is that :meth:`pending` finds; empty in a store that numbers documents as it writes
        them: what is new has the highest number there."""
        return "" if self._store.ordered else self._store.latest()

    def changed(self, since: str, limit: int) -> tuple[list[Delivery], str, bool]:
        """Of at most so many rows that were written or changed, in the order of that, the unsettled ones; where to go on; and
        whether more may have changed."""
        changes, cursor = self._store.changes(since, types=[deliveries.DELIVERY], limit=limit)
        rows = [deliveries.delivery_from(one.document) for one in changes if one.document is not None]
        return [row for row in rows if row.unsettled], cursor, len(changes) == limit

    def overdue(self, now: float, limit: int) -> list[Delivery]:
        """Unsettled rows whose deadline has passed."""
        found = self._store.lowest_by_key(deliveries.DELIVERY, "deadline", sort_key_of_time(now), limit)
        return [deliveries.delivery_from(one) for one in found]

    def address(self, row: Delivery) -> str:
        """Where the recipient listens now: it may have moved since the message was accepted. Raises Departed when it left
        the federation, Revoked when it is no longer trusted, ClaimedId when it is there twice."""
        self._federation.proofs.check_standing(row.member)
        self._federation.lives.check(row.member)
        member = self._members.by_id(row.member) if row.member else None
        if member is None and row.member and self._federation.departures.has_left(row.member):
            raise Departed(f"the member {row.member} has left the federation", id=row.member)
        return (socket_of(member, row.layer) if member is not None else "") or row.socket

    def contested(self, row: Delivery) -> bool:
        """Whether the recipient is there twice, now."""
        return self._federation.lives.contested(row.member)

    def refused(self, error: CmbsError) -> None:
        """A recipient refuses what is sent, for now: if it remembers a later life of the own member, the one of now becomes
        newer than that."""
        if isinstance(error, Departed):
            self._federation.outlive(error)

    def sender(self) -> str:
        """The id of the own member, empty while there is none."""
        return self._members.local_id()

    def unsettled(self, path: str) -> bool:
        """Whether a recipient of the message is not settled yet."""
        if self._store.atomic:
            return self._store.count(Query(deliveries.DELIVERY, {"message": path, "unsettled": "1"})) > 0
        message = self._entities.stored_many([path]).get(path)
        return message is not None and any(row.unsettled for row in deliveries.of_sent(self._store, message))


def _conclude(message: Entity, rows: Sequence[Delivery]) -> bool:
    """Give the message the summary of its rows, and its ``result``; tells whether that changed it."""
    if not rows:
        return _unsent(message)
    if not deliveries.belongs(rows[0], message):
        return False
    before = (message.attributes.get(cmbs.STATE), message.attributes.get(cmbs.RESULT), message.private.get("settled"))
    message.attributes[cmbs.STATE] = deliveries.summary(rows)
    note_settled(message, deliveries.settled_at(rows))
    result = _result(rows)
    if result is not None:
        message.attributes[cmbs.RESULT] = result
    after = (message.attributes[cmbs.STATE], message.attributes.get(cmbs.RESULT), message.private.get("settled"))
    return before != after


def _unsent(message: Entity) -> bool:
    """A message that says it is sent, and has no rows, was written by a call that was not answered in time, after its rows were
    removed: its client was told that it failed."""
    if message.attributes.get(cmbs.STATE) != SENDING:
        return False
    del message.attributes[cmbs.STATE]
    return True


def _result(rows: Sequence[Delivery]) -> Any:
    """For L1 the handshake, with the ``outcome`` if the message was executed; for a single recipient what came of that; for
    several, by member. None when there is nothing."""
    row = rows[0]
    if row.layer == INTRODUCTORY:
        outcome = {"outcome": row.outcome} if row.outcome else {}
        return {**row.answer, **outcome} if row.answer is not None else outcome or None
    outcomes = {one.member: one.outcome for one in rows if one.outcome}
    if row.recipient_count == 1 and row.outcome:
        return row.outcome.get("result", row.outcome)
    return outcomes or None
