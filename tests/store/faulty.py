"""A store that fails on demand, in each way in which a store can fail: for the tests of those who use one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from pycmbs.errors import RevisionConflict, StoreUnavailable
from pycmbs.store.base import Batch, Change, Document, Query, Store, Wrapper
from pycmbs.store.memory import MemoryStore

T = TypeVar("T")
Outcome = list[list[Document] | RevisionConflict]

WRITE = "write"
READS = frozenset(
    {"get", "get_many", "find", "lowest_by_key", "count", "nth", "changes", "latest", "change_token", "version"}
)
WRITES = frozenset({WRITE, "compact"})


class Fault(StrEnum):
    """What can be wrong."""

    UNAVAILABLE = "unavailable"
    """The call does not reach the store."""
    SLOW = "slow"
    """It takes longer, and works."""
    CONFLICT = "conflict"
    """Someone else is always faster: every batch is refused."""
    FULL = "full"
    """Nothing can be written, and all can be read."""
    CORRUPT = "corrupt"
    """What is stored cannot be read."""
    NOT_DURABLE = "not durable"
    """It is written, and the store is not sure of it: a cluster's 202, or an answer that was lost."""
    PARTIAL = "partial"
    """Of each batch all but the last document are written. Only a store that is not atomic does so."""


_CONCERNS = {
    Fault.UNAVAILABLE: READS | WRITES,
    Fault.SLOW: READS | WRITES,
    Fault.CONFLICT: frozenset({WRITE}),
    Fault.FULL: WRITES,
    Fault.CORRUPT: READS,
    Fault.NOT_DURABLE: frozenset({WRITE}),
    Fault.PARTIAL: frozenset({WRITE}),
}
_SENTENCES = {
    Fault.UNAVAILABLE: "the store does not answer",
    Fault.FULL: "the disk is full",
    Fault.CORRUPT: "the database image is malformed",
    Fault.NOT_DURABLE: "too few nodes have written it (202)",
    Fault.PARTIAL: "the connection broke between two requests",
}


class FaultyStore(Wrapper):
    """Another store, with at most one fault armed at a time. Notes what is written, and how often a fault struck."""

    def __init__(self, store: Store | None = None, *, atomic: bool | None = None) -> None:
        """``store``: a new memory store by default. ``atomic``: what it says of itself, if not what that one does."""
        super().__init__(store or MemoryStore())
        if atomic is not None:
            self.atomic = atomic  # type: ignore[misc]
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._operations: frozenset[str] = frozenset()
        self._left = 0
        self._spared = 0
        self._seconds = 0.0
        self._repaired = threading.Event()
        self.failures = 0
        self.commits = 0
        self.batches: list[Batch] = []
        self.asked: Counter[str] = Counter()
        """How often operations were called, but for those that write."""
        self.before_write: Callable[[], Any] | None = None
        """Done once, before the next write: someone who is faster."""

    def arm(self, fault: Fault, *operations: str, times: int = -1, after: int = 0, seconds: float = 0.1) -> None:
        """Have calls fail: those of these operations, or all that the fault concerns; as many as ``times`` (-1: until
        :meth:`disarm`), once ``after`` of them have passed. ``seconds``: how slow is slow."""
        assert fault is not Fault.PARTIAL or not self.atomic, "an atomic store writes no part of a batch"
        with self._lock:
            self._fault, self._operations = fault, frozenset(operations) or _CONCERNS[fault]
            self._left, self._spared, self._seconds = times, after, seconds
            self._repaired = threading.Event()

    def disarm(self) -> None:
        """Repair it."""
        with self._lock:
            self._fault = None
            self._repaired.set()

    def _strikes(self, operation: str) -> Fault | None:
        with self._lock:
            if self._fault is None or operation not in self._operations or self._left == 0:
                return None
            if self._spared > 0:
                self._spared -= 1
                return None
            self._left -= self._left > 0
            self.failures += 1
            return self._fault

    def _through(self, operation: str, call: Callable[[], T]) -> T:
        self.asked[operation] += 1
        fault = self._strikes(operation)
        if fault is Fault.SLOW:
            self._repaired.wait(self._seconds)
        elif fault is not None:
            raise StoreUnavailable(_SENTENCES[fault], hint="The test says so.")
        return call()

    def write_batches(self, batches: Sequence[Batch]) -> Outcome:
        other, self.before_write = self.before_write, None
        if other is not None:
            other()
        fault = self._strikes(WRITE)
        if fault is Fault.SLOW:
            self._repaired.wait(self._seconds)
        elif fault is Fault.CONFLICT:
            return [RevisionConflict(f"{one[-1].id} was changed meanwhile", id=one[-1].id) for one in batches]
        elif fault is Fault.PARTIAL:
            self._store.write_batches([batch[:-1] for batch in batches if len(batch) > 1])
        elif fault is Fault.NOT_DURABLE:
            self._store.write_batches(batches)
        if fault in _SENTENCES:
            raise StoreUnavailable(_SENTENCES[fault], hint="The test says so.")
        self.commits += 1
        self.batches += batches
        return self._store.write_batches(batches)

    def get(self, id: str) -> Document | None:
        return self._through("get", lambda: self._store.get(id))

    def get_many(self, ids: Sequence[str]) -> dict[str, Document]:
        return self._through("get_many", lambda: self._store.get_many(ids))

    def find(self, query: Query) -> list[Document]:
        return self._through("find", lambda: self._store.find(query))

    def lowest_by_key(self, type: str, name: str, below: str, limit: int) -> list[Document]:
        return self._through("lowest_by_key", lambda: self._store.lowest_by_key(type, name, below, limit))

    def count(self, query: Query) -> int:
        return self._through("count", lambda: self._store.count(query))

    def total(self, query: Query) -> int:
        return self._through("count", lambda: self._store.total(query))

    def nth(self, query: Query, past: int) -> int | None:
        return self._through("nth", lambda: self._store.nth(query, past))

    def changes(
        self, since: str, *, types: Sequence[str] = (), limit: int = 500, marks: bool = False
    ) -> tuple[list[Change], str]:
        return self._through("changes", lambda: self._store.changes(since, types=types, limit=limit, marks=marks))

    def latest(self) -> str:
        return self._through("latest", self._store.latest)

    def change_token(self, type: str) -> str:
        return self._through("change_token", lambda: self._store.change_token(type))

    def version(self, query: Query) -> str:
        return self._through("version", lambda: self._store.version(query))

    def compact(self, keep: int = 10_000) -> int:
        return self._through("compact", lambda: self._store.compact(keep))
