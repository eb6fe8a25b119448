"""The dummy backend: stores entities and lets every applicable action succeed, as pyOCNI's backend of that name."""

from __future__ import annotations

from typing import ClassVar

from pycmbs.backends import infrastructure
from pycmbs.backends.base import Backend, Report
from pycmbs.occi.category import Action
from pycmbs.occi.entity import Entity, Invocation


class DummyBackend(Backend):
    """For kinds whose entities are only described: the default of every kind that is registered at run time."""

    name: ClassVar[str] = "dummy"
    owned: ClassVar[frozenset[str]] = infrastructure.STATES

    def applies(self, entity: Entity, action: Action) -> bool:
        """By the state, for what has one in the standard."""
        return infrastructure.applies(entity, action)

    def effect(self, entity: Entity, invocation: Invocation) -> Entity | None:
        """The next state."""
        return infrastructure.after(entity, invocation)

    def act(self, entity: Entity, invocation: Invocation) -> Report:
        """Nothing else to do, and said so."""
        del entity, invocation
        return {}
