"""Entities: created, read, found, changed, deleted and acted on, whatever their kind (GFD.223 5.5, 5.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from pycmbs.backends.base import Backend, Report
from pycmbs.errors import (
    Conflict,
    DuplicateId,
    InvalidRequest,
    RevisionConflict,
    UnknownEntity,
)
from pycmbs.occi import naming
from pycmbs.occi.category import Action, Kind
from pycmbs.occi.entity import Draft, Entity, Invocation
from pycmbs.occi.registry import Registry
from pycmbs.services.categories import CategoryService
from pycmbs.services.documents import (
    ENTITY,
    document_id,
    entity_delete,
    entity_from,
    entity_write,
)
from pycmbs.services.selection import EVERYTHING, Plan, Selection, collection, collections_hint, plans
from pycmbs.store.base import Query, Store, Write

_FIRST_PAGE, _PAGE = 100, 1000
"""A first page is small, and read at once; more is read in pages that the store may read in the background."""
_TRIES = 20

T = TypeVar("T")


class EntityService:
    """Every operation on entities. Each is atomic: it happens as a whole, or raises and changes nothing."""

    def __init__(self, store: Store, categories: CategoryService) -> None:
        self._store = store
        self._categories = categories

    # Reading

    def get(self, path: str) -> Entity:
        """The entity at a path as it is shown. Raises UnknownEntity."""
        self._categories.registry()
        entity = self.stored(path)
        shown = self._backend(entity).retrieve(entity)
        registry = self._categories.snapshot
        attributes = registry.schema(registry.kind(entity.kind), entity.mixins).known(shown.attributes)
        return replace(shown, attributes=attributes)

    def stored(self, path: str) -> Entity:
        """The entity at a path as it is stored. Raises UnknownEntity."""
        document = self._store.get(document_id(path))
        if document is None:
            raise self._unknown(path)
        return entity_from(document)

    def stored_many(self, paths: Iterable[str]) -> dict[str, Entity]:
        """Those of the entities at these paths that exist, as stored, by path."""
        found = self._store.get_many([document_id(path) for path in paths])
        return {document.body["path"]: entity_from(document) for document in found.values()}

    def _unknown(self, path: str) -> UnknownEntity:
        folder = path[: path.rfind("/") + 1]
        registry = self._categories.registry()
        category = registry.at(folder)
        if category is not None:
            there = self._store.find(
                Query(ENTITY, {"kind" if isinstance(category, Kind) else "mixin": category.identifier}, limit=3)
            )
            hint = f"There is {', '.join(one.body['path'] for one in there)}." if there else f"{folder} is empty."
        elif registry.at(path + "/") is not None or path == "/-":
            hint = f"That path ends with '/': {path}/."
        else:
            hint = collections_hint(registry, path)
        return UnknownEntity(f"there is no entity at {path[:300]}", hint=hint, location=path[:300])

    def actions(self, entity: Entity) -> dict[str, Action]:
        """The actions that apply to the entity, by term."""
        return self._categories.actions(self._kind(entity), entity.mixins)

    def find(self, location: str, selection: Selection = EVERYTHING) -> list[str]:
        """The paths of the entities of a collection, in order of creation.

        Raises UnknownLocation, UnknownCategory, InvalidAttribute (a filter on what no entity there can have).
        """
        return [entity.path for entity in self._iterate(location, selection)]

    def _iterate(self, location: str, selection: Selection) -> Iterator[Entity]:
        alternatives = plans(self._categories.registry(), location, selection)
        if len(alternatives) == 1:
            yield from self._pages(alternatives[0])
        else:
            merged = {entity.path: entity for plan in alternatives for entity in self._pages(plan)}
            yield from sorted(merged.values(), key=lambda entity: entity.number)

    def _pages(self, plan: Plan) -> Iterator[Entity]:
        after, limit = 0, _FIRST_PAGE
        while documents := self._store.find(replace(plan.query, after=after, limit=limit)):
            yield from (entity for entity in map(entity_from, documents) if plan.holds(entity))
            if len(documents) < limit:
                return
            after, limit = documents[-1].number, _PAGE

    # Creating

    def create(self, location: str, drafts: Sequence[Draft]) -> list[Entity]:
        """Make entities of the kind at ``location``, all or none. Raises DuplicateId, UnknownLocation, InvalidRequest."""
        registry = self._categories.registry()
        kind = collection(registry, location)
        if not isinstance(kind, Kind):
            raise InvalidRequest(
                f"{location} is no kind's location", hint="POST entities to the location of their kind."
            )
        entities = self._retried(location, lambda: self._created(registry, kind, drafts))
        for entity in entities:
            self._backend(entity).updated(entity)
        return entities

    def _created(self, registry: Registry, kind: Kind, drafts: Sequence[Draft]) -> list[Entity]:
        entities = [self._new(registry, draft, kind, None) for draft in drafts]
        writes: list[Write] = []
        for entity in entities:
            writes += self._backend(entity).create(entity)
            writes.append(entity_write(entity, revision=None))
        ids = [write.id for write in writes]
        if len(set(ids)) < len(ids):
            twice = _plain(next(one for one in ids if ids.count(one) > 1))
            if twice not in {entity.path for entity in entities}:
                raise Conflict("the request makes two entities of which there can be one", hint="Make one of them.")
            raise DuplicateId(f"the request describes {twice} twice", id=twice)
        try:
            self._store.write(writes)
        except RevisionConflict as exc:
            path = _plain(str(exc.data.get("id", "")))
            if path not in {entity.path for entity in entities}:
                raise  # what a backend wrote along was changed meanwhile: the same again may pass
            raise DuplicateId(
                f"{path} exists already", hint="PUT replaces it, POST to its own URL changes it.", id=path
            ) from exc
        return entities

    def _new(self, registry: Registry, draft: Draft, kind: Kind | None, path: str | None) -> Entity:
        if draft.kind is None and kind is None:
            raise InvalidRequest("the entity does not say its kind", hint='Add "kind".', field="kind")
        own = registry.instantiable(draft.kind if draft.kind is not None else kind.identifier if kind else "")
        if kind is not None and own.identifier != kind.identifier:
            raise InvalidRequest(
                f"{kind.location} is for {kind.identifier}, not for {own.identifier}",
                hint=f"POST it to {own.location}.",
                kind=own.identifier,
            )
        mixins = draft.mixins or ()
        registry.check_applies(own, mixins)
        id = draft.id if draft.id is not None else path.rpartition("/")[2] if path else naming.new_id()
        return Entity(
            id=id,
            kind=own.identifier,
            path=path or own.location + id,
            mixins=mixins,
            attributes=registry.schema(own, mixins).created(draft.attributes or {}),
            title=draft.title or "",
            summary=draft.summary or "",
            links=draft.links or [],
        )

    # Changing

    def put(self, path: str, draft: Draft) -> tuple[Entity, bool]:
        """Make the entity at ``path``, or replace it there. Returns it, and whether it is new.

        Raises InvalidRequest, ImmutableAttribute, UnknownLocation.
        """
        id = naming.check_path(path)
        if draft.id not in (None, id):
            raise InvalidRequest(f"the URL says the id is {id!r}, the body {draft.id!r}", field="id")

        def attempt() -> tuple[Entity, bool]:
            document = self._store.get(document_id(path))
            if document is not None:
                return self._replaced(entity_from(document), draft, whole=True), False
            registry = self._categories.registry()
            folder = registry.at(path[: path.rfind("/") + 1])
            entity = self._new(registry, draft, folder if isinstance(folder, Kind) else None, path)
            writes = [*self._backend(entity).create(entity), entity_write(entity, revision=None)]
            (*_, stored) = self._store.write(writes)
            entity.revision = stored.revision
            return entity, True

        entity, new = self._retried(path, attempt)
        self._backend(entity).updated(entity)
        return self._backend(entity).retrieve(entity), new

    def update(self, path: str, draft: Draft) -> Entity:
        """Change what the draft gives and leave the rest. Raises UnknownEntity, InvalidRequest, ImmutableAttribute."""
        entity = self._retried(path, lambda: self._replaced(self.stored(path), draft, whole=False))
        self._backend(entity).updated(entity)
        return self._backend(entity).retrieve(entity)

    def _replaced(self, current: Entity, draft: Draft, *, whole: bool) -> Entity:
        if draft.kind not in (None, current.kind):
            raise InvalidRequest(f"{current.path} is a {current.kind}: its kind cannot change", field="kind")
        if draft.id not in (None, current.id):
            raise InvalidRequest(f"the id of {current.path} is {current.id!r} and cannot change", field="id")
        registry = self._categories.registry()
        kind = registry.kind(current.kind)
        entity = current.copy()
        if draft.mixins is not None or whole:
            entity.mixins = draft.mixins or ()
            registry.check_applies(kind, entity.mixins)
        shown = self._backend(current).retrieve(current).attributes
        entity.attributes = registry.schema(kind, entity.mixins).changed(
            current.attributes,
            draft.attributes or {},
            replace=whole,
            shown=shown,
            fresh=registry.brought_by(set(entity.mixins) - set(current.mixins)),
        )
        for name in ("title", "summary", "links"):
            value = getattr(draft, name)
            if value is not None:
                setattr(entity, name, value)
            elif whole and name != "links":  # links stay attached: GFD.185 3.4.3
                setattr(entity, name, "")
        writes = [*self._backend(entity).update(current, entity), entity_write(entity, revision=current.revision)]
        (*_, stored) = self._store.write(writes)
        entity.revision = stored.revision
        return entity

    def modify(self, path: str, change: Callable[[Entity], bool]) -> Entity:
        """The broker's own way to change an entity: ``change`` edits a copy and says whether to store it. It is called
        again when somebody else was faster. Raises UnknownEntity, Conflict."""

        def attempt() -> Entity:
            entity = self.stored(path)
            if change(entity):
                (stored,) = self._store.write([entity_write(entity, revision=entity.revision)])
                entity.revision = stored.revision
            return entity

        return self._retried(path, attempt)

    def _retried(self, path: str, attempt: Callable[[], T]) -> T:
        for _ in range(_TRIES):
            try:
                return attempt()
            except RevisionConflict:
                continue
        raise Conflict(f"others keep changing {path}", hint="Try again.", location=path)

    def associate(self, mixin: str, paths: Sequence[str], *, member: bool = True) -> None:
        """Give a mixin to existing entities, or, with ``member`` false, take it from them (GFD.223 5.5.3, 5.5.5).

        Raises UnknownEntity, InvalidRequest.
        """
        registry = self._categories.registry()

        def attempt() -> None:
            writes: list[Write] = []
            for path in dict.fromkeys(paths):
                current = self.stored(path)
                if member == (mixin in current.mixins):
                    continue
                entity, kind = current.copy(), registry.kind(current.kind)
                rest = tuple(one for one in current.mixins if one != mixin)
                entity.mixins = (*rest, mixin) if member else rest
                registry.check_applies(kind, entity.mixins)
                entity.attributes = registry.schema(kind, entity.mixins).changed(
                    current.attributes, {}, replace=False, fresh=registry.brought_by([mixin])
                )
                writes += [
                    *self._backend(entity).update(current, entity),
                    entity_write(entity, revision=entity.revision),
                ]
            if writes:
                self._store.write(writes)

        self._retried(mixin, attempt)

    # Deleting

    def delete(self, path: str) -> None:
        """Delete one entity. Raises UnknownEntity."""
        self._categories.registry()

        def attempt() -> Entity:
            entity = self.stored(path)
            self._store.write([*self._backend(entity).delete(entity), entity_delete(entity)])
            return entity

        entity = self._retried(path, attempt)
        self._backend(entity).deleted(entity)

    def delete_all(self, location: str, selection: Selection = EVERYTHING) -> int:
        """Delete the entities of a collection; returns how many. One that somebody else deleted meanwhile is fine."""
        deleted = 0
        for entity in list(self._iterate(location, selection)):
            try:
                self.delete(entity.path)
            except UnknownEntity:
                continue
            deleted += 1
        return deleted

    # Acting

    def act(self, path: str, invocation: Invocation) -> Report:
        """Perform an action on one entity. Raises UnknownEntity, InvalidRequest (it does not apply)."""
        self._categories.registry()
        entity = self.stored(path)
        self._check_applies(entity, invocation)
        return self._backend(entity).act(entity, invocation)

    def act_all(self, location: str, invocation: Invocation, selection: Selection = EVERYTHING) -> dict[str, Report]:
        """Perform an action on every entity of a collection; it must apply to all of them. Returns the reports by path."""
        entities = list(self._iterate(location, selection))
        for entity in entities:
            self._check_applies(entity, invocation)
        return {entity.path: self._backend(entity).act(entity, invocation) for entity in entities}

    def _check_applies(self, entity: Entity, invocation: Invocation) -> None:
        actions = self.actions(entity)
        action = actions.get(invocation.term)
        if action is None or invocation.identifier not in ("", action.identifier):
            hint = f"These do: {', '.join(sorted(actions))}." if actions else "None does."
            for mixin in self._categories.snapshot.mixins_with_action(invocation.term):
                hint = f"It comes with the mixin {mixin}. {hint}"
            raise InvalidRequest(
                f"the action {(invocation.identifier or invocation.term)[:200]!r} does not apply to {entity.path}",
                hint=hint,
                action=invocation.term[:200],
            )

    def _backend(self, entity: Entity) -> Backend:
        return self._categories.backend(self._kind(entity))

    def _kind(self, entity: Entity) -> Kind:
        return self._categories.snapshot.kind(entity.kind)


def _plain(document: str) -> str:
    return document.removeprefix(f"{ENTITY}:")
