"""``cmbs_member``: members of the federation; starts and stops layers, discovers neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from pycmbs.backends.base import Backend, Host, Report
from pycmbs.occi import cmbs
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import Action
from pycmbs.occi.entity import Entity, Invocation
from pycmbs.occi.layers import LAYERS, layer_of
from pycmbs.services.federation.members import MemberService
from pycmbs.store.base import Write


def _actions() -> dict[str, Action]:
    actions = {
        "check_neighbors": "discover the members behind the neighbours",
        "start": "start listening on all layers",
        "stop": "stop listening on all layers",
    }
    for layer in LAYERS:
        actions[f"start_{layer}"] = f"start listening on {layer.upper()}"
        actions[f"stop_{layer}"] = f"stop listening on {layer.upper()}"
    return {term: Action(cmbs.MEMBER_ACTIONS, term, title) for term, title in actions.items()}


class _Host(Host, Protocol):
    @property
    def members(self) -> MemberService:
        """The federation's members."""


class MemberBackend(Backend):
    """One member is the broker's own (``local``); the others are where messages can go."""

    host: _Host

    name: ClassVar[str] = "cmbs_member"
    attributes: ClassVar[Mapping[str, AttributeDefinition]] = cmbs.MEMBER_ATTRIBUTES
    actions: ClassVar[Mapping[str, Action]] = _actions()

    def create(self, entity: Entity) -> Sequence[Write]:
        """Refuses a second local member and invalid socket URLs."""
        return self.host.members.check_new(entity)

    def retrieve(self, entity: Entity) -> Entity:
        """Adds by which identity the member is known, and of another broker's its health and by what it is trusted."""
        members = self.host.members
        added = members.identified(entity)
        if health := members.health(entity):
            added[cmbs.HEALTH] = health
        if not added:
            return entity
        shown = entity.copy()
        shown.attributes.update(added)
        return shown

    def update(self, old: Entity, new: Entity) -> Sequence[Write]:
        """Refuses invalid socket URLs, and, of a layer that is listening, one that cannot be bound."""
        self.host.members.check_update(old, new)
        return ()

    def updated(self, entity: Entity) -> None:
        """Listens where the member now says."""
        self.host.members.apply_sockets(entity)

    def delete(self, entity: Entity) -> Sequence[Write]:
        """Stops listening."""
        return self.host.members.release(entity)

    def deleted(self, entity: Entity) -> None:
        """Tells the others that the own member left."""
        self.host.members.leave(entity)

    def act(self, entity: Entity, invocation: Invocation) -> Report:
        """``start``, ``start_*``, ``stop``, ``stop_*``, ``check_neighbors``."""
        if invocation.term == "check_neighbors":
            return self.host.members.check_neighbors(entity)
        layer = layer_of("start", invocation.term) or layer_of("stop", invocation.term)
        verb = invocation.term.removesuffix(f"_{layer}") if layer else invocation.term
        if verb == "start":
            return self.host.members.start(entity, [layer] if layer else ())
        if verb == "stop":
            return self.host.members.stop(entity, [layer] if layer else ())
        return super().act(entity, invocation)
