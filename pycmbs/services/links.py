"""Links as entities of their own, whose life is bound to their source (GFD.221 4.5.2).

A link's creation, change and deletion also write its source, unchanged: so the source has a new revision when what is shown of
it is new, and no link can come to a source that is being deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pycmbs.errors import InvalidRequest
from pycmbs.occi.category import Kind
from pycmbs.occi.entity import Entity
from pycmbs.occi.naming import canonical_path, spellings
from pycmbs.occi.registry import Registry
from pycmbs.services.documents import ENTITY, document_id, entity_from, entity_write
from pycmbs.services.making import SOURCE, TARGET, is_link
from pycmbs.store.base import Query, Store, Write

_FEW = 20


class Links:
    """What entities need to know of links."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def starting_at(self, path: str) -> list[Entity]:
        """The links whose source is the entity at ``path``."""
        return [entity_from(one) for one in self._store.find(Query(ENTITY, {SOURCE: path}))]

    def ending_at(self, path: str) -> list[Entity]:
        """The links whose target is the entity at ``path``."""
        return [entity_from(one) for one in self._store.find(Query(ENTITY, {TARGET: path}))]

    def around(self, registry: Registry, entities: Sequence[Entity]) -> list[Entity]:
        """The links that start or end at one of the entities and are none of them, each once. For many entities all links
        are read instead, unless those are more still."""
        going = {one.path for one in entities}
        queries: list[Query] = []
        if len(going) > _FEW:
            kinds = [one.identifier for one in registry if isinstance(one, Kind) and is_link(registry, one)]
            queries = [Query(ENTITY, {"kind": one}) for one in kinds]
        if queries and sum(map(self._store.count, queries)) <= 2 * len(going):
            every = [entity_from(one) for query in queries for one in self._store.find(query)]
            found = [one for one in every if going & {one.attributes.get(SOURCE), one.attributes.get(TARGET)}]
        else:
            found = [link for path in going for link in (*self.starting_at(path), *self.ending_at(path))]
        return list({link.path: link for link in found if link.path not in going}.values())

    def complete(self, registry: Registry, entity: Entity, together: Mapping[str, Entity]) -> None:
        """Check a new link's ends, and fill in of what kind they are. ``together``: what is made with it, by path.

        Raises InvalidRequest for a source that is not here, or is a link.
        """
        if not is_link(registry, registry.kind(entity.kind)):
            return
        source = self._end(entity, SOURCE, together)
        if source is None or is_link(registry, registry.kind(source.kind)):
            raise InvalidRequest(
                f"there is no resource {entity.attributes[SOURCE]!r:.200} for the link to start at", attribute=SOURCE
            )
        target = self._end(entity, TARGET, together)
        for name, end in ((SOURCE, source), (TARGET, target)):
            if end is not None:
                entity.attributes[f"{name}.kind"] = end.kind

    def _end(self, link: Entity, name: str, together: Mapping[str, Entity]) -> Entity | None:
        """What is at an end of a link, if it is here; then the link has its path as it is kept."""
        path = link.attributes[name]
        if not path.startswith("/"):
            return None
        kept = canonical_path(path)
        found = together.get(kept)
        for spelling in spellings(path) if found is None else ():
            if document := self._store.get(document_id(spelling)):
                found = entity_from(document)
                break
        link.attributes[name] = found.path if found is not None else kept
        return found

    def sources(self, links: Iterable[Entity], writes: Iterable[Write]) -> list[Write]:
        """The writes of the links' sources that go along, but for those that are written anyway."""
        written = {write.id for write in writes}
        wanted = {document_id(path) for one in links if (path := one.attributes.get(SOURCE))} - written
        found = self._store.get_many(sorted(wanted)) if wanted else {}
        return [entity_write(entity_from(one), revision=one.revision) for one in found.values()]
