"""The backend ``lamp``: entities of a kind with the attribute ``example.lamp.state`` and the actions ``on`` and ``off``.

The state is kept in the entity, which all processes of the broker share. What a real lamp needs besides (a call to its
controller) belongs into :meth:`LampBackend.act`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pycmbs.backends.base import Backend, Report
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import Action
from pycmbs.occi.entity import Entity, Invocation
from pycmbs.store.base import Write

STATE = "example.lamp.state"
_SCHEME = "http://example.org/lamp/action#"


class LampBackend(Backend):
    """Lamps, which are off at first."""

    name: ClassVar[str] = "lamp"
    attributes: ClassVar[Mapping[str, AttributeDefinition]] = {
        STATE: AttributeDefinition(STATE, mutable=False, pattern="on|off", default="off", has_default=True)
    }
    owned: ClassVar[frozenset[str]] = frozenset({STATE})
    actions: ClassVar[Mapping[str, Action]] = {
        "on": Action(_SCHEME, "on", "switch it on"),
        "off": Action(_SCHEME, "off", "switch it off"),
    }

    def create(self, entity: Entity) -> Sequence[Write]:
        """A new lamp is off. Nothing else is stored with it."""
        entity.attributes.setdefault(STATE, "off")
        return ()

    def applies(self, entity: Entity, action: Action) -> bool:
        """Only what changes its state: a lamp that is on cannot be switched on."""
        return entity.attributes.get(STATE) != action.term

    def effect(self, entity: Entity, invocation: Invocation) -> Entity | None:
        """The lamp in its new state, which is stored before :meth:`act` is called."""
        if invocation.term not in self.actions:
            return None
        changed = entity.copy()
        changed.attributes[STATE] = invocation.term
        return changed

    def act(self, entity: Entity, invocation: Invocation) -> Report:
        """Switch it; the report is the answer to the client."""
        if invocation.term not in self.actions:
            return super().act(entity, invocation)
        return {"state": invocation.term}
