"""Watching: what changes in a collection, or of an entity, as far as the principal may read it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from pycmbs.occi.entity import Entity
from pycmbs.services.access.access import Access
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.entities.feed import Batch, Channel, Choose, Feed, Told
from pycmbs.services.entities.finding import Finder
from pycmbs.services.entities.reaching import Reach
from pycmbs.services.entities.selection import Plan, Selection
from pycmbs.services.records.entities import entity_from
from pycmbs.store.base import Store

Show = Callable[[Told, Entity | None], bytes]
"""How a change is shown, with the entity as it is now, or None of one that is gone."""
_EVENTS = "events"
"""Under which a batch keeps how it is shown."""


_SEND_SECONDS = 150e-6
"""What it costs, besides, to send to one more."""


class Seen(Struct, frozen=True):
    """What a watcher is told of, as it is shown, and where to go on. ``last``: there is no more just now. ``kept``: what those
    have in common who are told the same, for what is made of it."""

    events: list[tuple[Told, bytes]]
    cursor: str
    last: bool
    kept: dict[str, Any]


class Watch:
    """One who watches a collection, or an entity. Everything is done for the principal that asked."""

    def __init__(self, watching: Watching, location: str, selection: Selection, since: str | None) -> None:
        """``since``: the cursor to go on from; None: from now on. Raises what listing the collection, or reading the entity,
        does, and InvalidRequest for an invalid cursor."""
        self._of = watching
        self._location = location
        self._selection = selection
        self._name = repr((location, selection))
        self._path = self._kind = ""
        """Of the entity, if it is one."""
        self._choose: Choose = list
        self._key: object = None
        """Equal of two who watch the same and may see the same; differs when rules or categories do."""
        self._channel: Channel | None = None
        self._known: frozenset[tuple[str, str]] = frozenset()
        """What was read when it joined: the channel may have it once more."""
        self._known_at = 0.0
        if location.endswith("/"):
            watching.finder.check_location(location)
        else:
            watching.categories.registry()
            entity = watching.reach.reached(location, "read")
            self._path, self._kind = entity.path, entity.kind
        self._look_again()
        self.asked = since
        self.gap = since is not None and not watching.feed.check(since)
        self.cursor = watching.feed.now() if since is None else "" if self.gap else since

    def close(self) -> None:
        """It no longer watches."""
        if self._channel is not None:
            self._of.feed.leave(self, self._channel)
            self._channel = None

    def seen(self, seconds: float) -> Seen:
        """What changed since the last call, waiting for it for so long at most; nothing after that, or when the process ends.
        Raises StoreUnavailable, and what listing the collection does when the rules or categories are others now."""
        feed, deadline = self._of.feed, time.monotonic() + seconds
        while True:
            began = time.monotonic()
            try:
                self._look_again()
                batch = self._next()
                events = self._events(batch) if batch is not None else []
            except BaseException:
                self.close()  # who goes on begins at the cursor
                raise
            if batch is not None:
                self.cursor = batch.cursor
                feed.spent += time.monotonic() - began + _SEND_SECONDS
                if events or not batch.last:
                    return Seen(events, self.cursor, batch.last, batch.kept)
            left = deadline - time.monotonic()
            if left <= 0 or feed.over:
                self._go_on()
                return Seen([], self.cursor, last=True, kept={})
            if batch is None and self._channel is not None:
                feed.wait(self._channel, left)

    def _next(self) -> Batch | None:
        """What follows: from the feed, or, while this is behind, from the store."""
        feed = self._of.feed
        if self._channel is not None:
            try:
                batch = feed.next(self, self._channel)
            except LookupError:
                self._channel = None
            else:
                return self._unknown(batch) if batch is not None and self._known else batch
        channel = feed.join(self, self._key, self._choose)
        try:
            read = feed.page(self.cursor)
        except BaseException:
            feed.leave(self, channel)
            raise
        batch = Batch(self._choose(read.told), read.cursor, read.began, read.last)
        if batch.last:
            self._channel, self._known_at = channel, time.monotonic()
            self._known = frozenset(one.state for one in batch.told)
        else:
            feed.leave(self, channel)
        return batch

    def _unknown(self, batch: Batch) -> Batch:
        """Without what this has read itself, when it joined."""
        if batch.began > self._known_at:
            self._known = frozenset()
            return batch
        told = [one for one in batch.told if one.state not in self._known]
        return Batch(told, batch.cursor, batch.began, batch.last)

    def _go_on(self) -> None:
        """Nothing was told for a while: what else changed is behind this, too."""
        channel = self._channel
        if channel is not None and channel.as_of > self._known_at:
            self.cursor = channel.cursor

    def _events(self, batch: Batch) -> list[tuple[Told, bytes]]:
        """What was chosen, as it is shown: made once for all who are told of it."""
        found: list[tuple[Told, bytes]] | None = batch.kept.get(_EVENTS)
        if found is None:
            found = batch.kept[_EVENTS] = [(one, self._shown(one)) for one in batch.told]
        return found

    def _shown(self, one: Told) -> bytes:
        key = self._of.access.key
        found: bytes | None = one.shown.get(key)
        if found is None:
            entity = entity_from(one.document) if one.document is not None else None
            found = one.shown[key] = self._of.show(one, entity)
            one.size += len(found)
        return found

    def _look_again(self) -> None:
        """See to it that the rules and categories of now decide."""
        key = (self._name, self._of.access.key, self._of.categories.registry())
        if key != self._key:
            self.close()
            finder, path = self._of.finder, self._path
            plans = finder.readable(self._kind) if path else finder.watched(self._location, self._selection)
            self._choose, self._key = _chooser(path, plans), key


def _chooser(path: str, plans: Sequence[Plan]) -> Choose:
    """Chooses what one of the plans is about, and, if there is a path, what is there."""

    def holds(one: Told, plan: Plan) -> bool:
        if not plan.admits(one.keys):
            return False
        return one.document is None or not plan.compares or plan.holds(entity_from(one.document))

    def choose(some: Sequence[Told]) -> list[Told]:
        return [one for one in some if path in ("", one.path) and any(holds(one, plan) for plan in plans)]

    return choose


class Watching(Struct, frozen=True):
    """What all who watch have in common."""

    feed: Feed
    finder: Finder
    reach: Reach
    categories: CategoryService
    access: Access
    show: Show

    @classmethod
    def of(cls, store: Store, categories: CategoryService, access: Access, feed: Feed, show: Show) -> Watching:
        """Over a store."""
        finder = Finder(store, categories, access, lambda: None)
        return cls(feed, finder, Reach(store, categories, access), categories, access, show)

    def watch(self, location: str, selection: Selection, since: str | None) -> Watch:
        """See :class:`Watch`."""
        return Watch(self, location, selection, since)
