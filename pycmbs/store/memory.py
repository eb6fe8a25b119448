"""A store in a dictionary: the shortest correct implementation. For tests within one process; it forgets everything."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from pathlib import Path

from pycmbs.errors import RevisionConflict
from pycmbs.runtime import Runtime
from pycmbs.store.base import Batch, Change, Document, Keys, Query, Store, Write, cursor_number


class MemoryStore(Store):
    """See :class:`~pycmbs.store.base.Store`."""

    durable = False
    shared = False
    atomic = True

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._documents: dict[str, Document] = {}
        self._log: dict[str, tuple[int, str]] = {}
        """Per id, in the order of their latest change: when it was, and the document's type."""
        self._made: dict[str, int] = {}
        """Per id, when it was made."""
        self._marks: dict[str, Keys] = {}
        """Of deleted documents, what the deletion named."""
        self._heads: dict[str, int] = {}
        self._watched: dict[tuple[object, ...], tuple[Query, int]] = {}
        """The questions whose versions were asked for, and when what they find last changed since; 0 for not yet."""
        self._clock = itertools.count(1)
        self._numbers = itertools.count(1)

    @classmethod
    def open(cls, rest: str, *, home: Path, runtime: Runtime, create: bool = True, least_free: int = 0) -> MemoryStore:
        """A new, empty store."""
        del rest, home, runtime, create, least_free
        return cls()

    @property
    def url(self) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        return "memory:"

    def write_batches(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        """See :class:`~pycmbs.store.base.Store`."""
        with self._lock:
            return [self._write_one(batch) for batch in batches]

    def _write_one(self, batch: Batch) -> list[Document] | RevisionConflict:
        for write in batch:
            current = self._documents.get(write.id)
            if (current.revision if current else None) != write.revision or (current and current.type != write.type):
                return RevisionConflict(f"{write.id} was changed meanwhile", id=write.id)
        return [self._apply(write) for write in batch]

    def _apply(self, write: Write) -> Document:
        sequence = next(self._clock)
        current = self._documents.pop(write.id, None)
        number = current.number if current else next(self._numbers)
        body = {} if write.delete else write.body
        keys = {} if write.delete else {name: tuple(values) for name, values in write.keys.items() if values}
        document = Document(write.id, write.type, body, keys, str(sequence), number)
        self._marks.pop(write.id, None)
        if write.delete:
            self._marks[write.id] = write.keys
        else:
            self._documents[write.id] = document
            if current is None:
                self._made[write.id] = sequence
        self._log.pop(write.id, None)
        self._log[write.id] = (sequence, write.type)
        self._heads[write.type] = sequence
        for key, (query, _) in self._watched.items():
            if query.matches(document) or (current is not None and query.matches(current)):
                self._watched[key] = query, sequence
        return document

    def get(self, id: str) -> Document | None:
        """See :class:`~pycmbs.store.base.Store`."""
        with self._lock:  # a document that is being replaced is out for a moment
            return self._documents.get(id)

    def get_many(self, ids: Sequence[str]) -> dict[str, Document]:
        """See :class:`~pycmbs.store.base.Store`."""
        with self._lock:
            return {id: self._documents[id] for id in ids if id in self._documents}

    def find(self, query: Query) -> list[Document]:
        """See :class:`~pycmbs.store.base.Store`. Scans: this store is for small things."""
        with self._lock:
            found = sorted((one for one in self._documents.values() if query.matches(one)), key=lambda one: one.number)
        return found[: query.limit]

    def lowest_by_key(self, type: str, name: str, below: str, limit: int) -> list[Document]:
        """See :class:`~pycmbs.store.base.Store`."""
        with self._lock:
            there = [one for one in self._documents.values() if one.type == type]
        pairs = [(value, one.number, one) for one in there for value in one.keys.get(name, ()) if value < below]
        return [one for _, _, one in sorted(pairs, key=lambda pair: pair[:2])[:limit]]

    def count(self, query: Query) -> int:
        """See :class:`~pycmbs.store.base.Store`."""
        with self._lock:
            return sum(query.matches(one) for one in self._documents.values())

    def changes(
        self, since: str, *, types: Sequence[str] = (), limit: int = 500, marks: bool = False
    ) -> tuple[list[Change], str]:
        """See :class:`~pycmbs.store.base.Store`."""
        del marks  # they are at hand
        found, cursor = [], int(since or 0)
        with self._lock:
            for id, (sequence, type) in self._log.items():
                if sequence > int(since or 0) and (not types or type in types):
                    document, keys = self._documents.get(id), self._marks.get(id, {})
                    new = document is not None and self._made[id] > int(since or 0)
                    found.append(Change(id, type, document, str(sequence), new, keys))
                    cursor = sequence
                    if len(found) == limit:
                        break
        return found, str(cursor)

    def latest(self) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        with self._lock:
            return str(max((sequence for sequence, _ in self._log.values()), default=0))

    def reaches(self, cursor: str) -> bool:
        """See :class:`~pycmbs.store.base.Store`."""
        return cursor_number(cursor) <= int(self.latest())

    def change_token(self, type: str) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        return str(self._heads.get(type, 0))

    def version(self, query: Query) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        if query.limit is not None:
            return super().version(query)
        with self._lock:
            key = (query.type, query.after, *query.equals.items())
            return str(self._watched.setdefault(key, (query, 0))[1])

    def compact(self, keep: int = 10_000) -> int:
        """See :class:`~pycmbs.store.base.Store`."""
        with self._lock:
            deleted = [id for id in self._log if id not in self._documents]
            gone = deleted[: max(0, len(deleted) - keep)]
            for id in gone:
                del self._log[id], self._marks[id]
        return len(gone)

    def close(self) -> None:
        """See :class:`~pycmbs.store.base.Store`."""
