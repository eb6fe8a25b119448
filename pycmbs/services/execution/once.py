"""OnceStore: writes a mark together with an effect, so that the effect is applied once, even through a kill (ADR 37).

A store that is atomic writes both or neither. In one that is not, an *intent* is written before the effect, and the effect is
known by what it leaves: entities that it makes or changes name the mark's document in their private record, and what it deletes
is gone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from pycmbs.errors import RevisionConflict, StoreUnavailable
from pycmbs.services.records.entities import ENTITY
from pycmbs.store.base import Batch, Document, Store, Wrapper, Write

Outcome = list[list[Document] | RevisionConflict]

EFFECTS = "effects"
"""The private record of the marks whose effects an entity has had, the newest last."""
_MOST_EFFECTS = 8
"""Marks that an entity remembers: as many as may be under way at a time."""


class AlreadyApplied(Exception):
    """The effect that was to be written with a mark is there already."""


class Intent(Struct, frozen=True):
    """What is about to be written, as its mark's document keeps it. The effect counts when ``last`` is written, the id of its
    last document: ``gone`` is the number of that one if it is to be deleted, else 0. ``made``: the entities that are new."""

    last: str
    gone: int
    made: list[str]

    def body(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)


Mark = Callable[[Document, list[str], Intent | None], Write]
"""Makes the write of a mark over its document as it is now, for an effect on the documents with these ids: done with an atomic
store, intended with any other."""


class _Marking:
    """A mark that is to be written. ``document``: where, as it is now."""

    def __init__(self, document: Document, mark: Mark) -> None:
        self.document = document
        self.mark = mark

    def write(self, batch: Batch, intent: Intent | None = None) -> Write:
        """The write of the mark."""
        return self.mark(self.document, [one.id for one in batch], intent)


class _Local(threading.local):
    """Of a thread."""

    marking: _Marking | None = None


class OnceStore(Wrapper):
    """Another store, whose writes go straight through; those made within :meth:`marking` carry a mark."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._local = _Local()

    @contextlib.contextmanager
    def marking(self, document: Document, mark: Mark) -> Iterator[None]:
        """Within this, and on this thread, the first batch that is written carries what ``mark`` makes: both are written, or
        neither is; or, in a store that is not atomic, the mark is written first, as an intent.

        Raises AlreadyApplied when the mark is there already; StoreUnavailable when the document is not as it was
        where an intent is to be written."""
        self._local.marking = _Marking(document, mark)
        try:
            yield
        finally:
            self._local.marking = None

    def write_batches(self, batches: Sequence[Batch]) -> Outcome:
        """See :class:`~pycmbs.store.base.Store`."""
        marking = self._local.marking
        if marking is None or not batches or not batches[-1]:
            return self._store.write_batches(batches)
        outcome = (self._together if self._store.atomic else self._announced)(batches, marking)
        if not isinstance(outcome[-1], RevisionConflict):
            self._local.marking = None
        return outcome

    def _together(self, batches: Sequence[Batch], marking: _Marking) -> Outcome:
        write = marking.write(batches[-1])
        outcome = self._store.write_batches([*batches[:-1], [*batches[-1], write]])
        last = outcome[-1]
        if not isinstance(last, RevisionConflict):
            return [*outcome[:-1], last[:-1]]
        if last.data.get("id") == write.id:
            raise AlreadyApplied(write.id)
        return outcome

    def _announced(self, batches: Sequence[Batch], marking: _Marking) -> Outcome:
        batch = batches[-1]
        (written,) = self._store.write_batches([[marking.write(batch, self._intent(batch))]])
        if isinstance(written, RevisionConflict):
            raise StoreUnavailable(f"{marking.document.id} was changed meanwhile", hint="It is tried again.")
        (marking.document,) = written
        return self._store.write_batches([*batches[:-1], [_naming(marking.document.id, one) for one in batch]])

    def _intent(self, batch: Batch) -> Intent:
        last = batch[-1]
        going = self._store.get(last.id) if last.delete else None
        made = [one.id for one in batch if one.revision is None and one.type == ENTITY]
        return Intent(last.id, going.number if going is not None else 0, made)

    def has_effect(self, mark: str, intent: Intent) -> bool:
        """Whether what was intended, with a mark in the document of this id, has been written. What a write that broke off has
        made of it is taken back if not."""
        there = self._store.get_many([intent.last, *intent.made])
        last = there.get(intent.last)
        if intent.gone:
            return last is None or last.number != intent.gone
        if last is not None and _names(last, mark):
            return True
        left = [there[id] for id in intent.made if id in there and _names(there[id], mark)]
        if left:  # a conflict: it was changed since
            self._store.write_batches([[Write(one.id, one.type, revision=one.revision, delete=True)] for one in left])
        return False


def _naming(mark: str, write: Write) -> Write:
    """The write of an entity that names the mark."""
    if write.delete or write.type != ENTITY:
        return write
    private = write.body["private"]
    others = [one for one in private.get(EFFECTS, ()) if one != mark]
    # Not drawn: of what is written in no order, the last document does not tell that the others are there.
    return replace(
        write, drawn=False, body={**write.body, "private": {**private, EFFECTS: [*others, mark][-_MOST_EFFECTS:]}}
    )


def _names(document: Document, mark: str) -> bool:
    return mark in document.body.get("private", {}).get(EFFECTS, ())
