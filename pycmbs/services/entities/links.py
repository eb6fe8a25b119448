"""Links as entities of their own, whose life is bound to their source (GFD.221 4.5.2).

A link's creation, change and deletion also write its source, unchanged: so the source has a new revision when what is shown of
it is new, and no link can come to a source that is being deleted. The source notes its links, so that they are read with it by
their ids: an index need not be asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from msgspec.structs import replace

from pycmbs.errors import InvalidRequest
from pycmbs.occi.category import Kind
from pycmbs.occi.entity import Entity
from pycmbs.occi.naming import canonical_path, spellings
from pycmbs.occi.registry import Registry
from pycmbs.services.access.access import Access
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.entities.drafts import SOURCE, TARGET, is_link
from pycmbs.services.records.entities import ENTITY, LINKS, document_id, entity_from, entity_write
from pycmbs.store.base import Query, Store, Write

_FEW = 20
_MOST_NOTED = 64
"""Links that are noted with their source; of one with more they are looked for."""
_MOST_WATCHED = 4
"""Kinds of links of which it is known whether there are any, where that is cheaper than to ask for those at an entity."""


class Links:
    """What entities need to know of links."""

    def __init__(self, store: Store, categories: CategoryService, access: Access) -> None:
        self._store = store
        self._categories = categories
        self._access = access
        self._queries: dict[str, Query] = {}
        self._known: dict[str, tuple[str, bool]] = {}
        """By kind: at which version of the question for its links it was seen whether there are any."""

    def starting_at(self, entity: Entity) -> list[Entity]:
        """The links whose source is this entity, in order of creation. As a rule they are read by their ids."""
        noted = entity.private.get(LINKS)
        if noted is None:
            return self._at(SOURCE, entity.path) if self._may_be_any() else []
        found = self._store.get_many([document_id(path) for path in noted]) if noted else {}
        links = [entity_from(one) for one in found.values()]
        return sorted((one for one in links if one.attributes.get(SOURCE) == entity.path), key=attrgetter("number"))

    def ending_at(self, path: str) -> list[Entity]:
        """The links whose target is the entity at ``path``."""
        return self._at(TARGET, path) if self._may_be_any() else []

    def _at(self, end: str, path: str) -> list[Entity]:
        return [entity_from(one) for one in self._store.find(Query(ENTITY, {end: path}))]

    def _may_be_any(self) -> bool:
        """Whether there may be links at all. A server's index follows its documents when it is asked, which costs time, and
        fails where nothing can be written; its feed tells that there are still none, and so an entity can be read."""
        if self._store.atomic:
            return True
        kinds = _link_kinds(self._categories.snapshot)
        return len(kinds) > _MOST_WATCHED or any(map(self._has, kinds))

    def _has(self, kind: str) -> bool:
        query = self._queries.setdefault(kind, Query(ENTITY, {"kind": kind}))
        version = self._store.version(query)  # before they are read: what changes meanwhile counts as newer
        known = self._known.get(kind)
        if known is None or known[0] != version:
            known = (version, bool(self._store.find(replace(query, limit=1, bare=True))))
            self._known[kind] = known
        return known[1]

    def around(self, registry: Registry, entities: Sequence[Entity]) -> list[Entity]:
        """The links that start or end at one of the entities and are none of them, each once. For many entities all links
        are read instead, unless those are more still."""
        if not self._may_be_any():
            return []
        going = {one.path for one in entities}
        queries: list[Query] = []
        if len(going) > _FEW:
            queries = [Query(ENTITY, {"kind": one}) for one in _link_kinds(registry)]
        if queries and sum(map(self._store.count, queries)) <= 2 * len(going):
            every = [entity_from(one) for query in queries for one in self._store.find(query)]
            found = [one for one in every if going & {one.attributes.get(SOURCE), one.attributes.get(TARGET)}]
        else:
            found = [link for path in going for end in (SOURCE, TARGET) for link in self._at(end, path)]
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
        """What is at an end of a link, if it is here, and who makes the link may see it; then the link has its path as it is
        kept."""
        path = link.attributes[name]
        if not path.startswith("/"):
            return None
        kept = canonical_path(path)
        found = together.get(kept)
        for spelling in spellings(path) if found is None else ():
            document = self._store.get(document_id(spelling))
            if document is not None and self._access.knows(entity_from(document)):
                found = entity_from(document)
                break
        link.attributes[name] = found.path if found is not None else kept
        return found

    def added(self, source: Entity, links: Sequence[Entity]) -> list[Entity]:
        """Those of the links that do not start at the source yet; they are noted with it."""
        known = {link.path for link in self.starting_at(source)} if links else set()
        new = [link for link in links if link.path not in known]
        self.note(source, [link.path for link in new])
        return new

    def note(self, source: Entity, links: Iterable[str]) -> None:
        """Note with a source, which is to be written, the paths of links that are to start there. What is noted of links that
        are gone does no harm, and goes when there are too many."""
        noted = source.private.get(LINKS, () if source.revision == "" else None)
        if noted is None:
            return
        every = list(dict.fromkeys([*noted, *links]))
        if len(every) > _MOST_NOTED:
            every = list(dict.fromkeys([*(one.path for one in self.starting_at(source)), *links]))
        source.private[LINKS] = every if len(every) <= _MOST_NOTED else None

    def note_together(self, together: Mapping[str, Entity]) -> None:
        """The same for sources that are made with their links."""
        starting: dict[str, list[str]] = {}
        for one in together.values():
            if one.attributes.get(SOURCE) in together:
                starting.setdefault(one.attributes[SOURCE], []).append(one.path)
        for path, links in starting.items():
            self.note(together[path], links)

    def sources(self, links: Iterable[Entity], writes: Iterable[Write]) -> list[Write]:
        """The writes of the links' sources that go along, but for those that are written anyway."""
        starting: dict[str, list[str]] = {}
        for one in links:
            if path := one.attributes.get(SOURCE):
                starting.setdefault(document_id(path), []).append(one.path)
        if not starting:
            return []
        for write in writes:
            starting.pop(write.id, None)
        found = self._store.get_many(sorted(starting))
        sources = [entity_from(one) for one in found.values()]
        for source in sources:
            self.note(source, starting[document_id(source.path)])
        return [entity_write(source, revision=source.revision) for source in sources]


def _link_kinds(registry: Registry) -> list[str]:
    """The identifiers of the kinds whose entities are links."""
    return [one.identifier for one in registry if isinstance(one, Kind) and is_link(registry, one)]
