"""Runs backend actions on entities: which apply, argument checks, their effects, what a deletion takes with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from pycmbs.backends.base import Backend, Begun, Report
from pycmbs.errors import InvalidRequest
from pycmbs.occi.category import Action, Kind, Mixin
from pycmbs.occi.entity import Entity, Invocation
from pycmbs.occi.schema import Schema
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.records.entities import entity_delete, entity_write
from pycmbs.store.base import Write

_MOST_COMBINATIONS = 1000
"""Kinds with mixins whose actions are kept: clients choose the combinations."""

Performance = list[tuple[Entity, Invocation]]
"""What is to be acted on, and how."""


@dataclass(slots=True)
class Beginning:
    """An action that backends began on entities which are not stored yet. ``identifier``: the action's."""

    identifier: str
    parts: list[tuple[list[Entity], Begun]] = field(default_factory=list)

    @property
    def writes(self) -> list[Sequence[Write]]:
        """For each of the entities, what goes before it."""
        return [writes for _, prepared in self.parts for writes in prepared.writes]

    @property
    def tried(self) -> bool:
        """Whether nothing is to be stored."""
        return any(prepared.tried for _, prepared in self.parts)

    def stored(self) -> dict[str, Report]:
        """They are stored: have the backends do what is left; the reports by path."""
        return {
            entity.path: report
            for entities, prepared in self.parts
            for entity, report in zip(entities, prepared.stored(), strict=True)
        }

    def refused(self) -> None:
        """They could not be."""
        for _, prepared in self.parts:
            prepared.refused()


