"""Entities: created, read, found, changed, deleted and acted on, whatever their kind (GFD.223 5.5, 5.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from pycmbs.backends.base import Backend, Report
from pycmbs.errors import DuplicateId, InvalidRequest, RevisionConflict
from pycmbs.occi import naming
from pycmbs.occi.category import Action, Kind
from pycmbs.occi.entity import Draft, Entity, Invocation
from pycmbs.occi.schema import Schema
from pycmbs.services.access.access import Access, forbidden
from pycmbs.services.entities.actions import Acting, Performance
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.entities.drafts import changed, inline_link, is_link, made
from pycmbs.services.entities.finding import Finder, Place
from pycmbs.services.entities.idempotency import RequestKey
from pycmbs.services.entities.links import Links
from pycmbs.services.entities.making import Made, Maker
from pycmbs.services.entities.mixins import Memberships
from pycmbs.services.entities.paging import Window
from pycmbs.services.entities.preconditions import ALWAYS, Precondition
from pycmbs.services.entities.reaching import Reach
from pycmbs.services.entities.selection import EVERYTHING, Selection, kinds_at
from pycmbs.services.records.entities import entity_write
from pycmbs.services.records.retrying import retried
from pycmbs.store.base import Store, Write

_TOGETHER = 5000
"""How many entities of a collection are deleted with one commit. It holds up others' writes: for some 0.2 s."""
_TOGETHER_APART = 1000
"""The same in a store that is not atomic anyway."""

_BEFORE_GIVING_WAY = 50
"""Entities after which other requests run."""

T = TypeVar("T")


