"""Filters of collections: a query of the store, and a check of the rest."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from pycmbs.errors import InvalidRequest, UnknownCategory, UnknownLocation
from pycmbs.occi import cmbs
from pycmbs.occi.category import RESOURCE, Kind, Mixin
from pycmbs.occi.entity import Draft, Entity
from pycmbs.occi.naming import canonical_path, plain_id
from pycmbs.occi.registry import Registry
from pycmbs.services.entities.drafts import SOURCE, TARGET
from pycmbs.services.records.entities import BEYOND, ENTITY, attribute_key, key_value
from pycmbs.store.base import Keys, Query

ENDS = (SOURCE, TARGET)
_MOST_ALTERNATIVES = 100
"""Entities that a body describes in part: each is asked for by itself."""
_ID, _TITLE, _SUMMARY = "occi.core.id", "occi.core.title", "occi.core.summary"


class Selection(Struct, frozen=True):
    """What a client filters by. ``drafts`` are alternatives; all else must hold for every entity."""

    categories: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    drafts: tuple[Draft, ...] = ()


EVERYTHING = Selection()


class Plan(Struct, frozen=True):
    """One alternative: the query that finds candidates, and what they must have beyond its keys."""

    query: Query
    mixins: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    unbound: bool = False
    """Whether nothing says that there is such a collection, unless it has an entity."""

    @property
    def compares(self) -> bool:
        """Whether a candidate must be read to know if it is one of the selected."""
        return bool(self.mixins or self.attributes)

    @property
    def exact(self) -> bool:
        """Whether every candidate is one of the selected."""
        return not (self.compares or self.unbound)

    def admits(self, keys: Keys) -> bool:
        """Whether what can be found by these keys is a candidate."""
        return all(value in keys.get(name, ()) for name, value in self.query.equals.items())

    def holds(self, entity: Entity) -> bool:
        """Whether a candidate is one of the selected."""
        return self.mixins <= set(entity.mixins) and all(
            _has(_value(entity, name), value) for name, value in self.attributes.items()
        )

    def within(self, keys: Mapping[str, str]) -> Plan | None:
        """The same among entities with these keys; None when it has another of them."""
        equals = self.query.equals
        if any(equals.get(name, text) != text for name, text in keys.items()):
            return None
        return replace(self, query=replace(self.query, equals={**equals, **keys}))

    def beyond(self, key: str) -> Plan:
        """The same among entities that have more items in the array of this key than are keys."""
        equals = {name: text for name, text in self.query.equals.items() if name != key}
        query = replace(self.query, equals={BEYOND: key, **equals})
        return replace(self, query=query, attributes={**self.attributes, key.lstrip("="): self.query.equals[key]})


def _has(stored: Any, wanted: Any) -> bool:
    """Whether a value is the one asked for, or an array that has it."""
    if isinstance(stored, list) and not isinstance(wanted, list):
        text = key_value(wanted)
        return any(item == wanted or (text is not None and key_value(item) == text) for item in stored)
    return bool(stored == wanted)


def _value(entity: Entity, name: str) -> Any:
    beside = {_ID: entity.id, _TITLE: entity.title, _SUMMARY: entity.summary}
    return beside[name] if name in beside else entity.attributes.get(name)


def plans(registry: Registry, location: str, selection: Selection) -> list[Plan]:
    """One plan for each alternative of the selection within the collection at ``location``.

    Raises UnknownLocation, UnknownCategory, InvalidAttribute (a filter on what no entity there can have).
    """
    scopes = _scopes(registry, location)
    alternatives = selection.drafts or (Draft(),)
    if len(alternatives) > _MOST_ALTERNATIVES:
        raise InvalidRequest(
            f"a filter has at most {_MOST_ALTERNATIVES} alternatives, not {len(alternatives)}",
            hint="Ask several times.",
        )
    found = [_plan(registry, scope, selection, draft) for scope in scopes for draft in alternatives]
    if not is_bound(registry, location):
        apart = [_plan(registry, None, selection, draft) for draft in alternatives]
        found += [
            replace(plan, query=replace(plan.query, equals={**plan.query.equals, "folder": location}), unbound=True)
            for plan in apart
            if plan is not None
        ]
    return [plan for plan in found if plan is not None]


def is_bound(registry: Registry, location: str) -> bool:
    """Whether there is a collection, even with nothing in it."""
    return location == "/" or registry.at(location) is not None


def _scopes(registry: Registry, location: str) -> list[Kind | Mixin | None]:
    """What a location holds: its kind or mixin; of one that is bound to none, those below it (GFD.185 3.4.1)."""
    if is_bound(registry, location):
        return [registry.at(location)]
    return [one for one in registry if isinstance(one, Kind | Mixin) and one.location.startswith(location)]


def kinds_at(registry: Registry, location: str) -> list[Kind]:
    """The kinds of which a collection can have entities."""
    kinds = [one for one in registry if isinstance(one, Kind)]
    found: dict[str, Kind] = {}
    for scope in _scopes(registry, location):
        if isinstance(scope, Kind):
            found[scope.identifier] = scope
        else:
            applies = set(scope.applies) if scope is not None else set()
            found |= {one.identifier: one for one in kinds if not applies or registry.family(one) & applies}
    return list(found.values())


def collection(registry: Registry, location: str) -> Kind | Mixin | None:
    """The kind or mixin at a location; None for '/', which holds every entity. Raises UnknownLocation."""
    if location == "/":
        return None
    category = registry.at(location)
    if category is None:
        raise unknown_location(registry, location)
    return category


def unknown_location(registry: Registry, location: str) -> UnknownLocation:
    """What to say of a location where nothing is."""
    return UnknownLocation(
        f"nothing is bound to {location[:300]}",
        hint=collections_hint(registry, location),
        location=location[:300],
    )


def collections_hint(registry: Registry, path: str) -> str:
    """What a client that asked for a path that is not there may have meant."""
    known = sorted(one.location for one in registry if isinstance(one, Kind | Mixin) and one.location)
    close = difflib.get_close_matches(path[:300].rstrip("/") + "/", known, 1, 0.8)
    return f"Did you mean {close[0]}?" if close else f"Collections are {', '.join(known[:12])}."


def _plan(registry: Registry, category: Kind | Mixin | None, selection: Selection, draft: Draft) -> Plan | None:
    """None when nothing can be of two kinds at once. Raises InvalidRequest for a filter that would not be heeded."""
    if draft.links:
        raise InvalidRequest(
            "entities cannot be filtered by their links",
            hint="Filter the links' collection by occi.core.source or occi.core.target.",
            field="links",
        )
    named = [category] if category is not None else []
    for name in (*selection.categories, *([draft.kind] if draft.kind else []), *(draft.mixins or ())):
        other = registry.get(name)
        if not isinstance(other, Kind | Mixin):
            raise UnknownCategory(f"there is no kind or mixin {name[:300]!r}", category=name[:300])
        named.append(other)
    kinds = list(dict.fromkeys(one.identifier for one in named if isinstance(one, Kind)))
    mixins = list(dict.fromkeys(one.identifier for one in named if isinstance(one, Mixin)))
    if len(kinds) > 1:
        return None
    equals = {"kind": kinds[0]} if kinds else {}
    if mixins:
        equals["mixin"] = mixins[0]
    rest: dict[str, Any] = {}
    beside = {_ID: draft.id, _TITLE: draft.title, _SUMMARY: draft.summary}
    given = {**selection.attributes, **(draft.attributes or {})}
    given |= {name: value for name, value in beside.items() if value is not None}
    for name, value in _checked(registry, kinds, mixins, given).items():
        text = key_value(_kept(name, value))
        if text and name != _SUMMARY:
            equals["id" if name == _ID else attribute_key(name)] = text
        else:
            rest[name] = value  # not a key: compared one by one
    return Plan(Query(ENTITY, equals), frozenset(mixins[1:]), rest)


def _kept(name: str, value: Any) -> Any:
    """A value to filter by as it is kept, where it has several spellings."""
    if not isinstance(value, str):
        return value
    if name in (_ID, cmbs.ORIGIN):
        return plain_id(value)
    return canonical_path(value) if name in ENDS and value.startswith("/") else value


def _checked(registry: Registry, kinds: list[str], mixins: list[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes to filter by under their full names, in the spelling they are kept in."""
    core = {name: value for name, value in given.items() if name.startswith("occi.core.")}
    rest = {name: value for name, value in given.items() if name not in core}
    if not rest:
        return core
    kind = registry.kind(kinds[0]) if kinds else _applicable(registry, mixins)
    family = registry.family(kind)
    possible = [
        one.identifier
        for one in registry
        if isinstance(one, Mixin) and (not one.applies or not kinds or family & set(one.applies))
    ]
    schema = registry.schema(kind, tuple(dict.fromkeys([*mixins, *possible])))
    return {**core, **schema.checked_filter(rest)}


def _applicable(registry: Registry, mixins: list[str]) -> Kind:
    for mixin in mixins:
        for name in registry.mixin(mixin).applies:
            kind = registry.get(name)
            if isinstance(kind, Kind):
                return kind
    return RESOURCE