class Acting:
    """What can be done to entities, by the categories of the last :meth:`CategoryService.registry`."""

    def __init__(self, categories: CategoryService) -> None:
        self._categories = categories
        self._registry: object = None
        self._declared: dict[tuple[str, ...], dict[str, tuple[Action, Schema]]] = {}

    def backend(self, entity: Entity) -> Backend:
        """The backend that serves the entity."""
        found = self._categories.snapshot.get(entity.kind)
        return self._categories.backend(found if isinstance(found, Kind) else None)

    def deletion(self, entities: Sequence[Entity]) -> list[Write]:
        """The writes that delete them, each after what goes with it."""
        groups: dict[Backend, list[Entity]] = {}
        for one in entities:
            groups.setdefault(self.backend(one), []).append(one)
        along: dict[str, Sequence[Write]] = {}
        for backend, some in groups.items():
            along |= zip((one.path for one in some), backend.delete_all(some), strict=True)
        return [write for one in entities for write in (*along[one.path], entity_delete(one))]

    def _kind(self, entity: Entity) -> Kind | None:
        """Its kind; None when that has gone since, as others may delete kinds while entities of them are made."""
        found = self._categories.snapshot.get(entity.kind)
        return found if isinstance(found, Kind) else None

    def _actions(self, entity: Entity) -> Mapping[str, tuple[Action, Schema]]:
        """The actions that the entity's kind and mixins have, by term, and what their attributes must be. Put together once
        for a registry."""
        registry = self._categories.snapshot
        if registry is not self._registry or len(self._declared) > _MOST_COMBINATIONS:
            self._registry, self._declared = registry, {}
        kept, key = self._declared, (entity.kind, *entity.mixins)
        found = kept.get(key)
        if found is None:
            options = self.backend(entity).options
            kind = self._kind(entity)
            mixins = [one for one in entity.mixins if isinstance(registry.get(one), Mixin)]
            declared = self._categories.actions(kind, mixins) if kind is not None else {}
            found = kept[key] = {
                term: (one, Schema({**options(one), **one.attributes})) for term, one in declared.items()
            }
        return found

    def applicable(self, entity: Entity) -> dict[str, Action]:
        """Those of them that apply to the entity as it is now, by term."""
        applies = self.backend(entity).applies
        return {term: action for term, (action, _) in self._actions(entity).items() if applies(entity, action)}

    def checked(self, entity: Entity, invocation: Invocation) -> Invocation:
        """The invocation with the action's identifier, and its attributes as the action's definition has them.

        Raises InvalidRequest (it does not apply, or not now), InvalidAttribute.
        """
        known = self._actions(entity).get(invocation.term)
        if known is None:
            raise self._refusal(entity, invocation, known=False)
        action, options = known
        if invocation.identifier not in ("", action.identifier) or not self.backend(entity).applies(entity, action):
            raise self._refusal(entity, invocation, known=True)
        attributes = options.created(_with_preferences(invocation, options))
        return Invocation(invocation.term, action.identifier, attributes, invocation.pinned)

    def checked_for(self, kinds: Sequence[Kind], invocation: Invocation) -> str:
        """The identifier of the action that an invocation means where there is no entity: one that an entity of these kinds
        could have, with mixins that apply to it. Raises InvalidRequest, InvalidAttribute."""
        registry = self._categories.snapshot
        mixins = [one for one in registry if isinstance(one, Mixin)]
        for kind in kinds:
            possible = [one.identifier for one in mixins if not one.applies or registry.family(kind) & set(one.applies)]
            action = self._categories.actions(kind, possible).get(invocation.term)
            if action is not None and invocation.identifier in ("", action.identifier):
                options = self._categories.backend(kind).options(action)
                Schema({**options, **action.attributes}).created(invocation.attributes)
                return action.identifier
        raise InvalidRequest(
            f"no entity here can have the action {(invocation.identifier or invocation.term)[:200]!r}",
            action=invocation.term[:200],
        )

    def _refusal(self, entity: Entity, invocation: Invocation, *, known: bool) -> InvalidRequest:
        actions = sorted(self.applicable(entity))
        hint = f"These do: {', '.join(actions)}." if actions else "None does."
        if not known:
            for mixin in self._categories.snapshot.mixins_with_action(invocation.term):
                hint = f"It comes with the mixin {mixin}. {hint}"
        now = " as it is now" if known and invocation.term not in actions else ""
        return InvalidRequest(
            f"the action {(invocation.identifier or invocation.term)[:200]!r} does not apply to {entity.path}{now}",
            hint=hint,
            action=invocation.term[:200],
        )

    def effect(self, entity: Entity, invocation: Invocation) -> tuple[Entity, list[Write]]:
        """The entity as a checked invocation leaves it, and the writes that make it so, if any."""
        after = self.backend(entity).effect(entity, invocation)
        return (entity, []) if after is None else (after, [entity_write(after, revision=entity.revision)])

    def prepared(self, entities: Sequence[Entity], invocation: Invocation) -> tuple[Performance, list[Write]]:
        """What is to be done to these entities, as an invocation leaves them, and the writes that come first. Raises
        InvalidRequest, InvalidAttribute."""
        checked = [(entity, self.checked(entity, invocation)) for entity in entities]
        found = [(*self.effect(entity, one), one) for entity, one in checked]
        return [(entity, one) for entity, _, one in found], [write for _, some, _ in found for write in some]

    def perform(self, prepared: Performance) -> dict[str, Report]:
        """Have the backends do it, those that are alike together; the reports by path."""
        reports: dict[str, Report] = {}
        for backend, entities, one in self._alike(prepared):
            together = backend.act_all(entities, one)
            reports |= {entity.path: report for entity, report in zip(entities, together, strict=True)}
        return reports

    def begin(self, entities: Sequence[Entity], invocation: Invocation) -> Beginning:
        """Have the backends begin it on entities that are not stored yet. Raises InvalidRequest, InvalidAttribute, and what
        they raise: then none has begun."""
        checked = [(entity, self.checked(entity, invocation)) for entity in entities]
        beginning = Beginning(checked[0][1].identifier)
        try:
            for backend, some, one in self._alike(checked):
                beginning.parts.append((some, backend.begin(some, one)))
        except BaseException:
            beginning.refused()
            raise
        return beginning

    def reports(self, entities: Sequence[Entity], invocation: Invocation) -> tuple[str, dict[str, Report]]:
        """The action's identifier, and what there is to tell of it by path where it was begun before."""
        checked = [(entity, self.checked(entity, invocation)) for entity in entities]
        found: dict[str, Report] = {}
        for backend, some, one in self._alike(checked):
            told = backend.reports(some, one)
            found |= {entity.path: report for entity, report in zip(some, told, strict=True)}
        return checked[0][1].identifier, found

    def _alike(self, performance: Performance) -> Iterator[tuple[Backend, list[Entity], Invocation]]:
        """The entities next to each other that have the same backend, and with which the same is to be done."""
        for one, some in itertools.groupby(performance, key=itemgetter(1)):
            for backend, alike in itertools.groupby((entity for entity, _ in some), key=self.backend):
                yield backend, list(alike), one


def _with_preferences(invocation: Invocation, options: Schema) -> dict[str, Any]:
    """The attributes that an invocation gives, and those it prefers that the action has."""
    given = invocation.attributes
    for name, value in invocation.preferred.items():
        known = options.definitions.get(name)
        if known is not None and known.type == "number" and name not in given:
            given = {**given, name: value if known.maximum is None else min(value, known.maximum)}
    return given
