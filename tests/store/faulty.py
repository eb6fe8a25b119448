"""A store that fails on demand, for the tests of those who use one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from pycmbs.errors import RevisionConflict, StoreUnavailable
from pycmbs.store.base import Batch, Change, Document, Query, Store, Wrapper

T = TypeVar("T")


class FaultyStore(Wrapper):
    """``store``, but the next :meth:`fail` calls raise StoreUnavailable without reaching it. Counts its writes."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._lock = threading.Lock()
        self._failures = 0
        self._only_writes = False
        self.commits = 0

    def fail(self, times: int = 1, *, only_writes: bool = False) -> None:
        """Let the next ``times`` calls fail; 0 repairs it."""
        with self._lock:
            self._failures, self._only_writes = times, only_writes

    def _through(self, call: Callable[[], T], *, write: bool = False) -> T:
        with self._lock:
            if self._failures and (write or not self._only_writes):
                self._failures -= 1
                raise StoreUnavailable("the store does not work: the test says so")
            self.commits += write
        return call()

    def write_batches(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        return self._through(lambda: self._store.write_batches(batches), write=True)

    def get(self, id: str) -> Document | None:
        return self._through(lambda: self._store.get(id))

    def get_many(self, ids: Sequence[str]) -> dict[str, Document]:
        return self._through(lambda: self._store.get_many(ids))

    def find(self, query: Query) -> list[Document]:
        return self._through(lambda: self._store.find(query))

    def count(self, query: Query) -> int:
        return self._through(lambda: self._store.count(query))

    def changes(self, since: str, *, types: Sequence[str] = (), limit: int = 500) -> tuple[list[Change], str]:
        return self._through(lambda: self._store.changes(since, types=types, limit=limit))

    def head(self, type: str) -> str:
        return self._through(lambda: self._store.head(type))

    def compact(self, keep: int = 10_000) -> int:
        return self._through(lambda: self._store.compact(keep))
