"""Creates entities, with links and a first action, in one commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

from pycmbs.backends.base import Report
from pycmbs.errors import Conflict, DuplicateId, Forbidden, InvalidRequest, KeyReused, RevisionConflict, TooLarge
from pycmbs.occi.category import Kind
from pycmbs.occi.entity import Draft, Entity, Invocation
from pycmbs.occi.registry import Registry
from pycmbs.services.access.access import Access
from pycmbs.services.entities.actions import Acting, Beginning
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.entities.drafts import inline_link, made
from pycmbs.services.entities.idempotency import RequestKey
from pycmbs.services.entities.links import Links
from pycmbs.services.entities.reaching import Reach
from pycmbs.services.entities.selection import collection
from pycmbs.services.records.entities import BY_REQUEST, ENTITY, document_id, entity_from, entity_write, path_of
from pycmbs.services.records.retrying import retried
from pycmbs.store.base import Query, Store, Write

MOST_MADE = 5000
"""Entities, links among them, that one request makes with one commit."""


T = TypeVar("T")


class Made(NamedTuple):
    """What was made: the entities, none if it was only tried; of the action on them, its identifier and the reports by path.
    ``repeated``: an earlier request made it."""

    entities: list[Entity]
    action: str = ""
    reports: Mapping[str, Report] = MappingProxyType({})
    repeated: bool = False


class GivingWay(Protocol):
    """Goes through what there may be much of."""

    def __call__(self, some: Sequence[T], /) -> Iterable[T]:
        """Each of them, others having their turn now and then."""


class Maker:
    """Makes entities, all of those that belong together or none."""

    def __init__(
        self,
        store: Store,
        categories: CategoryService,
        access: Access,
        reach: Reach,
        links: Links,
        acting: Acting,
        giving_way: GivingWay,
    ) -> None:
        self._store = store
        self._categories = categories
        self._access = access
        self._reach = reach
        self._links = links
        self._acting = acting
        self._giving_way = giving_way

    def make(
        self,
        location: str,
        drafts: Sequence[Draft],
        invocation: Invocation | None = None,
        key: RequestKey | None = None,
    ) -> Made:
        """See :meth:`pycmbs.services.entities.service.EntityService.make`."""
        registry, own = self._place(location, drafts)
        if key is None:
            return self._made(location, registry, own, drafts, invocation)
        drafts = key.named(location, self._access.subject, drafts)
        try:
            return self._made(location, registry, own, drafts, invocation, key)
        except (Conflict, Forbidden):
            repeated = self._repeated(registry, own, drafts, invocation, key)  # by a request that came at the same time
            if repeated is None:
                raise
            return repeated

    def _made(
        self,
        location: str,
        registry: Registry,
        own: Kind | None,
        drafts: Sequence[Draft],
        invocation: Invocation | None,
        key: RequestKey | None = None,
    ) -> Made:
        def attempt() -> Made | tuple[list[Entity], Beginning | None]:
            along: list[Write] = []
            if key is not None:
                # Before one looks: what another request of this key makes from now on fails the write.
                along = [self._turn(key)]
                repeated = self._repeated(registry, own, drafts, invocation, key)
                if repeated is not None:
                    return repeated
            entities = self._described(registry, own, drafts, key)
            if invocation is not None:
                return entities, self._write_begun(registry, entities, drafts, invocation, along)
            self.write(registry, entities, drafts, along)
            return entities, None

        found = retried(location, attempt)
        if isinstance(found, Made):
            return found
        entities, beginning = found
        if beginning is not None and beginning.tried:
            entities = []
        for entity in entities:
            self._acting.backend(entity).updated(entity)
        if beginning is None:
            return Made(entities)
        return Made(entities, beginning.identifier, beginning.stored())

    def _described(
        self, registry: Registry, own: Kind | None, drafts: Sequence[Draft], key: RequestKey | None
    ) -> list[Entity]:
        """What drafts describe, with a note of the request."""
        entities = [made(registry, draft, own) for draft in self._giving_way(drafts)]
        if key is not None:
            for entity in entities:
                key.note(entity, self._access.subject)
        return entities

    def _turn(self, key: RequestKey) -> Write:
        """The write by which requests of one key take turns: of two at the same time, one finds its revision changed."""
        id = key.guard(self._access.subject)
        there = self._store.get(id)
        turn = (there.body["turn"] if there else 0) + 1
        return Write(id, "guard", {"turn": turn}, revision=there.revision if there else None)

    def _repeated(
        self,
        registry: Registry,
        own: Kind | None,
        drafts: Sequence[Draft],
        invocation: Invocation | None,
        key: RequestKey,
    ) -> Made | None:
        """What an earlier request of this key made; None when there was none. Raises KeyReused when that was another one."""
        query = Query(ENTITY, {BY_REQUEST: key.name(self._access.subject)}, limit=MOST_MADE)
        found = {one.path: one for one in map(entity_from, self._store.find(query))}
        if not found:
            return None
        if not all(map(key.made, found.values())):
            raise KeyReused(
                "this Idempotency-Key belongs to another request",
                hint="Give each request a key of its own; a repeated request must be identical.",
            )
        paths = [made(registry, draft, own).path for draft in drafts]
        if not found.keys() >= set(paths):
            return None  # of what was made, some is deleted
        entities = [found[path] for path in paths]
        if invocation is None:
            return Made(entities, repeated=True)
        for entity in entities:
            self._access.check(f"act:{invocation.term}", entity)
        return Made(entities, *self._acting.reports(entities, invocation), repeated=True)

    def _place(self, location: str, drafts: Sequence[Draft]) -> tuple[Registry, Kind | None]:
        """What drafts are made by: the categories, and the kind at a location. Raises UnknownLocation, InvalidRequest."""
        registry = self._categories.registry()
        kind = collection(registry, location)
        if location != "/" and not isinstance(kind, Kind):
            raise InvalidRequest(
                f"{location} is not a kind's location", hint="POST entities to the location of their kind."
            )
        number = len(drafts)
        for draft in drafts:
            if draft.links:
                number += len(draft.links)
        _check_number(number)
        return registry, kind if isinstance(kind, Kind) else None

    def write(
        self, registry: Registry, entities: Sequence[Entity], drafts: Sequence[Draft], along: Sequence[Write] = ()
    ) -> None:
        """Store new entities with the inline links of their drafts, and what goes along."""
        new = [*self._inline(registry, entities, drafts), *entities]
        self.store(new, self.writes(registry, new, along))

    def _write_begun(
        self,
        registry: Registry,
        entities: Sequence[Entity],
        drafts: Sequence[Draft],
        invocation: Invocation,
        along: Sequence[Write],
    ) -> Beginning:
        """The same, with what an action on the entities begins with."""
        new = [*self._inline(registry, entities, drafts), *entities]
        before = self._before(registry, new)
        for entity in entities if self._access.asked else ():
            self._access.check(f"act:{invocation.term}", entity)
        beginning = self._acting.begin(entities, invocation)
        if beginning.tried:
            return beginning
        try:
            for mine, more in zip(before[len(new) - len(entities) :], beginning.writes, strict=True):
                mine.extend(more)
            self.store(new, self._joined(new, before, along))
        except BaseException:
            beginning.refused()
            raise
        return beginning

    def _inline(self, registry: Registry, entities: Sequence[Entity], drafts: Sequence[Draft]) -> list[Entity]:
        found: list[Entity] = []
        for entity, draft in zip(entities, drafts, strict=True):
            if draft.links:  # few have
                found += [inline_link(registry, link, entity) for link in draft.links]
        return found

    def writes(self, registry: Registry, new: Sequence[Entity], along: Sequence[Write] = ()) -> list[Write]:
        """The writes that store new entities, and those that go along."""
        return self._joined(new, self._before(registry, new), along)

    def _before(self, registry: Registry, new: Sequence[Entity]) -> list[list[Write]]:
        """Complete new entities. Returns for each the writes that go before its own."""
        together = {entity.path: entity for entity in new}
        _check_number(len(new))
        for entity in self._giving_way(new):
            self._access.made(entity)
            self._links.complete(registry, entity, together)
        self._links.note_together(together)
        return [[*self._acting.backend(entity).create(entity)] for entity in self._giving_way(new)]

    def _joined(
        self, new: Sequence[Entity], before: Sequence[Sequence[Write]], along: Sequence[Write] = ()
    ) -> list[Write]:
        writes: list[Write] = []
        for entity, some in zip(self._giving_way(new), before, strict=True):
            writes += some
            writes.append(entity_write(entity, revision=None))
        writes += along
        return [*self._links.sources(new, writes), *writes]

    def store(self, new: Sequence[Entity], writes: Sequence[Write]) -> None:
        """Write new entities, and what goes along; they have their revisions then. Raises DuplicateId, Conflict."""
        if len(writes) > 1 and len({write.id for write in writes}) < len(writes):
            twice = path_of(Counter(write.id for write in writes).most_common(1)[0][0])
            if all(entity.path != twice for entity in new):
                raise Conflict("the request makes two entities of which there can be one", hint="Make one of them.")
            raise DuplicateId(f"the request describes {twice} twice", id=twice)
        try:
            stored = {one.id: one.revision for one in self._store.write(writes)}
        except RevisionConflict as exc:
            path = path_of(str(exc.data.get("id", "")))
            if all(entity.path != path for entity in new):
                raise  # what was written along was changed meanwhile: the same again may pass
            raise self._reach.taken(path) from exc
        for entity in new:
            entity.revision = stored[document_id(entity.path)]


def _check_number(number: int) -> None:
    if number > MOST_MADE:
        raise TooLarge(
            f"the request makes {number} entities, and may make {MOST_MADE}",
            hint="Send several requests.",
            most=MOST_MADE,
        )
