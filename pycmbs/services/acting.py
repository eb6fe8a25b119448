"""Actions of entities: which apply now, whether an invocation is what the action's definition says, and what it changes."""

from __future__ import annotations

from dataclasses import replace

from pycmbs.backends.base import Backend
from pycmbs.errors import InvalidRequest
from pycmbs.occi.category import Action, Kind
from pycmbs.occi.entity import Entity, Invocation
from pycmbs.occi.schema import Schema
from pycmbs.services.categories import CategoryService
from pycmbs.services.documents import entity_write
from pycmbs.store.base import Write


class Acting:
    """What can be done to entities, by the categories of the last :meth:`CategoryService.registry`."""

    def __init__(self, categories: CategoryService) -> None:
        self._categories = categories

    def backend(self, entity: Entity) -> Backend:
        """The backend that serves the entity."""
        return self._categories.backend(self._kind(entity))

    def _kind(self, entity: Entity) -> Kind:
        return self._categories.snapshot.kind(entity.kind)

    def declared(self, entity: Entity) -> dict[str, Action]:
        """The actions that the entity's kind and mixins have, by term."""
        return self._categories.actions(self._kind(entity), entity.mixins)

    def applicable(self, entity: Entity) -> dict[str, Action]:
        """Those of them that apply to the entity as it is now, by term."""
        applies = self.backend(entity).applies
        return {term: action for term, action in self.declared(entity).items() if applies(entity, action)}

    def checked(self, entity: Entity, invocation: Invocation) -> Invocation:
        """The invocation with the action's identifier, and its attributes as the action's definition has them.

        Raises InvalidRequest (it does not apply, or not now), InvalidAttribute.
        """
        declared = self.declared(entity)
        action = declared.get(invocation.term)
        backend = self.backend(entity)
        if (
            action is None
            or invocation.identifier not in ("", action.identifier)
            or not backend.applies(entity, action)
        ):
            raise self._refusal(entity, invocation, known=action is not None)
        options = Schema({**backend.options(action), **action.attributes})
        return replace(invocation, identifier=action.identifier, attributes=options.created(invocation.attributes))

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

    def perform(self, entity: Entity, invocation: Invocation) -> dict[str, object]:
        """Have the backend do it."""
        return self.backend(entity).act(entity, invocation)
