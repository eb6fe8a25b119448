"""Builds entities from drafts of clients, by the definitions of kinds and mixins.

No store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pycmbs.errors import InvalidRequest
from pycmbs.occi import naming
from pycmbs.occi.category import LINK, Kind
from pycmbs.occi.entity import Draft, Entity
from pycmbs.occi.registry import Registry

SOURCE, TARGET = "occi.core.source", "occi.core.target"


def is_link(registry: Registry, kind: Kind) -> bool:
    """Whether entities of this kind are links."""
    return LINK.identifier in registry.family(kind)


def made(registry: Registry, draft: Draft, kind: Kind | None, path: str | None = None) -> Entity:
    """A new entity. ``kind``: that of the collection it goes to; ``path``: where it is to be.

    Raises InvalidRequest, UnknownCategory, InvalidAttribute.
    """
    if draft.kind is None and kind is None:
        raise InvalidRequest("the entity has no kind", hint='Add "kind".', field="kind")
    own = registry.instantiable(draft.kind if draft.kind is not None else kind.identifier if kind else "")
    if kind is not None and own.identifier != kind.identifier:
        raise InvalidRequest(
            f"{kind.location} is for {kind.identifier}, not for {own.identifier}",
            hint=f"POST it to {own.location}.",
            kind=own.identifier,
        )
    mixins = draft.mixins or ()
    registry.check_applies(own, mixins)
    path = _place(draft, path)
    id = draft.id if draft.id is not None else path.rpartition("/")[2] if path else naming.new_id()
    entity = Entity(
        id=id,
        kind=own.identifier,
        path=path or own.location + id,
        mixins=mixins,
        attributes=registry.schema(own, mixins).created(draft.attributes or {}),
        title=draft.title or "",
        summary=draft.summary or "",
        drawn=draft.id is None and path is None,
    )
    folder = naming.folder_of(entity.path)
    if folder != own.location:
        entity.private["folders"] = _folders(folder)
    return entity


def _place(draft: Draft, path: str | None) -> str | None:
    """Where an entity is to be, by its URL and by what it says itself. Raises InvalidRequest when those differ."""
    if draft.location is None:
        return path
    if path not in (None, draft.location):
        raise InvalidRequest(f"the URL says {path}, the body that it is at {draft.location[:300]}", field="location")
    id = naming.check_path(draft.location)
    if draft.id not in (None, id):
        raise InvalidRequest(f"the location says the id is {id!r}, the body {draft.id!r}", field="id")
    return draft.location


def _folders(folder: str) -> list[str]:
    parts = folder.split("/")[1:-1]
    return ["/" + "/".join(parts[:length]) + "/" for length in range(1, len(parts) + 1)]


def inline_link(registry: Registry, draft: Draft, source: Entity) -> Entity:
    """A link that a draft of its source holds (GFD.226 4.2). Raises InvalidRequest, UnknownCategory, InvalidAttribute."""
    kind = registry.instantiable(draft.kind or LINK.identifier)
    if not is_link(registry, kind):
        raise InvalidRequest(f"{kind.identifier} is not a kind of link", field="links", kind=kind.identifier)
    ends = {SOURCE: source.path, f"{SOURCE}.kind": source.kind}
    return made(registry, replace(draft, attributes={**(draft.attributes or {}), **ends}), kind)


def changed(registry: Registry, current: Entity, draft: Draft, *, whole: bool, shown: Mapping[str, Any]) -> Entity:
    """The entity after a change. ``whole``: what the draft does not give falls back to its default (PUT). ``shown`` are the
    attributes as clients see them.

    Raises InvalidRequest, UnknownCategory, InvalidAttribute, ImmutableAttribute.
    """
    if draft.kind not in (None, current.kind):
        raise InvalidRequest(f"{current.path} is a {current.kind}: its kind cannot change", field="kind")
    if draft.id not in (None, current.id):
        raise InvalidRequest(f"the id of {current.path} is {current.id!r} and cannot change", field="id")
    if draft.location not in (None, naming.canonical_path(current.path)):
        raise InvalidRequest(f"{current.path} cannot move: the body says that it is elsewhere", field="location")
    kind = registry.kind(current.kind)
    entity = current.copy()
    if draft.mixins is not None or whole:
        kept = current.mixins if draft.adds_mixins and not whole else ()
        entity.mixins = tuple(dict.fromkeys([*kept, *(draft.mixins or ())]))
        registry.check_applies(kind, entity.mixins)
    entity.attributes = registry.schema(kind, entity.mixins).changed(
        current.attributes,
        draft.attributes or {},
        replace=whole,
        shown=shown,
        fresh=registry.brought_by(set(entity.mixins) - set(current.mixins)),
    )
    for name in ("title", "summary"):
        value = getattr(draft, name)
        if value is not None:
            setattr(entity, name, value)
        elif whole:
            setattr(entity, name, "")
    return entity


def with_mixin(registry: Registry, current: Entity, mixin: str, *, member: bool) -> Entity | None:
    """The entity with or without a mixin; None when that is how it is. Raises InvalidRequest, UnknownCategory."""
    if member == (mixin in current.mixins):
        return None
    entity, kind = current.copy(), registry.kind(current.kind)
    rest = tuple(one for one in current.mixins if one != mixin)
    entity.mixins = (*rest, mixin) if member else rest
    registry.check_applies(kind, entity.mixins)
    entity.attributes = registry.schema(kind, entity.mixins).changed(
        current.attributes, {}, replace=False, fresh=registry.brought_by([mixin]) if member else ()
    )
    return entity
