"""The feed of a front: what changes in the store, read once for all who watch, and kept until the slowest of them has it or
there is too much of it.

Who is behind reads the store itself (:meth:`Feed.page`), at its own pace, and so loses nothing and holds nothing up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from pycmbs.errors import InvalidRequest, Unavailable
from pycmbs.metrics.table import STREAMS_BEHIND
from pycmbs.runtime import Runtime
from pycmbs.services.records.entities import ENTITY, document_id, path_of
from pycmbs.store.base import Change, Document, Keys, Store

log = logging.getLogger(__name__)

CREATED, CHANGED, DELETED = "created", "changed", "deleted"
PAGE = 100
"""Changes that are read together: one may be megabytes."""
_LOOK_SECONDS = 0.05
"""Between looks whether something changed, while someone watches; or nine times what the last look, and showing it, took."""
_LONGEST_PAUSE = 1.0
_MOST = 1000
"""Changes that are kept for those who are a little behind."""
_MOST_BYTES = 4 * 1024 * 1024
"""The same, of what they were shown as."""

Part = Callable[[str], str]
"""The path of the entity that is shown otherwise when the document of this id changes."""


class Told(Struct):
    """One change of an entity: what there is to tell of it, whoever is told. ``document``: as it is stored, None of one that is
    gone; ``keys``: what it can, or could, be found by."""

    event: str
    path: str
    cursor: str
    document: Document | None
    keys: Keys
    shown: dict[object, Any] = field(default_factory=dict)
    """What it was made into, by for whom."""
    size: int = 0

    @property
    def state(self) -> tuple[str, str]:
        """Equal of two that tell the same. What is part of an entity changes without its revision: that never is."""
        return self.path, (self.document.revision if self.document is not None else DELETED)


class Batch(Struct, frozen=True):
    """Changes that were read together. ``cursor``: where the feed goes on; ``began``: when they were read, on the monotonic
    clock; ``last``: there were no more then."""

    told: Sequence[Told]
    cursor: str
    began: float
    last: bool


class Feed:
    """What changes, for those who watch."""

    def __init__(self, store: Store, runtime: Runtime, parts: Mapping[str, Part]) -> None:
        """``parts``: by type, documents that are shown as a part of an entity."""
        self._store = store
        self._runtime = runtime
        self._parts = parts
        self._types = (ENTITY, *parts)
        self._batches: deque[Batch] = deque()
        self._first = 0
        """The number of the first batch that is kept."""
        self._positions: dict[object, int] = {}
        """Who watches, and the next batch that he wants."""
        self._more = runtime.signal()
        self._lock = threading.Lock()  # held for a few instructions, never across a wait
        self._cursor: str | None = None
        self._following = False
        self.over = False
        """Whether the process is to end, and every stream with it."""
        self.spent = 0.0
        """Seconds that were spent since the last look on what is shown."""

    def now(self) -> str:
        """The cursor of what will change from now on."""
        return self._store.latest()

    def check(self, cursor: str) -> bool:
        """Whether one can go on from there; not from a cursor of before the store was put back. Raises InvalidRequest for what
        is no cursor."""
        try:
            return self._store.reaches(cursor)
        except ValueError as exc:
            raise InvalidRequest(
                f"{cursor[:40]!r} is not a cursor of this broker",
                hint="Give the id of the last event that you have, or 0 for everything.",
                parameter="since",
            ) from exc

    def page(self, since: str) -> Batch:
        """What changed after a cursor: see :meth:`~pycmbs.store.base.Store.changes`."""
        began = time.monotonic()
        changes, cursor = self._store.changes(since, types=self._types, limit=PAGE, marks=True)
        return Batch(self._told(changes), cursor, began, len(changes) < PAGE)

    def _told(self, changes: Sequence[Change]) -> list[Told]:
        own = {one.id for one in changes if one.type == ENTITY}
        owners = [document_id(self._parts[one.type](one.id)) for one in changes if one.type != ENTITY]
        there = self._store.get_many([id for id in dict.fromkeys(owners) if id not in own]) if owners else {}
        found: list[Told] = []
        for one in changes:
            if one.type == ENTITY:
                event = DELETED if one.document is None else CREATED if one.new else CHANGED
                keys = one.document.keys if one.document is not None else one.keys
                found.append(Told(event, path_of(one.id), one.cursor, one.document, keys))
            elif document := there.pop(
                document_id(self._parts[one.type](one.id)), None
            ):  # once, whatever parts changed
                found.append(Told(CHANGED, path_of(document.id), one.cursor, document, document.keys))
        return found

    # Those who are not behind

    def join(self, watcher: object) -> None:
        """From now on what changes is kept for it: what it reads itself after this and what it gets overlap, and leave no gap
        between them. Raises StoreUnavailable."""
        with self._lock:
            self._positions[watcher] = self._first + len(self._batches)
            begins, self._following = not self._following, True
        if begins:
            try:
                self._cursor = self.now()
            except Unavailable:
                self._following = False
                raise
            self._runtime.spawn("feed", self._follow)
        while self._cursor is None and self._following:
            self._runtime.sleep(_LOOK_SECONDS)

    def leave(self, watcher: object) -> None:
        """It watches no more, or is behind."""
        self._positions.pop(watcher, None)

    def next(self, watcher: object) -> Batch | None:
        """The next batch that it wants, None while there is none. Raises LookupError when it is too far behind: it has left."""
        with self._lock:
            at = self._positions[watcher] - self._first
            if at < 0:
                self.leave(watcher)
                STREAMS_BEHIND.count()
                raise LookupError("too far behind")
            if at >= len(self._batches):
                return None
            self._positions[watcher] += 1
            found = self._batches[at]
            self._forget()
        return found

    def _forget(self) -> None:
        """Keep neither what all have, nor what is too much; the newest in any case, which nobody may have been shown yet."""
        number = sum(len(one.told) for one in self._batches)
        size = sum(told.size for one in self._batches for told in one.told)
        slowest = min(self._positions.values(), default=self._first + len(self._batches))
        while self._first < slowest or (len(self._batches) > 1 and (number > _MOST or size > _MOST_BYTES)):
            gone = self._batches.popleft()
            self._first += 1
            number -= len(gone.told)
            size -= sum(told.size for told in gone.told)

    def wait(self, seconds: float) -> None:
        """Wait for the next batch, or for the end of the process."""
        if not self.over:
            self._more.wait(seconds)

    def end(self) -> None:
        """The process is to end: those who watch go on at once, and find that."""
        self.over = True
        self._wake()

    def _wake(self) -> None:
        woken, self._more = self._more, self._runtime.signal()
        woken.set()

    def _follow(self) -> None:
        heads: Sequence[str] = ()
        while self._watched():
            self.spent, began, pause = 0.0, time.monotonic(), _LOOK_SECONDS
            try:
                heads = self._look(heads)
            except Unavailable:
                pause = _LONGEST_PAUSE
            except Exception:
                log.exception("the feed cannot be read; it is tried again")
                pause = _LONGEST_PAUSE
            taken = time.monotonic() - began
            self._runtime.sleep(pause)
            if (rest := min(_LONGEST_PAUSE, 9 * (taken + self.spent)) - pause) > 0:
                self._runtime.sleep(rest)

    def _watched(self) -> bool:
        with self._lock:
            if self._positions and not self.over:
                return True
            self._first += len(self._batches) + 1  # whoever comes later begins again
            self._batches.clear()
            self._following, self._cursor = False, None
            return False

    def _look(self, heads: Sequence[str]) -> Sequence[str]:
        """See what changed; the change tokens as of when nothing more was there."""
        found = [self._store.change_token(type) for type in self._types]
        if found == heads:
            return heads
        assert self._cursor is not None
        batch = self.page(self._cursor)
        self._cursor = batch.cursor
        if batch.told:
            with self._lock:
                self._batches.append(batch)
                self._forget()
            self._wake()
        return found if batch.last else ()
