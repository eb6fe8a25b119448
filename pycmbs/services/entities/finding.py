"""The entities of a collection, in a stable order (that of creation), whole or page by page."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from pycmbs.errors import UnknownEntity
from pycmbs.occi.category import Kind
from pycmbs.occi.entity import Entity
from pycmbs.occi.naming import folder_of, spellings
from pycmbs.occi.registry import Registry
from pycmbs.services.access.access import BY, Access, forbidden
from pycmbs.services.access.rules import ROOT
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.entities.paging import Bookmarks, Window
from pycmbs.services.entities.selection import (
    ENDS,
    EVERYTHING,
    Plan,
    Selection,
    collections_hint,
    is_bound,
    kinds_at,
    plans,
    unknown_location,
)
from pycmbs.services.records.entities import BEYOND, ENTITY, entity_from, path_of
from pycmbs.store.base import Document, Query, Store

_OF_NO_ARRAY = frozenset({"kind", "mixin", "id", "folder", "occi.core.title", BY, *ENDS})
_WHOLE = 100
"""Documents that are read at once, and so held in memory together: one may be megabytes."""
_PLACES = 1000
"""The same where only their ids are read."""

F = TypeVar("F", "Place", Entity)


class Place(NamedTuple):
    """Where an entity is, and its number in the order of creation."""

    path: str
    number: int


class Finder:
    """Reads collections."""

    def __init__(self, store: Store, categories: CategoryService, access: Access, give_way: Callable[[], None]) -> None:
        """``give_way`` lets others run: called between portions."""
        self._store = store
        self._categories = categories
        self._access = access
        self._give_way = give_way
        self._bookmarks = Bookmarks()

    def places(self, location: str, selection: Selection, window: Window | None) -> Iterator[Place]:
        """Where the entities of a collection are, in order of creation: all, or one page of them, read as they are asked for.

        Raises UnknownLocation, UnknownCategory, InvalidAttribute (a filter on what no entity there can have).
        """
        return self._listed(location, self._listable(location, selection), selection, window, self._places)

    def whole(self, location: str, selection: Selection, window: Window | None) -> Iterator[Entity]:
        """The same, of those that the principal may read; the entities as stored."""
        alternatives = self._plans(location, selection, ("list", "read"))
        return self._listed(location, alternatives, selection, window, self._pages)

    def places_whole(self, location: str, selection: Selection) -> Iterator[Entity]:
        """Those that :meth:`places` tells of, as stored: for what is done with all of them."""
        return self._merged(location, self._listable(location, selection), 0, self._pages)

    def _listable(self, location: str, selection: Selection) -> list[Plan]:
        # A filter by attributes that may not be read would tell their values.
        return self._plans(location, selection, ("list",) if selection == EVERYTHING else ("list", "read"))

    def _listed(
        self,
        location: str,
        alternatives: list[Plan],
        selection: Selection,
        window: Window | None,
        pages: Callable[[Plan, int], Iterator[F]],
    ) -> Iterator[F]:
        if window is None or (window.number is None and not window.newest):
            yield from self._merged(location, alternatives, 0, pages)
            return
        if window.number is None or window.newest:
            yield from self._newest(location, alternatives, window, pages)
            return
        listing = repr((location, selection, window.number, self._access.key))
        page, after = self._bookmarks.nearest(listing, window.page)
        if page < window.page and len(alternatives) == 1 and alternatives[0].exact:
            query = replace(alternatives[0].query, after=after)
            start = self._store.nth(query, (window.page - page) * window.number)
            if start is None:
                return
            page, after = window.page, start
            self._bookmarks.keep(listing, page, after)
        found: list[F] = []
        for one in self._merged(location, alternatives, after, pages):
            found.append(one)
            if len(found) == window.number:
                self._bookmarks.keep(listing, page + 1, one.number)
                if page == window.page:
                    break
                page, found = page + 1, []
        if page == window.page:
            yield from found

    def _newest(
        self, location: str, alternatives: list[Plan], window: Window, pages: Callable[[Plan, int], Iterator[F]]
    ) -> Iterator[F]:
        """One page of the newest first, or all of them."""
        number, query = window.number, self._countable(alternatives)
        if number is None:
            yield from reversed(list(self._merged(location, alternatives, 0, pages)))
            return
        most = window.page * number
        if query is not None:
            past = self._store.total(query) - most
            after = self._store.nth(query, past) if past > 0 else 0
            if after is None or past <= -number:
                return
            page = list(itertools.islice(self._merged(location, alternatives, after, pages), number + min(past, 0)))
        else:
            last = deque(self._merged(location, alternatives, 0, pages), most)
            page = list(last)[: max(0, number + len(last) - most)]
        yield from reversed(page)

    def total(self, location: str, selection: Selection, *, whole: bool) -> int | None:
        """How many entities a collection has; None if the store cannot tell without reading them. ``whole``: of those that
        the principal may read. Raises what :meth:`places` does."""
        alternatives = (
            self._plans(location, selection, ("list", "read")) if whole else self._listable(location, selection)
        )
        query = self._countable(alternatives)
        return None if query is None else self._store.total(query)

    def _countable(self, alternatives: Sequence[Plan]) -> Query | None:
        """The query whose matches are what is asked for, each once, if the store can count them by its index."""
        if len(alternatives) != 1 or not alternatives[0].exact:
            return None
        query = alternatives[0].query
        return query if self._store.counts_by_index(query) else None

    def check_all(self, operation: str, location: str, selection: Selection) -> None:
        """Raises Forbidden unless an operation is allowed with each entity of a collection that the principal may see, and
        with some that could be there; a deletion of all there are needs a rule of its own."""
        access = self._access
        if not access.asked:
            return
        registry = self._categories.registry()
        if location == ROOT and operation == "delete":
            access.check_kind(operation, ROOT)
        kinds = [kind.identifier for kind in kinds_at(registry, location)]
        if kinds and not any(access.conceivable(operation, kind) for kind in kinds):
            raise forbidden(operation)
        if not all(access.always(operation, kind) for kind in kinds):
            for entity in self.places_whole(location, selection):
                access.check(operation, entity)

    def check_location(self, location: str) -> None:
        """Raises UnknownLocation unless a kind or mixin is there or below, or an entity is."""
        alternatives = self._allowed(plans(self._categories.registry(), location, EVERYTHING), location, ("list",))
        if all(plan.unbound for plan in alternatives):
            next(self._merged(location, alternatives, 0, self._places), None)

    def watched(self, location: str, selection: Selection) -> list[Plan]:
        """What an entity of a collection is like that the principal may be told of when it changes. Raises as :meth:`whole`."""
        found = self._plans(location, selection, ("list", "read"))
        return [*found, *(plan.beyond(key) for plan in found for key in plan.query.equals.keys() - _OF_NO_ARRAY)]

    def readable(self, kind: str) -> list[Plan]:
        """What an entity of a kind is like that the principal may read."""
        return self._allowed([Plan(Query(ENTITY, {"kind": kind}))], "", ("read",))

    def _plans(self, location: str, selection: Selection, operations: Sequence[str]) -> list[Plan]:
        """The alternatives that the principal may see, those included in which a UUID is in upper case, as versions up to
        0.3 may have kept it, and those of arrays that are too long for all of their items to be keys. Raises Forbidden
        where nothing may be seen."""
        found: list[Plan] = []
        for plan in self._allowed(plans(self._categories.registry(), location, selection), location, operations):
            some = [plan, *filter(None, (self._older(plan, name) for name in ("id", *ENDS)))]
            for key in plan.query.equals.keys() - _OF_NO_ARRAY:
                if self._store.find(Query(ENTITY, {BEYOND: key}, limit=1)):
                    some += [one.beyond(key) for one in some]
            found += some
        return found

    def _allowed(self, alternatives: list[Plan], location: str, operations: Sequence[str]) -> list[Plan]:
        """Those parts of the alternatives with whose entities the operations are allowed. Raises Forbidden where there are none
        of a kind's own collection: that there is that kind is no secret."""
        if not self._access.asked:
            return alternatives
        registry = self._categories.snapshot
        every = [one.identifier for one in registry if isinstance(one, Kind)]
        found: list[Plan | None] = []
        for plan in alternatives:
            named = plan.query.equals.get("kind")
            scopes = {one: self._access.scope(operations, one) for one in ([named] if named else every)}
            if all(scope == [{}] for scope in scopes.values()):
                found.append(plan)
                continue
            found += [plan.within({**keys, "kind": kind}) for kind, scope in scopes.items() for keys in scope]
        if alternatives and not found and isinstance(registry.at(location), Kind):
            raise forbidden(operations[0])
        return [plan for plan in found if plan is not None]

    def _older(self, plan: Plan, name: str) -> Plan | None:
        value = plan.query.equals.get(name, "")
        older = spellings(value)[-1]
        if older == value or not self._store.find(Query(ENTITY, {name: older}, limit=1)):
            return None
        return replace(plan, query=replace(plan.query, equals={**plan.query.equals, name: older}))

    def _merged(
        self, location: str, alternatives: list[Plan], after: int, pages: Callable[[Plan, int], Iterator[F]]
    ) -> Iterator[F]:
        """The entities that match one of the alternatives, each once. Raises UnknownLocation."""
        found: Iterator[F] = heapq.merge(*(pages(plan, after) for plan in alternatives), key=attrgetter("number"))
        last = 0
        for one in found:
            if one.number != last:
                yield one
            last = one.number
        if last == 0 and after == 0 and all(plan.unbound for plan in alternatives):
            registry = self._categories.registry()
            if alternatives or (self._access.asked and not is_bound(registry, location)):
                raise unknown_location(registry, location)

    def _places(self, plan: Plan, after: int) -> Iterator[Place]:
        if plan.compares:
            yield from (Place(entity.path, entity.number) for entity in self._pages(plan, after))
            return
        for documents in self._portions(replace(plan.query, bare=True), after, _PLACES):
            yield from (Place(path_of(one.id), one.number) for one in documents)

    def _pages(self, plan: Plan, after: int) -> Iterator[Entity]:
        for documents in self._portions(plan.query, after, _WHOLE):
            yield from (entity for entity in map(entity_from, documents) if plan.holds(entity))

    def _portions(self, query: Query, after: int, most: int) -> Iterator[Sequence[Document]]:
        limit = _WHOLE
        while documents := self._store.find(replace(query, after=after, limit=limit)):
            yield documents
            if len(documents) < limit:
                return
            self._give_way()
            after, limit = documents[-1].number, most


def unknown_entity(store: Store, registry: Registry, path: str, access: Access) -> UnknownEntity:
    """What to say of a path at which no entity is: what is beside it, as far as the principal may see all of that, or what
    may be meant."""
    folder = folder_of(path)
    category = registry.at(folder)
    if category is not None:
        name = "kind" if isinstance(category, Kind) else "mixin"
        kinds = [category] if isinstance(category, Kind) else [one for one in registry if isinstance(one, Kind)]
        if not all(access.always("list", one.identifier) for one in kinds):
            return UnknownEntity(f"there is no entity at {path[:300]}", location=path[:300])
        there = store.find(Query(ENTITY, {name: category.identifier}, limit=3, bare=True))
        hint = f"Known: {', '.join(path_of(one.id) for one in there)}." if there else f"{folder} is empty."
    elif registry.at(path + "/") is not None or path.endswith("/-"):
        hint = f"That path ends with '/': {path}/."
    else:
        hint = collections_hint(registry, path)
    return UnknownEntity(f"there is no entity at {path[:300]}", hint=hint, location=path[:300])
