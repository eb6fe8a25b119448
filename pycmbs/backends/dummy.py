"""``dummy``: keeps entities and answers every action that applies with success, as pyOCNI's backend of that name."""

from __future__ import annotations

from typing import ClassVar

from pycmbs.backends.base import Backend, Report
from pycmbs.occi.entity import Entity, Invocation


class DummyBackend(Backend):
    """For kinds whose entities are only described: the default of every kind that is registered at run time."""

    name: ClassVar[str] = "dummy"

    def act(self, entity: Entity, invocation: Invocation) -> Report:
        """Nothing to do, and said so."""
        del entity, invocation
        return {}
