"""The store seam: documents with revisions, index keys and a change feed with cursors.

What a store keeps is a :class:`Document`: a JSON object with an id, a type, a revision and *keys*. Keys are what a
:class:`Query` can ask for; the writer of a document names its keys, so that a store needs to know nothing of OCCI and
answers every query from an index (SQLite: a key table; CouchDB: a view).

What goes through the seam are Structs: as immutable as frozen dataclasses, and made in a quarter of the time.

The contract below is checked for every implementation by ``tests/store/contract.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from msgspec import Struct, field
from msgspec.structs import replace

from pycmbs.errors import CmbsError, RevisionConflict, StoreUnavailable

Keys = Mapping[str, tuple[str, ...]]
"""Index entries: name to values. A name with no values is the same as no name."""


class StoreDamaged(StoreUnavailable):
    """The store answers, and not with what was put there: a broker does not start on it."""


def cursor_number(cursor: str) -> int:
    """The number that a cursor is, in a store that counts its changes. Raises ValueError."""
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise ValueError(f"{cursor[:40]!r} is not a cursor")
    return int(cursor)


Advance = Callable[[int, int], Any]
"""Is told how much of how much is done."""

OF_A_PROCESS = frozenset({"node"})
"""Types of documents, without keys, that say who uses a store just now: no part of what is copied."""


class Document(Struct, frozen=True):
    """One stored JSON object.

    An ``id`` that has a colon begins with the type and a colon. ``revision`` is opaque and changes at every write;
    ``number`` orders documents of one type by creation, is unique among them and survives updates (a store without integers of
    its own may map it). Documents are values: ``body`` must not be changed after handing it to a store or getting it from one.
    """

    id: str
    type: str
    body: dict[str, Any]
    keys: Keys = field(default_factory=dict)
    revision: str = ""
    number: int = 0


class Write(Struct, frozen=True):
    """One change to one document.

    ``revision`` is the condition: ``None`` creates (the id must not exist, or be deleted), a revision replaces or
    deletes exactly that one, if it is of this ``type``. ``delete`` removes the document and its keys, and leaves a mark in the
    change feed, with the ``keys`` that are named here. ``drawn``: the id of a new document was drawn for this write, so it is
    new, and a store need not look.
    """

    id: str
    type: str
    body: dict[str, Any] = field(default_factory=dict)
    keys: Keys = field(default_factory=dict)
    revision: str | None = None
    delete: bool = False
    drawn: bool = False


Batch = Sequence[Write]
"""Writes that stand or fall together. Each id may occur once."""


class Query(Struct, frozen=True):
    """Documents of one type whose keys match, in order of creation.

    ``equals``: for each name, the document has this value among its values. ``after``: only documents whose ``number`` is
    greater (the cursor of the previous page). ``limit``: at most so many; ``None`` is all. ``bare``: only ids and numbers are
    wanted, and the rest of the documents may be left out.
    """

    type: str
    equals: Mapping[str, str] = field(default_factory=dict)
    after: int = 0
    limit: int | None = None
    bare: bool = False

    def matches(self, document: Document) -> bool:
        """Whether the document is one of those asked for."""
        if document.type != self.type or document.number <= self.after:
            return False
        return all(value in document.keys.get(name, ()) for name, value in self.equals.items())


class Change(Struct, frozen=True):
    """One document's latest state in the change feed. ``document`` is None when it was deleted; ``keys`` are those that its
    mark has then, if they were asked for. ``cursor``: where the feed goes on behind this change. ``new``: it was made after
    the cursor that was asked from; a store that cannot know that says so of what was never changed since it was made."""

    id: str
    type: str
    document: Document | None
    cursor: str = ""
    new: bool = False
    keys: Keys = field(default_factory=dict)


class SomeUnwritten(StoreUnavailable):
    """A store that works failed at some of several batches. ``outcomes`` has for each what
    :meth:`Store.write_batches` returns, or the error."""

    def __init__(self, message: str, outcomes: Sequence[list[Document] | RevisionConflict | CmbsError] = ()) -> None:
        super().__init__(message, hint="The others are written.")
        self.outcomes = outcomes


def decided(
    outcomes: Sequence[list[Document] | RevisionConflict | CmbsError],
) -> list[list[Document] | RevisionConflict]:
    """The outcomes, if the store failed at none of the batches. Raises the error of one that was alone, SomeUnwritten for one
    among others."""
    found: list[list[Document] | RevisionConflict] = []
    for one in outcomes:
        if isinstance(one, CmbsError) and not isinstance(one, RevisionConflict):
            raise one if len(outcomes) == 1 else SomeUnwritten(f"one of {len(outcomes)}: {one.message}", outcomes)
        found.append(one)
    return found


class Store(ABC):
    """Where documents live. All methods may be called from several threads of a process.

    Every method raises :class:`~pycmbs.errors.StoreUnavailable` when the store cannot answer (gone, full, locked for
    longer than a second), within about a second; the same call works again when the store is back.
    """

    durable: ClassVar[bool]
    """Whether a write that returned survives the loss of the process and of the machine's power."""

    shared: ClassVar[bool]
    """Whether several processes may open the same store. ``serve`` needs one that is."""

    atomic: ClassVar[bool]
    """Whether a batch is written whole or not at all, even through a kill. A store that cannot promise it (CouchDB)
    writes the batch in the given order, so that the *last* write is the point of acceptance: callers put the document
    that makes the others valid last, and ignore others without it."""

    ordered: ClassVar[bool] = True
    """Whether documents appear in the order of their numbers. Where they do not, a number is its writer's clock: who reads on
    from the last number seen misses documents, and must follow the feed."""

    parallel_commits: ClassVar[int] = 1
    """How many calls of :meth:`write_batches` at a time are worthwhile: one where commits take turns, more where each waits
    for a server."""

    def ready(self) -> None:
        """Raises StoreUnavailable while the store cannot answer every kind of question within its time: one on a server may
        have to build an index first, and works on that meanwhile."""
        self.change_token("")

    def take_time(self) -> None:
        """From now on a call may take longer than a second rather than fail: for a command that people run."""
        return

    @property
    @abstractmethod
    def url(self) -> str:
        """The store's URL in full, for people: where the data is, without secrets."""

    @abstractmethod
    def write_batches(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        """Write many independent batches with one commit (group commit; ``_bulk_docs``).

        Returns, per batch and in order, the documents as written (with revision and number; a deleted one has an empty
        body), or the :class:`~pycmbs.errors.RevisionConflict` that refused it; ``data['id']`` names the document. A refused
        batch leaves no trace and does not hold up the others. Later batches see what earlier ones of the same call wrote.
        When it returns, all that it reports as written is as durable as ``durable`` says. Raises SomeUnwritten when it works,
        and fails at some of them: the others are written then.
        """

    @abstractmethod
    def get(self, id: str) -> Document | None:
        """The document, or None if there is none (or it was deleted)."""

    @abstractmethod
    def get_many(self, ids: Sequence[str]) -> dict[str, Document]:
        """Those of ``ids`` that exist, by id."""

    @abstractmethod
    def find(self, query: Query) -> list[Document]:
        """The documents that match, through an index: the cost grows with the matches, not with the store."""

    @abstractmethod
    def lowest_by_key(self, type: str, name: str, below: str, limit: int) -> list[Document]:
        """Documents of a type with a value of this name that sorts (as text, by code point) strictly before ``below``: those
        with the lowest values first, of equal ones the older first, at most ``limit``. One with several such values comes
        once for each. Costs as much as it returns, whatever else is below."""

    @abstractmethod
    def count(self, query: Query) -> int:
        """How many :meth:`find` would return without ``limit``."""

    def counts_by_index(self, query: Query) -> bool:
        """Whether :meth:`count` and :meth:`nth` read no documents for it."""
        del query
        return True

    def total(self, query: Query) -> int:
        """The same as :meth:`count`, for a list that is looked at again and again: a store may keep it up to date."""
        return self.count(query)

    def nth(self, query: Query, past: int) -> int | None:
        """The number of the document that is the ``past``-th (from 1) to match, whatever ``limit`` says; None when fewer do.
        With it as ``after`` a query goes on behind so many. A store that can tell from its index reads no documents."""
        found = self.find(replace(query, limit=past))
        return found[-1].number if len(found) == past else None

    @abstractmethod
    def changes(
        self, since: str, *, types: Sequence[str] = (), limit: int = 500, marks: bool = False
    ) -> tuple[list[Change], str]:
        """What changed after the cursor ``since`` (``""``: from the beginning), oldest first, each document once with its
        latest state, and the cursor to go on from. ``types`` narrows it; ``limit`` bounds how many are returned; ``marks``: the
        keys of deleted documents are wanted. An empty list means that nothing is left. Cursors are opaque and stay valid
        through a restart."""

    @abstractmethod
    def reaches(self, cursor: str) -> bool:
        """Whether the feed has come as far as this cursor: to one that it gave before the store was put back to an older state,
        it has not, as far as a store can tell. Raises ValueError for an invalid cursor."""

    @abstractmethod
    def latest(self) -> str:
        """The cursor from which on :meth:`changes` tells what is written after this call."""

    @abstractmethod
    def change_token(self, type: str) -> str:
        """A token that changes whenever a document of this type is written or deleted. Cheap enough for every request."""

    def version(self, query: Query) -> str:
        """A token that differs whenever :meth:`find` would find other documents, or the same ones changed: callers that
        cache results ask whether they are still valid. A store that can tell without reading the documents does."""
        return " ".join(f"{one.number} {one.revision}" for one in self.find(query))

    @abstractmethod
    def compact(self, keep: int = 10_000) -> int:
        """Forget the marks of deleted documents but the newest ``keep``; returns how many went. A follower of the feed that
        is further behind than that misses deletions. Also gives space of what is gone back to the file system, as far as
        that can be done in small steps, which hold up no other call."""

    def shrink(self) -> None:
        """Give all space of what is gone back to the file system. May take long, and hold up writers meanwhile; it is done when
        this returns."""

    def snapshot(self, path: Path, advance: Advance) -> int | None:
        """Copy everything, as it is at one moment and whoever writes meanwhile, to a new SQLite file; returns how many
        documents that holds, or None where it cannot be done. Raises ConfigurationError for a file that cannot be made."""
        del path, advance
        return None

    @classmethod
    def replace(cls, rest: str, *, home: Path, source: Path) -> tuple[str, int, Path | None] | None:
        """Have the store that :meth:`open` would open, and which no process may have open, hold what the SQLite file ``source``
        does. Returns its URL, how many documents that is, and where what was there is kept; None where it cannot be done.
        Raises ConfigurationError for what is not a whole store, and changes nothing then."""
        del rest, home, source
        return None

    def size(self) -> int | None:
        """Bytes on the disk; None if the store cannot tell."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Give everything back. Idempotent."""

    def write(self, batch: Batch) -> list[Document]:
        """Write one batch. Returns the documents as written; raises :class:`~pycmbs.errors.RevisionConflict`."""
        (result,) = self.write_batches([batch])
        if isinstance(result, RevisionConflict):
            raise result
        return result


class Wrapper(Store):
    """A store in front of another one: every call goes through, unless a subclass does it otherwise."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.durable, self.shared, self.atomic = store.durable, store.shared, store.atomic  # type: ignore[misc]
        self.ordered = store.ordered  # type: ignore[misc]
        self.parallel_commits = store.parallel_commits  # type: ignore[misc]

    @property
    def url(self) -> str:
        """See :class:`Store`."""
        return self._store.url

    def ready(self) -> None:
        """See :class:`Store`."""
        self._store.ready()

    def take_time(self) -> None:
        """See :class:`Store`."""
        self._store.take_time()

    def write_batches(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        """See :class:`Store`."""
        return self._store.write_batches(batches)

    def get(self, id: str) -> Document | None:
        """See :class:`Store`."""
        return self._store.get(id)

    def get_many(self, ids: Sequence[str]) -> dict[str, Document]:
        """See :class:`Store`."""
        return self._store.get_many(ids)

    def find(self, query: Query) -> list[Document]:
        """See :class:`Store`."""
        return self._store.find(query)

    def lowest_by_key(self, type: str, name: str, below: str, limit: int) -> list[Document]:
        """See :class:`Store`."""
        return self._store.lowest_by_key(type, name, below, limit)

    def count(self, query: Query) -> int:
        """See :class:`Store`."""
        return self._store.count(query)

    def counts_by_index(self, query: Query) -> bool:
        """See :class:`Store`."""
        return self._store.counts_by_index(query)

    def total(self, query: Query) -> int:
        """See :class:`Store`."""
        return self._store.total(query)

    def nth(self, query: Query, past: int) -> int | None:
        """See :class:`Store`."""
        return self._store.nth(query, past)

    def changes(
        self, since: str, *, types: Sequence[str] = (), limit: int = 500, marks: bool = False
    ) -> tuple[list[Change], str]:
        """See :class:`Store`."""
        return self._store.changes(since, types=types, limit=limit, marks=marks)

    def reaches(self, cursor: str) -> bool:
        """See :class:`Store`."""
        return self._store.reaches(cursor)

    def change_token(self, type: str) -> str:
        """See :class:`Store`."""
        return self._store.change_token(type)

    def version(self, query: Query) -> str:
        """See :class:`Store`."""
        return self._store.version(query)

    def latest(self) -> str:
        """See :class:`Store`."""
        return self._store.latest()

    def compact(self, keep: int = 10_000) -> int:
        """See :class:`Store`."""
        return self._store.compact(keep)

    def shrink(self) -> None:
        """See :class:`Store`."""
        self._store.shrink()

    def snapshot(self, path: Path, advance: Advance) -> int | None:
        """See :class:`Store`."""
        return self._store.snapshot(path, advance)

    def size(self) -> int | None:
        """See :class:`Store`."""
        return self._store.size()

    def close(self) -> None:
        """See :class:`Store`."""
        self._store.close()