class EntityService:
    """Every operation on entities. Each is atomic: it happens as a whole, or raises and changes nothing."""

    def __init__(
        self,
        store: Store,
        categories: CategoryService,
        access: Access,
        give_way: Callable[[], None] = lambda: None,
    ) -> None:
        """``give_way`` lets others run, in a process that has one thread for all."""
        self._store = store
        self._categories = categories
        self._access = access
        self._reach = Reach(store, categories, access)
        self.at, self.stored, self.stored_many = self._reach.at, self._reach.stored, self._reach.many
        self._links = Links(store, categories, access)
        self._acting = Acting(categories)
        self.memberships = Memberships(store, categories, self._reach, access)
        self._finder = Finder(store, categories, access, give_way)
        self._give_way = give_way
        self._maker = Maker(store, categories, access, self._reach, self._links, self._acting, self.giving_way)

    # Reading

    def get(self, path: str) -> Entity:
        """The entity at a path as it is shown. Raises UnknownEntity."""
        self._categories.registry()
        return self.shown(self._reach.reached(path, "read"))

    def shown(self, entity: Entity) -> Entity:
        """The stored entity as it is shown: with what its backend adds, and its links."""
        shown = self._backend(entity).retrieve(entity).copy()
        shown.attributes = self.schema(entity).known(shown.attributes)
        shown.links = [link for link in self._links.starting_at(entity) if self._access.permits("read", link)]
        return shown

    def schema(self, entity: Entity) -> Schema:
        """The definitions of its attributes."""
        return self._categories.snapshot.described(entity.kind, entity.mixins)

    def knows(self, entity: Entity) -> bool:
        """Whether the principal may know what an entity is."""
        return self._access.knows(entity)

    def is_resource(self, path: str) -> bool:
        """Whether a resource is at a path, or would be if it were made there without saying its kind."""
        registry = self._categories.registry()
        stored = self._reach.seen(path)
        kind = registry.get(stored.kind) if stored else registry.at(naming.folder_of(path))
        return isinstance(kind, Kind) and not is_link(registry, kind)

    def links_at(self, path: str) -> list[Entity]:
        """The links that start or end at an entity: those that go with it."""
        found = self.at(path)
        return [*self._links.starting_at(found), *self._links.ending_at(found.path)] if found else []

    def actions(self, entity: Entity) -> dict[str, Action]:
        """The actions that apply to the entity as it is now, by term."""
        return self._acting.applicable(entity)

    def check_location(self, location: str) -> None:
        """Raises UnknownLocation unless a kind or mixin is there or below, or an entity is."""
        self._finder.check_location(location)

    def check_path(self, path: str, *, makes: bool) -> None:
        """Raises UnknownEntity unless an entity is there, or, if ``makes``, a kind's location is right above."""
        registry = self._categories.registry()
        if not (makes and isinstance(registry.at(naming.folder_of(path)), Kind)):
            self._reach.reached(path, "read")

    def find(self, location: str, selection: Selection = EVERYTHING) -> list[str]:
        """The paths of the entities of a collection, in order of creation.

        Raises UnknownLocation, UnknownCategory, InvalidAttribute (a filter on what no entity there can have).
        """
        return [place.path for place in self.listed(location, selection)]

    def listed(self, location: str, selection: Selection = EVERYTHING, window: Window | None = None) -> Iterator[Place]:
        """Where the entities of a collection are, in order of creation: all, or one page of them, read in portions as they are
        asked for. Raises what :meth:`find` does."""
        return self._finder.places(location, selection, window)

    def whole(self, location: str, selection: Selection = EVERYTHING, window: Window | None = None) -> list[Entity]:
        """The entities of a collection as stored. Raises what :meth:`find` does."""
        return list(self._finder.whole(location, selection, window))

    def total(self, location: str, selection: Selection = EVERYTHING, *, whole: bool = False) -> int | None:
        """How many entities a collection has, if that can be told without reading them; ``whole``: of those that may be read.
        Raises what :meth:`find` does."""
        return self._finder.total(location, selection, whole=whole)

    def giving_way(self, some: Sequence[T]) -> Iterable[T]:
        """Each of them; other requests run in between, as long work would hold them up."""
        return some if len(some) < _BEFORE_GIVING_WAY else self._giving_way(some)

    def _giving_way(self, some: Sequence[T]) -> Iterator[T]:
        for number, one in enumerate(some, 1):
            yield one
            if number % _BEFORE_GIVING_WAY == 0:
                self._give_way()

    # Creating

    def create(self, location: str, drafts: Sequence[Draft]) -> list[Entity]:
        """Make entities of the kind at ``location``, or at ``/`` of any, all or none; with them their inline links.

        Raises DuplicateId, UnknownLocation, InvalidRequest.
        """
        return self._maker.make(location, drafts).entities

    def make(
        self,
        location: str,
        drafts: Sequence[Draft],
        invocation: Invocation | None = None,
        key: RequestKey | None = None,
    ) -> Made:
        """Make entities, as :meth:`create`, and perform an action on them, with one commit: both or neither. With a key that
        was there before with the same request, nothing is made, and what is returned is what that made.

        Raises what :meth:`create` and :meth:`act` do, and KeyReused.
        """
        return self._maker.make(location, drafts, invocation, key)

    # Changing

    def put(self, path: str, draft: Draft, precondition: Precondition = ALWAYS) -> tuple[Entity, bool]:
        """Make the entity at ``path``, or replace it there; its links stay attached (GFD.185 3.4.3). Returns it, and whether
        it is new.

        Raises InvalidRequest, ImmutableAttribute, UnknownLocation, PreconditionFailed.
        """
        id = naming.check_path(naming.canonical_path(path))
        if draft.id not in (None, id):
            raise InvalidRequest(f"the URL says the id is {id!r}, the body {draft.id!r}", field="id")

        def attempt() -> tuple[Entity, bool]:
            current = self.at(path)
            if current is not None:
                self._check_replace(current)
            precondition.check(path, current.revision if current else None)
            if current is not None:
                return self._replaced(current, draft, whole=True), False
            registry = self._categories.registry()
            kept = naming.canonical_path(path)
            folder = registry.at(naming.folder_of(kept))
            entity = made(registry, draft, folder if isinstance(folder, Kind) else None, kept)
            try:
                self._maker.write(registry, [entity], [draft])
            except DuplicateId as exc:
                if exc.data.get("id") != kept:
                    raise  # one of its links
                raise RevisionConflict(exc.message) from exc  # another request just made it: replace that
            return entity, True

        entity, new = retried(path, attempt)
        self._backend(entity).updated(entity)
        return self.shown(entity), new

    def update(self, path: str, draft: Draft, precondition: Precondition = ALWAYS) -> Entity:
        """Change what the draft gives and leave the rest; links that it gives are added.

        Raises UnknownEntity, InvalidRequest, ImmutableAttribute, PreconditionFailed.
        """

        def attempt() -> Entity:
            current = self._expected(path, precondition, "update")
            return self._replaced(current, draft, whole=False)

        entity = retried(path, attempt)
        self._backend(entity).updated(entity)
        return self.shown(entity)

    def _check_replace(self, current: Entity) -> None:
        """Raises Forbidden; for what may not be read as if a new one was not allowed."""
        if not self._access.permits("replace", current):
            raise forbidden("replace" if self._access.permits("read", current) else "create")

    def _expected(self, path: str, precondition: Precondition, operation: str) -> Entity:
        entity = self._reach.reached(path, operation)
        precondition.check(path, entity.revision)
        return entity

    def _replaced(self, current: Entity, draft: Draft, *, whole: bool) -> Entity:
        registry = self._categories.registry()
        shown = self._backend(current).retrieve(current).attributes
        entity = changed(registry, current, draft, whole=whole, shown=shown)
        writes = [*self._backend(entity).update(current, entity)]
        links = [] if whole else [inline_link(registry, link, entity) for link in draft.links or ()]
        added = self._links.added(entity, links)
        own = entity_write(entity, revision=current.revision)
        if added:
            writes = self._maker.writes(registry, added, [*writes, own])
            self._maker.store([*added, entity], writes)
            return entity
        writes += self._links.sources([entity], [])
        (*_, stored) = self._store.write([*writes, own])
        entity.revision = stored.revision
        return entity

    def modify(self, path: str, change: Callable[[Entity], bool]) -> Entity:
        """The broker's own way to change an entity: ``change`` edits a copy and says whether to store it. It is called
        again after a conflict. Raises UnknownEntity, Conflict."""

        def attempt() -> Entity:
            entity = self.stored(path)
            if change(entity):
                (stored,) = self._store.write([entity_write(entity, revision=entity.revision)])
                entity.revision = stored.revision
            return entity

        return retried(path, attempt)

    # Deleting

    def delete(self, path: str, precondition: Precondition = ALWAYS) -> None:
        """Delete one entity, and the links that start or end at it. Raises UnknownEntity, PreconditionFailed."""

        def attempt() -> list[Entity]:
            return self._write_deletion([self._expected(path, precondition, "delete")])

        self.deleted(retried(path, attempt))

    def deletion(self, entities: Sequence[Entity]) -> tuple[list[Entity], list[Write]]:
        """These entities and the links at them, and the writes that delete all of those; the last one's own is the last."""
        gone = [*self._links.around(self._categories.registry(), entities), *entities]
        for one in gone:
            self._access.check("delete", one)
        writes = self._acting.deletion(gone)
        return gone, [*self._links.sources(gone, writes), *writes]

    def deleted(self, entities: Iterable[Entity]) -> None:
        """Tell their backends that these entities are gone."""
        for entity in entities:
            self._backend(entity).deleted(entity)

    def _write_deletion(self, entities: Sequence[Entity]) -> list[Entity]:
        gone, writes = self.deletion(entities)
        self._store.write(writes)
        return gone

    def delete_all(self, location: str, selection: Selection = EVERYTHING) -> int:
        """Delete the entities of a collection, all or none up to :data:`_TOGETHER`, more in steps of as many; returns how many.
        One that has been deleted in between is fine."""
        self._finder.check_all("delete", location, selection)
        paths = self.find(location, selection)
        deleted = 0
        together = _TOGETHER if self._store.atomic else _TOGETHER_APART
        for first in range(0, len(paths), together):

            def attempt(some: Sequence[str] = paths[first : first + together]) -> tuple[int, list[Entity]]:
                there = list(self.stored_many(some).values())
                return len(there), self._write_deletion(there) if there else []

            number, gone = retried(location, attempt)
            self.deleted(gone)
            deleted += number
        return deleted

    # Acting

    def act(self, path: str, invocation: Invocation, precondition: Precondition = ALWAYS) -> Report:
        """Perform an action on one entity. What it changes of the stored entity is written first, if the precondition holds.

        Raises UnknownEntity, InvalidRequest (it does not apply), InvalidAttribute, PreconditionFailed.
        """
        return self.acted(path, invocation, precondition)[1]

    def acted(self, path: str, invocation: Invocation, precondition: Precondition = ALWAYS) -> tuple[str, Report]:
        """The same; the identifier of the action that was performed, too."""
        self._categories.registry()

        def attempt() -> Performance:
            entity = self._expected(path, precondition, f"act:{invocation.term}")
            pinned = replace(invocation, pinned=True) if precondition.pins else invocation
            return self._prepared([entity], pinned)

        ((entity, checked),) = retried(path, attempt)
        return checked.identifier, self._backend(entity).act(entity, checked)

    def _prepared(self, entities: Sequence[Entity], invocation: Invocation) -> Performance:
        for entity in entities:
            self._access.check(f"act:{invocation.term}", entity)
        prepared, writes = self._acting.prepared(entities, invocation)
        if writes:
            self._store.write(writes)
        return prepared

    def act_all(
        self, location: str, invocation: Invocation, selection: Selection = EVERYTHING
    ) -> tuple[str, dict[str, Report]]:
        """Perform an action on every entity of a collection; it must apply to all of them, or to one that could be there. What
        it changes of them is written together. Returns the action's identifier and the reports by path."""

        def attempt() -> Performance:
            return self._prepared(list(self._finder.places_whole(location, selection)), invocation)

        self._finder.check_all(f"act:{invocation.term}", location, selection)
        prepared = retried(location, attempt)
        if not prepared:
            kinds = kinds_at(self._categories.snapshot, location)
            return self._acting.checked_for(kinds, invocation), {}
        return prepared[0][1].identifier, self._acting.perform(prepared)

    def _backend(self, entity: Entity) -> Backend:
        return self._acting.backend(entity)
