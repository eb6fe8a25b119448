"""Migrates index keys that earlier versions wrote."""

from __future__ import annotations

import logging

from msgspec.structs import replace

from pycmbs.occi.category import CORE_KINDS, CORE_NAME
from pycmbs.occi.registry import Registry
from pycmbs.services.records.entities import ENTITY, attribute_key, entity_from, entity_write, keys_of
from pycmbs.store.base import Query, Store, Write

log = logging.getLogger(__name__)

REKEYED = "keys:attributes"
_BATCH = 100


def rekey(store: Store, registry: Registry) -> None:
    """Up to 0.3 an attribute called ``kind`` took the place of the key that says of what kind an entity is, and a mixin could
    bring the source that makes a link. Where a category has such an attribute, all entities are looked through, once."""
    names = {name for one in registry if one not in CORE_KINDS for name in one.attributes}
    if not any(attribute_key(name) != name or name.startswith(f"{CORE_NAME}.") for name in names):
        return
    if store.get(REKEYED) is not None:
        return
    query = Query(ENTITY, limit=_BATCH)
    mended = 0
    while found := store.find(query):
        batches = []
        for document in found:
            entity = entity_from(document)
            entity.attributes = registry.described(entity.kind, entity.mixins).known(entity.attributes)
            if dict(document.keys) != keys_of(entity):
                batches.append([entity_write(entity, revision=document.revision)])
        if batches:
            store.write_batches(batches)
        mended += len(batches)
        query = replace(query, after=found[-1].number)
    store.write([Write(REKEYED, "keys")])
    log.info("%d entities were re-indexed for this version", mended)
