"""Watching: what changes in a collection, or of an entity, as far as who asks may read it."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from pycmbs.occi.entity import Entity
from pycmbs.occi.registry import Registry
from pycmbs.services.access.access import Access
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.entities.feed import Batch, Feed, Told
from pycmbs.services.entities.finding import Finder
from pycmbs.services.entities.reaching import Reach
from pycmbs.services.entities.selection import Plan, Selection
from pycmbs.services.records.entities import entity_from
from pycmbs.store.base import Store

Show = Callable[[Told, Entity | None], bytes]
"""How a change is shown, with the entity as it is now, or None of one that is gone."""


class Seen(Struct, frozen=True):
    """What a watcher is told of, as it is shown, and where to go on. ``last``: there is no more just now."""

    events: list[tuple[Told, bytes]]
    cursor: str
    last: bool


class Watch:
    """One who watches a collection, or an entity. Everything is done as who asks then."""

    def __init__(self, watching: Watching, location: str, selection: Selection, since: str | None) -> None:
        """``since``: the cursor to go on from; None: from now on. Raises what listing the collection, or reading the entity,
        does, and InvalidRequest for what is no cursor."""
        self._of = watching
        self._location = location
        self._selection = selection
        self._path = self._kind = ""
        """Of the entity, if it is one."""
        self._plans: list[Plan] = []
        self._as_of: tuple[Registry | None, object] = (None, None)
        self._joined = False
        self._known: frozenset[tuple[str, str]] = frozenset()
        """What was read when it joined: the feed may tell of it once more."""
        self._known_at = 0.0
        if location.endswith("/"):
            watching.finder.check_location(location)
        else:
            watching.categories.registry()
            entity = watching.reach.reached(location, "read")
            self._path, self._kind = entity.path, entity.kind
        self._replan()
        self.asked = since
        self.gap = since is not None and not watching.feed.check(since)
        self.cursor = watching.feed.now() if since is None else "" if self.gap else since

    def close(self) -> None:
        """It watches no more."""
        self._of.feed.leave(self)
        self._joined = False

    def seen(self, seconds: float) -> Seen:
        """What changed since the last call, waiting for it for so long at most; nothing after that, or when the process ends.
        Raises StoreUnavailable, and what listing the collection does when the rules or categories are others now."""
        feed = self._of.feed
        deadline = time.monotonic() + seconds
        while True:
            batch = self._next()
            if batch is not None:
                try:
                    found = self._chosen(batch)
                except BaseException:
                    self.close()  # who goes on begins at the cursor
                    raise
                self.cursor = batch.cursor
                if found or not batch.last:
                    return Seen(found, self.cursor, batch.last)
            left = deadline - time.monotonic()
            if left <= 0 or feed.over:
                return Seen([], self.cursor, last=True)
            if batch is None:
                feed.wait(left)

    def _next(self) -> Batch | None:
        """What follows: from the feed, or, while this is behind, from the store."""
        feed = self._of.feed
        if self._joined:
            try:
                batch = feed.next(self)
            except LookupError:
                self._joined = False
            else:
                return self._unknown(batch) if batch is not None and self._known else batch
        feed.join(self)
        batch = feed.page(self.cursor)
        self._joined, self._known_at = batch.last, time.monotonic()
        if batch.last:
            self._known = frozenset(one.state for one in batch.told)
            return batch if batch.told else feed.next(self)
        feed.leave(self)
        return batch

    def _unknown(self, batch: Batch) -> Batch:
        """Without what this has read itself, when it joined."""
        if batch.last and batch.began > self._known_at:
            self._known = frozenset()
        else:
            batch = replace(batch, told=[one for one in batch.told if one.state not in self._known])
        return batch

    def _chosen(self, batch: Batch) -> list[tuple[Told, bytes]]:
        self._replan()
        return [(one, shown) for one in batch.told if (shown := self._shown(one)) is not None]

    def _shown(self, one: Told) -> bytes | None:
        """The change as it is shown; None for one that is not told of here."""
        if self._path and one.path != self._path:
            return None
        plans = [plan for plan in self._plans if plan.admits(one.keys)]
        if not plans:
            return None
        entity = entity_from(one.document) if one.document is not None else None
        if entity is not None and not any(plan.holds(entity) for plan in plans):
            return None
        key = self._of.access.key
        if key not in one.shown:
            began = time.monotonic()
            shown = one.shown[key] = self._of.show(one, entity)
            one.size += len(shown)
            self._of.feed.spent += time.monotonic() - began
        found: bytes = one.shown[key]
        return found

    def _replan(self) -> None:
        """See to it that the rules and categories of now decide."""
        registry = self._of.categories.registry()
        as_of = registry, self._of.access.key
        if as_of != self._as_of:
            finder = self._of.finder
            self._plans = finder.readable(self._kind) if self._path else finder.watched(self._location, self._selection)
            self._as_of = as_of


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
