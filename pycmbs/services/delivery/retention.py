"""Retention: settled messages are removed after a time, or when there are too many, with all that belongs to them.

*Settled* is a message that was sent and of which every delivery is settled, or that was received and is executed if it was to
be. One that was never sent stays. What goes with it are its ledger and the links at it; the receipt of a received message
stays until that cannot be sent again, so a late second arrival is still a duplicate.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec.structs import replace

from pycmbs import clock
from pycmbs.errors import CmbsError, RevisionConflict, Unavailable, UnknownEntity
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.services.entities.service import EntityService
from pycmbs.services.records import deliveries
from pycmbs.services.records.entities import (
    ENTITY,
    KEPT,
    SETTLED,
    entity_delete,
    entity_from,
    entity_write,
    note_settled,
)
from pycmbs.services.records.times import sort_key_of_time
from pycmbs.store.base import Document, Query, Store, Write

log = logging.getLogger(__name__)

REMOVAL = "removal"
ADOPTED = "retention:adopted"
_BATCH = 100
_MOST_WRITES = 1000
"""Messages, and documents that go with them, in one commit: a few hundredths of a second on SQLite, during which other
writers wait. A message with more recipients than that goes all the same, in one commit of its own."""
_FINAL = frozenset({cmbs.RECEIVED, "delivered", "executed", "partial", "failed", "expired", "unknown"})


class RetentionService:
    """Removes what is settled long enough. Meant for one process of a broker, and for one thread of it."""

    def __init__(self, store: Store, entities: EntityService, *, seconds: float, most: int) -> None:
        """``seconds``: how long a settled message stays; ``most``: how many stay, the newest. 0: no such bound."""
        self._store = store
        self._entities = entities
        self._seconds = seconds
        self._most = most
        self._adopted = False

    def expire(self, pause: Callable[[float], bool]) -> int:
        """Remove all that is due, in small commits; returns how many messages went. ``pause`` is called between the commits
        with the seconds that one took, in which others are to get their turn; true ends this early. Raises Unavailable."""
        if not (self._seconds or self._most):
            return 0
        if not self._adopted:
            self._adopt(pause)
        self._finish(pause)
        surplus = self._store.count(Query(ENTITY, {KEPT: "1"})) - self._most if self._most else 0
        total, gone = 0, _BATCH
        while gone:
            begin = time.monotonic()
            gone = self._remove(self._due(surplus - total))
            total += gone
            if gone and pause(time.monotonic() - begin):
                break
        return total

    def _due(self, surplus: int) -> list[Entity]:
        """The next messages that are due, those first that are settled longest."""
        bound = sort_key_of_time(clock.now() - self._seconds) if self._seconds else ""
        found = self._store.lowest_by_key(ENTITY, SETTLED, bound, _BATCH) if bound else []
        if surplus > len(found):
            # Settled before the end of time: all are.
            found = self._store.lowest_by_key(ENTITY, SETTLED, "~", min(surplus, _BATCH))
        return [entity_from(one) for one in found]

    def _remove(self, messages: Sequence[Entity]) -> int:
        planned: list[tuple[list[Entity], list[Write]]] = []
        for message in messages:
            plan = self._planned(message)
            planned += [plan] if plan is not None else []
            if sum(len(writes) for _, writes in planned) >= _MOST_WRITES:
                break
        if not self._store.atomic:
            return self._remove_in_steps([gone for gone, _ in planned])
        removed = 0
        results = self._store.write_batches([writes for _, writes in planned]) if planned else []
        for (gone, _), result in zip(planned, results, strict=True):
            if not isinstance(result, RevisionConflict):  # else it was changed meanwhile, and is looked at again
                self._entities.deleted(gone)
                removed += 1
        return removed

    def _planned(self, message: Entity) -> tuple[list[Entity], list[Write]] | None:
        """What goes with a message, and the writes of that; None when it has to stay."""
        unsettled = self._store.find(Query(deliveries.DELIVERY, {"message": message.path, "unsettled": "1"}))
        if any(deliveries.belongs(deliveries.delivery_from(one), message) for one in unsettled):
            self._rewrite(message, None)  # what is under way says by itself when it is settled
            return None
        try:
            return self._entities.deletion([message])
        except Unavailable:
            raise
        except CmbsError as exc:  # a backend of a link at it objects
            log.warning("%s cannot be removed yet: %s", message.path, exc)
            self._rewrite(message, clock.now())  # it must not stand in the way of the others
            return None

    def _rewrite(self, message: Entity, settled: float | None) -> None:
        note_settled(message, settled)
        self._store.write_batches([[entity_write(message, revision=message.revision)]])

    # A store that is not atomic

    def _remove_in_steps(self, plans: Sequence[list[Entity]]) -> int:
        """Where a batch may be written in part: the message goes first, together with a note of what is to go after it. So a
        kill leaves the whole message, or the note, by which the rest goes later; never a message without its ledger."""
        notes = []
        for gone in plans:
            message = gone[-1]
            body = {
                "path": message.path,
                "round": message.private.get("round"),
                "rows": deliveries.ids_of(message),
                "links": [link.path for link in gone[:-1]],
            }
            notes.append([Write(f"{REMOVAL}:{message.path}", REMOVAL, body), entity_delete(message)])
        results = self._store.write_batches(notes) if notes else []
        taken = [result[0] for result in results if not isinstance(result, RevisionConflict)]
        self._clear(taken)
        self._entities.deleted(
            gone[-1] for gone, result in zip(plans, results, strict=True) if not isinstance(result, RevisionConflict)
        )
        return len(taken)

    def _finish(self, pause: Callable[[float], bool]) -> None:
        """Do what a kill left of earlier removals."""
        while left := self._store.find(Query(REMOVAL, limit=_BATCH)):
            begin = time.monotonic()
            if not self._clear(left) or pause(time.monotonic() - begin):
                return

    def _clear(self, notes: Sequence[Document]) -> int:
        """Remove what was left of removed messages, each with its note; of how many that worked."""
        there = self._entities.stored_many([note.body["path"] for note in notes])
        gone = [one for one in notes if not _is_of(one, there.get(one.body["path"]))]
        rows = deliveries.leftovers(self._store, {one.body["path"]: one.body.get("rows") for one in gone})
        batches = []
        for note in notes:
            writes: list[Write] = []
            if note in gone:
                self._unlink(note.body["links"])
                writes = list(_removals(note, rows[note.body["path"]]))
            batches.append([*writes, Write(note.id, REMOVAL, revision=note.revision, delete=True)])
        results = self._store.write_batches(batches) if batches else []
        return sum(not isinstance(result, RevisionConflict) for result in results)

    def _unlink(self, paths: Iterable[str]) -> None:
        for path in paths:
            try:
                self._entities.delete(path)
            except UnknownEntity:
                continue
            except Unavailable:
                raise
            except CmbsError as exc:
                log.warning("the link %s stays, though its end is gone: %s", path, exc)

    # What was there before there was retention

    def _adopt(self, pause: Callable[[float], bool]) -> None:
        """Note of messages that an earlier version settled since when they are; once, and then never again."""
        query = Query(ENTITY, {"kind": cmbs.MESSAGE}, limit=_BATCH)
        if self._store.get(ADOPTED) is None:
            while found := self._store.find(query):
                begin = time.monotonic()
                batches = [[write] for one in found if (write := self._adopted_write(one)) is not None]
                if batches:
                    self._store.write_batches(batches)
                query = replace(query, after=found[-1].number)
                if pause(time.monotonic() - begin):
                    return
            self._store.write_batches([[Write(ADOPTED, "retention")]])
        self._adopted = True

    def _adopted_write(self, found: Document) -> Write | None:
        message = entity_from(found)
        if "settled" in message.private or message.attributes.get(cmbs.STATE) not in _FINAL:
            return None
        rows = deliveries.of_message(self._store, message.path)
        # What was received has no rows, and when is not known: its time begins now.
        note_settled(message, deliveries.settled_at(rows) if rows else clock.now())
        return entity_write(message, revision=message.revision)


def _is_of(note: Document, message: Entity | None) -> bool:
    """Whether a note is of a message that is there still."""
    return message is not None and message.private.get("round") == note.body["round"]


def _removals(note: Document, rows: Iterable[Document]) -> Iterator[Write]:
    """Of the rows under a path, those of the message that is gone, and not of one that was made there since."""
    for row in map(deliveries.delivery_from, rows):
        if row.round <= (note.body["round"] or 0):
            yield Write(row.id, deliveries.DELIVERY, revision=row.revision, delete=True)
