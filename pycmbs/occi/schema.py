"""Validates the attributes of an entity: by the definitions of its kind, its kind's parents and its mixins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from pycmbs.errors import ImmutableAttribute, InvalidAttribute
from pycmbs.occi import naming
from pycmbs.occi.attribute import AttributeDefinition

_MOST_DEPTH = 32


class Schema:
    """The merged, ready-to-use definitions. Immutable; one is shared by all entities of the same kind and mixins."""

    def __init__(
        self,
        definitions: Mapping[str, AttributeDefinition],
        elsewhere: Callable[[str], Sequence[str]] = lambda _name: (),
    ) -> None:
        """``elsewhere`` tells which mixins have an attribute that is not among the definitions."""
        self._elsewhere = elsewhere
        self.definitions = dict(definitions)
        self._levels = {
            ".".join(parts[:length])
            for parts in (name.split(".") for name in self.definitions)
            for length in range(1, len(parts))
        }
        self._required = [name for name, one in self.definitions.items() if one.required and not one.internal]
        self._defaults = {
            name: initial for name, one in self.definitions.items() if (initial := one.initial()) is not None
        }

    def flatten(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Full dotted names for attributes that were sent nested (2012) or flat (1.2).

        The descent stops at a declared name, so that an attribute of type object keeps its inside. A leaf that is not
        declared raises InvalidAttribute with the names that come close.
        """
        flat: dict[str, Any] = {}
        self._flatten(given, "", 0, flat)
        return flat

    def _flatten(self, level: Mapping[str, Any], prefix: str, depth: int, flat: dict[str, Any]) -> None:
        for key, value in level.items():
            name = prefix + key
            if "l3." in name:
                name = naming.canonical(name)
            if name in self.definitions:
                flat[name] = value
            elif isinstance(value, dict) and depth < _MOST_DEPTH and name in self._levels:
                # Whether there are attributes below the name: then nothing inside it means none of them.
                self._flatten(value, prefix + key + ".", depth + 1, flat)
            else:
                raise self._unknown(name)

    def _unknown(self, name: str) -> InvalidAttribute:
        holders = self._elsewhere(name)
        if holders:
            hint = f'The mixin {holders[0]} has it: add that to "mixins".'
            return InvalidAttribute(f"there is no attribute {name[:200]} here", hint=hint, attribute=name[:200])
        last = name.rpartition(".")[2]
        close = sorted(known for known in self.definitions if known.rpartition(".")[2][:3] == last[:3])
        known = close or sorted(self.definitions)
        hint = f"It has: {', '.join(known[:12])}." if known else "It has no attributes."
        return InvalidAttribute(f"there is no attribute {name[:200]}", hint=hint, attribute=name[:200])

    def created(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All attributes of a new entity: the given ones checked, defaults for the rest. Raises InvalidAttribute."""
        attributes = dict(self._defaults)
        for name, value in self.flatten(given).items():
            definition = self.definitions[name]
            if definition.internal:
                self._refuse_change(definition, attributes.get(name), value)
            else:
                attributes[name] = definition.check(value)
        self._check_required(attributes)
        return attributes

    def changed(
        self,
        current: Mapping[str, Any],
        given: Mapping[str, Any],
        *,
        replace: bool,
        shown: Mapping[str, Any] | None = None,
        fresh: Collection[str] = (),
    ) -> dict[str, Any]:
        """All attributes after an update. ``replace``: what was not given falls back to its default (PUT); else it stays
        (POST). Sending back an immutable attribute as it is, or as clients are ``shown`` it, changes nothing; changing it
        raises ImmutableAttribute. ``fresh`` are attributes that a mixin has just brought: their defaults hold."""
        attributes = {name: self._defaults[name] for name in fresh if name in self._defaults} | self.known(current)
        if replace:
            kept = {name: value for name, value in attributes.items() if not self._writable(name)}
            attributes = {**self._defaults, **kept}
        for name, value in self.flatten(given).items():
            definition = self.definitions[name]
            if self._writable(name):
                attributes[name] = definition.check(value)
            else:
                self._refuse_change(definition, (shown or current).get(name), value)
        self._check_required(attributes)
        return attributes

    def known(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Those of an entity's attributes that are still defined: a mixin or a definition may have gone."""
        return {name: value for name, value in attributes.items() if name in self.definitions}

    def _writable(self, name: str) -> bool:
        definition = self.definitions[name]
        return definition.mutable and not definition.internal

    def _refuse_change(self, definition: AttributeDefinition, current: Any, value: Any) -> None:
        checked = definition.check(value)
        if checked != current and not (current is None and checked in ("", [], {}, None)):
            owner = "only the broker sets it" if definition.internal else "it is immutable"
            raise ImmutableAttribute(f"{definition.name} cannot be changed: {owner}", attribute=definition.name)

    def _check_required(self, attributes: Mapping[str, Any]) -> None:
        for name in self._required:
            if attributes.get(name) in (None, ""):
                raise InvalidAttribute(f"{name} is required", attribute=name)

    def checked_filter(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Attributes to filter by, in the spelling they are kept in. A value that no entity can have is kept as it is."""
        flat = self.flatten(given)
        for name, value in flat.items():
            try:
                flat[name] = self.definitions[name].check(value)
            except InvalidAttribute:
                continue
        return flat


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The nested form of 2012 of flat attributes. A name that is also the prefix of another stays flat."""
    tree: dict[str, Any] = {}
    names = set(flat)
    for name, value in flat.items():
        parts = name.split(".")
        if any(".".join(parts[:length]) in names for length in range(1, len(parts))):
            tree[name] = value
            continue
        level = tree
        for part in parts[:-1]:
            level = level.setdefault(part, {})
        level[parts[-1]] = value
    return tree


def merged(layers: Iterable[Mapping[str, AttributeDefinition]]) -> dict[str, AttributeDefinition]:
    """One table from several; a later layer overrides an earlier one (a template's defaults override its kind's)."""
    table: dict[str, AttributeDefinition] = {}
    for layer in layers:
        table.update(layer)
    return table
