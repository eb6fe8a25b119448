"""The registry: an immutable snapshot of all categories, by identifier and by location."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from pycmbs.errors import InvalidCategory, InvalidRequest, UnknownCategory
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import (
    CORE_KINDS,
    CORE_NAME,
    ENTITY,
    RESOURCE,
    Action,
    Attributes,
    Category,
    Kind,
    Mixin,
)
from pycmbs.occi.schema import Schema, merged

_BESIDE = (ENTITY, RESOURCE)
"""Kinds whose attributes (id, title, summary) are no part of an entity's attributes, but stand beside them."""

MOST_GENERATIONS = 32
"""How many kinds may descend from each other in a row, ``entity`` and ``resource`` among them."""

C = TypeVar("C", bound=Category)
Extras = Callable[[Kind], Mapping[str, AttributeDefinition]]
"""What a kind's backend knows of, whether the kind declares it or not."""
Owned = Callable[[Kind], Collection[str]]
"""Which immutable attributes a kind's backend alone sets."""


class Registry:
    """All categories at one moment. A change of the categories makes a new one."""

    def __init__(
        self, categories: Iterable[Category], extras: Extras = lambda _kind: {}, owned: Owned = lambda _kind: ()
    ) -> None:
        self._by_identifier = {category.identifier: category for category in categories}
        self._extras, self._owned = extras, owned
        self._by_location = {
            category.location: category
            for category in self._by_identifier.values()
            if isinstance(category, Kind | Mixin) and category.location
        }
        self._schemas: dict[tuple[str, ...], Schema] = {}
        self._applying: set[tuple[str, ...]] = set()
        self._families: dict[str, frozenset[str]] = {}

    def __iter__(self) -> Iterator[Category]:
        return iter(self._by_identifier.values())

    def get(self, identifier: str) -> Category | None:
        """The category, or None."""
        return self._by_identifier.get(identifier)

    def at(self, location: str) -> Kind | Mixin | None:
        """The kind or mixin at this location, or None."""
        return self._by_location.get(location)

    def kind(self, identifier: str) -> Kind:
        """The kind. Raises UnknownCategory."""
        return self._typed(identifier, Kind)

    def mixin(self, identifier: str) -> Mixin:
        """The mixin. Raises UnknownCategory."""
        return self._typed(identifier, Mixin)

    def action(self, identifier: str) -> Action:
        """The action. Raises UnknownCategory."""
        return self._typed(identifier, Action)

    def category(self, identifier: str) -> Category:
        """The category of any class. Raises UnknownCategory."""
        return self._typed(identifier, Category)

    def _typed(self, identifier: str, wanted: type[C]) -> C:
        found = self._by_identifier.get(identifier)
        if isinstance(found, wanted):
            return found
        known = sorted(one.identifier for one in self if isinstance(one, wanted))
        raise UnknownCategory(
            f"there is no {wanted.class_ or 'category'} {identifier[:300]!r}",
            hint=f"The broker knows {', '.join(known[:8])}; GET /-/ lists them all." if known else "GET /-/ lists all.",
            category=identifier[:300],
        )

    def family(self, kind: Kind) -> frozenset[str]:
        """The identifiers of the kind and its parents."""
        family = self._families.get(kind.identifier)
        if family is None:
            family = self._families[kind.identifier] = frozenset(one.identifier for one in self.lineage(kind))
        return family

    def lineage(self, kind: Kind) -> list[Kind]:
        """The kind's parents from the root down, and the kind itself."""
        chain = [kind]
        while chain[0].parent:
            parent = self.kind(chain[0].parent)
            if len(chain) == MOST_GENERATIONS or parent.identifier == kind.identifier:
                raise InvalidCategory(
                    f"the kind {kind.identifier} is its own ancestor, or has more than {MOST_GENERATIONS - 1}",
                    category=kind.identifier,
                )
            chain.insert(0, parent)
        return chain

    def schema(self, kind: Kind, mixins: Iterable[str]) -> Schema:
        """The definitions that hold for entities of this kind with these mixins. Compiled once. Raises UnknownCategory."""
        key = (kind.identifier, *mixins)
        schema = self._schemas.get(key)
        if schema is None:
            own = merged(_own_attributes(one) for one in self.lineage(kind) if one not in _BESIDE)
            layers = [own, *(_within(own, _own_attributes(one)) for one in self._with_depends(key[1:]))]
            layers.append(self._extras(kind))
            if len(self._schemas) > 1000:  # clients choose the combinations: don't keep them all
                self._schemas.clear()
            table = merged(layers)
            states = {one: table[one] for one in self._owned(kind) if one in table and not table[one].mutable}
            table |= {name: replace(one, internal=True) for name, one in states.items()}
            schema = self._schemas[key] = Schema(table, self._mixins_with)
        return schema

    def described(self, kind: str, mixins: Sequence[str]) -> Schema:
        """The definitions that hold for a stored entity. A category of it may have gone since: then it counts for nothing."""
        schema = self._schemas.get((kind, *mixins))
        if schema is not None:
            return schema
        found = self.get(kind)
        there = [one for one in mixins if isinstance(self.get(one), Mixin)]
        return self.schema(found, there) if isinstance(found, Kind) else Schema({})

    def _mixins_with(self, attribute: str) -> list[str]:
        return [one.identifier for one in self if isinstance(one, Mixin) and attribute in one.attributes]

    def mixins_with_action(self, term: str) -> list[str]:
        """The mixins that bring an action of this term."""
        return [
            one.identifier
            for one in self
            if isinstance(one, Mixin) and any(name.rpartition("#")[2] == term for name in one.actions)
        ]

    def _with_depends(self, mixins: Iterable[str]) -> list[Mixin]:
        found: dict[str, Mixin] = {}

        waiting = list(mixins)[::-1]
        while waiting:
            identifier = waiting.pop()
            if identifier not in found:
                mixin = found[identifier] = self.mixin(identifier)
                waiting += [one for one in reversed(mixin.depends) if isinstance(self.get(one), Mixin)]
        return list(found.values())

    def brought_by(self, mixins: Iterable[str]) -> set[str]:
        """The names of the attributes that mixins, and those they depend on, have. Raises UnknownCategory."""
        return {name for mixin in self._with_depends(mixins) for name in mixin.attributes}

    def check_applies(self, kind: Kind, mixins: Iterable[str]) -> None:
        """Raises InvalidRequest when a mixin is not made for this kind (GFD.221 4.4.2), UnknownCategory."""
        key = (kind.identifier, *mixins)
        if key in self._applying:
            return
        family = self.family(kind)
        for mixin in self._with_depends(key[1:]):
            if mixin.applies and not family & set(mixin.applies):
                raise InvalidRequest(
                    f"the mixin {mixin.identifier} does not apply to {kind.identifier}",
                    hint=f"It applies to {', '.join(mixin.applies)}.",
                    category=mixin.identifier,
                )
        if len(self._applying) > 1000:
            self._applying.clear()
        self._applying.add(key)

    def actions(self, kind: Kind, mixins: Iterable[str]) -> dict[str, Action]:
        """The actions that apply, by term: the kind's, its parents' and the mixins'."""
        holders: list[Kind | Mixin] = [*self.lineage(kind), *self._with_depends(mixins)]
        names = [name for holder in holders for name in holder.actions]
        return {action.term: action for name in names if isinstance(action := self.get(name), Action)}

    def instantiable(self, identifier: str) -> Kind:
        """The kind, if entities of it may be made. Raises UnknownCategory, InvalidRequest."""
        kind = self.kind(identifier)
        if kind.identifier == ENTITY.identifier:
            raise InvalidRequest(f"{identifier} has no instances of its own", category=identifier)
        return kind


def _within(own: Mapping[str, AttributeDefinition], brought: Mapping[str, AttributeDefinition]) -> Attributes:
    """The attributes that a mixin brings. Of one that the kind has it sets the default and what values are taken (GFD.221
    4.4.2), and does not make another one: who reads the kind's attribute relies on its type, and on who may change it."""
    found = dict(brought)
    for name in own.keys() & brought.keys():
        kinds, one = own[name], brought[name]
        type = one.type if kinds.type == "any" else kinds.type
        found[name] = replace(one, type=type, mutable=kinds.mutable and one.mutable)
    return found


def _own_attributes(category: Category) -> Mapping[str, AttributeDefinition]:
    """The attributes that a category defines. Those of OCCI Core are defined only by its kinds, even if others repeat them."""
    if category in CORE_KINDS or not any(name.startswith(f"{CORE_NAME}.") for name in category.attributes):
        return category.attributes
    return {name: one for name, one in category.attributes.items() if not name.startswith(f"{CORE_NAME}.")}
