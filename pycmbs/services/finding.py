"""The entities of a collection, in a stable order (that of creation), whole or page by page."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from msgspec.structs import replace

from pycmbs.errors import UnknownEntity
from pycmbs.occi.category import Kind
from pycmbs.occi.entity import Entity
from pycmbs.occi.naming import spellings
from pycmbs.occi.registry import Registry
from pycmbs.services.categories import CategoryService
from pycmbs.services.documents import BEYOND, ENTITY, entity_from
from pycmbs.services.paging import Bookmarks, Window
from pycmbs.services.selection import ENDS, EVERYTHING, Plan, Selection, collections_hint, plans, unknown_location
from pycmbs.store.base import Query, Store

_OF_NO_ARRAY = frozenset({"kind", "mixin", "id", "folder", "occi.core.title", *ENDS})
_FIRST_PAGE, _PAGE = 100, 1000
"""A first page is small, and read at once; more is read in pages that the store may read in the background."""


class Finder:
    """Reads collections."""

    def __init__(self, store: Store, categories: CategoryService) -> None:
        self._store = store
        self._categories = categories
        self._bookmarks = Bookmarks()

    def listed(self, location: str, selection: Selection, window: Window | None) -> list[Entity]:
        """The entities of a collection as stored, in order of creation: all, or one page of them.

        Raises UnknownLocation, UnknownCategory, InvalidAttribute (a filter on what no entity there can have).
        """
        if window is None:
            return list(self.iterate(location, selection))
        listing = repr((location, selection, window.number))
        page, after = self._bookmarks.nearest(listing, window.page)
        alternatives = self._plans(location, selection)
        if page < window.page and len(alternatives) == 1 and alternatives[0].exact:
            query = replace(alternatives[0].query, after=after)
            start = self._store.seek(query, (window.page - page) * window.number)
            if start is None:
                return []
            page, after = window.page, start
            self._bookmarks.keep(listing, page, after)
        found: list[Entity] = []
        for entity in self._merged(location, alternatives, after):
            found.append(entity)
            if len(found) == window.number:
                self._bookmarks.keep(listing, page + 1, entity.number)
                if page == window.page:
                    return found
                page, found = page + 1, []
        return found if page == window.page else []

    def check_location(self, location: str) -> None:
        """Raises UnknownLocation unless a kind or mixin is there or below, or an entity is."""
        alternatives = plans(self._categories.registry(), location, EVERYTHING)
        if all(plan.unbound for plan in alternatives):
            next(self._merged(location, alternatives, 0), None)

    def iterate(self, location: str, selection: Selection, after: int = 0) -> Iterator[Entity]:
        """The entities one by one, those made before the entity with the number ``after`` left out."""
        yield from self._merged(location, self._plans(location, selection), after)

    def _plans(self, location: str, selection: Selection) -> list[Plan]:
        """The alternatives, those included in which a UUID is in upper case, as versions up to 0.3 may have kept it, and those
        of arrays that are too long for all of their items to be keys."""
        found: list[Plan] = []
        for plan in plans(self._categories.registry(), location, selection):
            some = [plan, *filter(None, (self._older(plan, name) for name in ("id", *ENDS)))]
            for key in plan.query.equals.keys() - _OF_NO_ARRAY:
                if self._store.find(Query(ENTITY, {BEYOND: key}, limit=1)):
                    some += [one.beyond(key) for one in some]
            found += some
        return found

    def _older(self, plan: Plan, name: str) -> Plan | None:
        value = plan.query.equals.get(name, "")
        older = spellings(value)[-1]
        if older == value or not self._store.find(Query(ENTITY, {name: older}, limit=1)):
            return None
        return replace(plan, query=replace(plan.query, equals={**plan.query.equals, name: older}))

    def _merged(self, location: str, alternatives: list[Plan], after: int) -> Iterator[Entity]:
        """The entities that match one of the alternatives, each once. Raises UnknownLocation."""
        found: Iterator[Entity] = heapq.merge(
            *(self._pages(plan, after) for plan in alternatives), key=lambda entity: entity.number
        )
        last = 0
        for entity in found:
            if entity.number != last:
                yield entity
            last = entity.number
        if last == 0 and after == 0 and alternatives and all(plan.unbound for plan in alternatives):
            raise unknown_location(self._categories.registry(), location)

    def _pages(self, plan: Plan, after: int) -> Iterator[Entity]:
        limit = _FIRST_PAGE
        while documents := self._store.find(replace(plan.query, after=after, limit=limit)):
            yield from (entity for entity in map(entity_from, documents) if plan.holds(entity))
            if len(documents) < limit:
                return
            after, limit = documents[-1].number, _PAGE


def unknown_entity(store: Store, registry: Registry, path: str) -> UnknownEntity:
    """What to say of a path at which no entity is: what is beside it, or what may be meant."""
    folder = path[: path.rfind("/") + 1]
    category = registry.at(folder)
    if category is not None:
        there = store.find(
            Query(ENTITY, {"kind" if isinstance(category, Kind) else "mixin": category.identifier}, limit=3)
        )
        hint = f"There is {', '.join(one.body['path'] for one in there)}." if there else f"{folder} is empty."
    elif registry.at(path + "/") is not None or path.endswith("/-"):
        hint = f"That path ends with '/': {path}/."
    else:
        hint = collections_hint(registry, path)
    return UnknownEntity(f"there is no entity at {path[:300]}", hint=hint, location=path[:300])
