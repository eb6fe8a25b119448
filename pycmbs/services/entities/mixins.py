"""Mixins of entities: added, removed and replaced at the mixin's location (GFD.223 5.5.3 to 5.5.5)."""

from __future__ import annotations

from collections.abc import Sequence

from pycmbs.errors import TooLarge
from pycmbs.occi.entity import Entity
from pycmbs.occi.naming import spellings
from pycmbs.services.access.access import Access
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.entities.drafts import with_mixin
from pycmbs.services.entities.links import Links
from pycmbs.services.entities.reaching import Reach
from pycmbs.services.records.entities import ENTITY, document_id, entity_from, entity_write
from pycmbs.services.records.retrying import retried
from pycmbs.store.base import Query, Store, Write

MOST_NAMED = 5000
"""Entities that one request gives a mixin, or takes it from, with one commit."""


class Memberships:
    """Changes of what a mixin's location holds. Each is atomic."""

    def __init__(self, store: Store, categories: CategoryService, reach: Reach, access: Access) -> None:
        self._store = store
        self._categories = categories
        self._reach = reach
        self._access = access
        self._links = Links(store, categories, access)

    def associate(self, mixin: str, paths: Sequence[str], *, member: bool = True) -> list[Entity]:
        """Give a mixin to existing entities, or, with ``member`` false, take it from them; all or none. Returns them.

        Raises UnknownEntity, InvalidRequest, TooLarge.
        """
        _check_number(paths)
        self._categories.registry()
        return retried(mixin, lambda: self._changed(mixin, {one.path: member for one in self._at(paths)}))

    def assign(self, mixin: str, paths: Sequence[str]) -> list[Entity]:
        """Have exactly these entities, and no others, have a mixin; all or none. Returns them.

        Raises UnknownEntity, InvalidRequest, TooLarge.
        """
        _check_number(paths)
        self._categories.registry()

        def attempt() -> list[Entity]:
            there = [entity_from(one) for one in self._store.find(Query(ENTITY, {"mixin": mixin}))]
            leaving = {entity.path: False for entity in there if self._access.permits("read", entity)}
            staying = {one.path: True for one in self._at(paths)}
            found = self._changed(mixin, {**leaving, **staying})
            return [entity for entity in found if mixin in entity.mixins]

        return retried(mixin, attempt)

    def _at(self, paths: Sequence[str]) -> list[Entity]:
        """The entities at these paths, however they are spelled. Raises UnknownEntity."""
        every = {path: [document_id(one) for one in spellings(path)] for path in paths}
        stored = self._store.get_many([id for ids in every.values() for id in ids])
        found = []
        for path, ids in every.items():
            document = next((stored[id] for id in ids if id in stored), None)
            entity = entity_from(document) if document is not None else None
            found.append(self._reach.allowed(entity, path, "update"))
        return found

    def _changed(self, mixin: str, wanted: dict[str, bool]) -> list[Entity]:
        registry = self._categories.snapshot
        stored = self._store.get_many([document_id(path) for path in wanted])
        found, changes = [], []
        writes: list[Write] = []
        for path, member in wanted.items():
            document = stored.get(document_id(path))
            if document is None:
                raise self._reach.unknown(path)
            current = self._reach.allowed(entity_from(document), path, "update")
            entity = with_mixin(registry, current, mixin, member=member)
            found.append(entity or current)
            if entity is not None:
                changes.append(entity)
                writes += self._categories.backend(registry.kind(entity.kind)).update(current, entity)
                writes.append(entity_write(entity, revision=entity.revision))
        if writes:
            self._store.write([*self._links.sources(changes, writes), *writes])
        return found


def _check_number(paths: Sequence[str]) -> None:
    if len(paths) > MOST_NAMED:
        raise TooLarge(
            f"the request names {len(paths)} entities, and may name {MOST_NAMED}",
            hint="Send several requests.",
            most=MOST_NAMED,
        )
