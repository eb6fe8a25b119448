"""A front's shared change feed: one reader of the store for all watchers, with a bounded buffer.

A watcher that is behind reads the store itself (:meth:`Feed.page`), at its own pace, and so loses nothing and holds nothing up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from pycmbs import codec
from pycmbs.errors import InvalidRequest, Unavailable
from pycmbs.metrics.table import STREAMS_BEHIND
from pycmbs.runtime import Runtime, Signal
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
"""Changes that are kept for those who are a little behind, of all channels; the newest of each is kept in any case."""
_MOST_BYTES = 4 * 1024 * 1024
"""The same, of the documents and of what they were shown as."""

Part = Callable[[str], str]
"""The path of the entity that is shown otherwise when the document of this id changes."""
Choose = Callable[[Sequence["Told"]], "list[Told]"]
"""Those changes of some that are told."""


class Told(Struct):
    """One change of an entity: what there is to tell of it, to any watcher. ``document``: as it is stored, None of one that is
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


class Batch(Struct):
    """Changes that were read together, or those of them that a channel is about. ``cursor``: where the feed goes on; ``began``:
    when they were read, on the monotonic clock; ``last``: there were no more then. ``kept``: what all who take it have in
    common, once one of them has made it."""

    told: Sequence[Told]
    cursor: str
    began: float
    last: bool
    kept: dict[str, Any] = field(default_factory=dict)


class Channel:
    """What changes, for all that watch the same and may see the same."""

    def __init__(self, choose: Choose, more: Signal, cursor: str) -> None:
        """``choose`` says which changes they are told of."""
        self._choose = choose
        self.more = more
        """Set when there is more; then there is another."""
        self.cursor = cursor
        """Where one goes on who has all that is kept."""
        self.as_of = 0.0
        """When that was read, on the monotonic clock."""
        self._batches: deque[Batch] = deque()
        self._first = 0
        """The number of the first batch that is kept."""
        self._channels = 1
        self.positions: dict[object, int] = {}
        """One watcher, and the next batch that it wants."""

    def take(self, batch: Batch, channels: int) -> bool:
        """Keep of what was read what is wanted here; whether that is anything. ``channels`` share what may be kept."""
        self._channels = channels
        self.cursor, self.as_of = batch.cursor, batch.began
        chosen = self._choose(batch.told)
        if chosen:
            self._batches.append(Batch(chosen, batch.cursor, batch.began, batch.last))
            self._forget()
        return bool(chosen)

    def join(self, watcher: object) -> None:
        """From now on what changes is kept for it."""
        self.positions[watcher] = self._first + len(self._batches)

    def next(self, watcher: object) -> Batch | None:
        """The next batch that it wants, None while there is none. Raises LookupError when it is too far behind: it has left."""
        at = self.positions[watcher] - self._first
        if at < 0:
            del self.positions[watcher]
            STREAMS_BEHIND.count()
            raise LookupError("too far behind")
        if at >= len(self._batches):
            return None
        self.positions[watcher] += 1
        found = self._batches[at]
        if at == 0:
            self._forget()
        return found

    def _forget(self) -> None:
        """Keep neither what all have, nor what is too much; the newest in any case, which no watcher may have seen yet."""
        number = sum(len(one.told) for one in self._batches)
        size = sum(told.size for one in self._batches for told in one.told)
        slowest = min(self.positions.values(), default=self._first + len(self._batches))
        most, most_bytes = _MOST // self._channels, _MOST_BYTES // self._channels
        while self._batches and (
            self._first < slowest or (len(self._batches) > 1 and (number > most or size > most_bytes))
        ):
            gone = self._batches.popleft()
            self._first += 1
            number -= len(gone.told)
            size -= sum(told.size for told in gone.told)


class Feed:
    """What changes, for those who watch."""

    def __init__(self, store: Store, runtime: Runtime, parts: Mapping[str, Part]) -> None:
        """``parts``: by type, documents that are shown as a part of an entity."""
        self._store = store
        self._runtime = runtime
        self._parts = parts
        self._types = (ENTITY, *parts)
        self._channels: dict[object, Channel] = {}
        self._lock = threading.Lock()  # held for little, never across a wait
        self._cursor: str | None = None
        self._following = False
        self.over = False
        """Whether the process is to end, and every stream with it."""
        self.spent = 0.0
        """Seconds that those who watch spent since the last look."""

    def now(self) -> str:
        """The cursor of what will change from now on."""
        return self._store.latest()

    def check(self, cursor: str) -> bool:
        """Whether one can go on from there; not from a cursor of before the store was put back. Raises InvalidRequest for
        an invalid cursor."""
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
                found.append(Told(event, path_of(one.id), one.cursor, one.document, keys, size=_size(one.document)))
            elif document := there.pop(
                document_id(self._parts[one.type](one.id)), None
            ):  # once, whatever parts changed
                size = _size(document)
                found.append(Told(CHANGED, path_of(document.id), one.cursor, document, document.keys, size=size))
        return found

    # Those who are not behind

    def join(self, watcher: object, key: object, choose: Choose) -> Channel:
        """The channel of this key, in which from now on what changes is kept for it: what it reads itself after this and what
        it gets overlap, and leave no gap between them. Raises StoreUnavailable."""
        with self._lock:
            begins, self._following = not self._following, True
            channel = self._channels.get(key)
            if channel is None:
                channel = self._channels[key] = Channel(choose, self._runtime.signal(), self._cursor or "")
            channel.join(watcher)
        if begins:
            try:
                self._cursor = self.now()
            except Unavailable:
                self._following = False
                raise
            self._runtime.spawn("feed", self._follow)
        while self._cursor is None and self._following:
            self._runtime.sleep(_LOOK_SECONDS)
        channel.cursor = channel.cursor or self._cursor or ""
        return channel

    def leave(self, watcher: object, channel: Channel) -> None:
        """It no longer watches, or is behind."""
        channel.positions.pop(watcher, None)

    def next(self, watcher: object, channel: Channel) -> Batch | None:
        """See :meth:`Channel.next`."""
        with self._lock:
            return channel.next(watcher)

    def wait(self, channel: Channel, seconds: float) -> None:
        """Wait for the next batch, or for the end of the process."""
        if not self.over:
            channel.more.wait(seconds)

    def end(self) -> None:
        """The process is to end: those who watch go on at once, and find that."""
        self.over = True
        for channel in list(self._channels.values()):
            self._wake(channel)

    def _wake(self, channel: Channel) -> None:
        woken, channel.more = channel.more, self._runtime.signal()
        woken.set()

    def _follow(self) -> None:
        tokens: Sequence[str] = ()
        while self._watched():
            self.spent, began, pause = 0.0, time.monotonic(), _LOOK_SECONDS
            try:
                tokens = self._look(tokens)
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
            self._channels = {key: one for key, one in self._channels.items() if one.positions}
            if self._channels and not self.over:
                return True
            self._following, self._cursor = False, None
            return False

    def _look(self, tokens: Sequence[str]) -> Sequence[str]:
        """See what changed; the change tokens as of when nothing more was there."""
        found = [self._store.change_token(type) for type in self._types]
        if found == tokens:
            return tokens
        assert self._cursor is not None
        batch = self.page(self._cursor)
        self._cursor = batch.cursor
        with self._lock:
            woken = [one for one in self._channels.values() if one.take(batch, len(self._channels))]
        for channel in woken:
            self._wake(channel)
        return found if batch.last else ()


def _size(document: Document | None) -> int:
    """About how many bytes are kept for a document."""
    return len(codec.dumps(document.body)) if document is not None else 0
