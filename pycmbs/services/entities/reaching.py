"""Finds entities by their path, as far as the principal may read them; what it may not read is a 404."""

from __future__ import annotations

from collections.abc import Iterable

from pycmbs.errors import DuplicateId, UnknownEntity
from pycmbs.occi.category import Kind
from pycmbs.occi.entity import Entity
from pycmbs.occi.naming import folder_of, spellings
from pycmbs.services.access.access import NO_KIND, Access, forbidden
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.entities.finding import unknown_entity
from pycmbs.services.records.entities import document_id, entity_from
from pycmbs.store.base import Store


class Reach:
    """Reads single entities, as they are stored."""

    def __init__(self, store: Store, categories: CategoryService, access: Access) -> None:
        self._store = store
        self._categories = categories
        self._access = access

    def at(self, path: str) -> Entity | None:
        """The entity at a path, however its id is spelled there; None when there is none. Without a check of rights."""
        document = self._store.get(document_id(path))
        if document is None:
            found = (self._store.get(document_id(one)) for one in spellings(path) if one != path)
            document = next((one for one in found if one is not None), None)
        return entity_from(document) if document is not None else None

    def seen(self, path: str) -> Entity | None:
        """The same; None when the principal may not read it, too."""
        entity = self.at(path)
        return entity if entity is not None and self._access.permits("read", entity) else None

    def stored(self, path: str) -> Entity:
        """The entity at a path, whatever the principal may read. Raises UnknownEntity."""
        entity = self.at(path)
        if entity is None:
            raise self.unknown(path)
        return entity

    def many(self, paths: Iterable[str]) -> dict[str, Entity]:
        """Those of the entities at these paths that exist, by path, whatever the principal may read."""
        found = self._store.get_many([document_id(path) for path in paths])
        return {document.body["path"]: entity_from(document) for document in found.values()}

    def reached(self, path: str, operation: str) -> Entity:
        """The entity at a path, for an operation. Raises Forbidden, UnknownEntity: what may not be read, and what is not there,
        are told apart by neither."""
        return self.allowed(self.at(path), path, operation)

    def allowed(self, entity: Entity | None, path: str, operation: str) -> Entity:
        """The entity that is at a path, if it is there and the operation is allowed. Raises as :meth:`reached`."""
        access = self._access
        if entity is not None and access.permits(operation, entity):
            return entity
        if entity is not None and access.permits("read", entity):
            raise forbidden(operation)
        folder = self._categories.registry().at(folder_of(path))
        access.check_kind(operation, folder.identifier if isinstance(folder, Kind) else NO_KIND)
        raise self.unknown(path)

    def unknown(self, path: str) -> UnknownEntity:
        """The error for a path at which there is nothing, or nothing that the principal may read."""
        return unknown_entity(self._store, self._categories.registry(), path, self._access)

    def taken(self, path: str) -> Exception:
        """The error for creating an entity at a path that is taken."""
        entity = self.at(path) if self._access.asked else None
        if entity is not None and not self._access.permits("read", entity):
            return forbidden("create")
        return DuplicateId(f"{path} exists already", hint="PUT replaces it, POST to its own URL changes it.", id=path)
