"""Entities that earlier versions let be made at paths that are reserved now."""

from __future__ import annotations

from pycmbs.occi.category import Kind, Mixin
from pycmbs.occi.naming import RESERVED, is_reserved
from pycmbs.occi.registry import Registry
from pycmbs.services.records.entities import ENTITY, document_id, path_of
from pycmbs.store.base import Query, Store

_MOST = 100
"""Entities below each of the paths that are told of."""


def entities_at(store: Store) -> list[str]:
    """The paths of the entities that are exactly at one of the broker's own: what is answered there is the entity."""
    found = store.get_many([document_id(path.rstrip("/")) for path in RESERVED])
    return sorted(path_of(id) for id in found)


def occupants(store: Store, registry: Registry) -> list[str]:
    """What is there: the locations of categories, and the paths of some entities."""
    locations = [one.location for one in registry if isinstance(one, Kind | Mixin) and is_reserved(one.location)]
    queries = [Query(ENTITY, {"folder": path}, limit=_MOST, bare=True) for path in RESERVED]
    below = [path_of(one.id) for query in queries for one in store.find(query)]
    return sorted({*locations, *below, *entities_at(store)})


def displaced(store: Store, registry: Registry) -> list[str]:
    """A sentence on each of them, for the log at the start."""
    return [
        f"{path} was made by an earlier version at a path that is the broker's own now: it is still there; move it"
        for path in occupants(store, registry)
    ]
