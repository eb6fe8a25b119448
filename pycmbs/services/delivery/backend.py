"""``cmbs_message``: messages; sends them on a layer and shows what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from pycmbs.backends.base import Backend, Begun, Host, Report
from pycmbs.occi import cmbs
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import Action
from pycmbs.occi.entity import Entity, Invocation
from pycmbs.occi.layers import layer_of
from pycmbs.services.delivery.messages import MessageService
from pycmbs.services.records.entities import RECEIVED
from pycmbs.services.records.times import timestamp
from pycmbs.store.base import Write


class _Host(Host, Protocol):
    @property
    def messages(self) -> MessageService:
        """Messages and their deliveries."""


class MessageBackend(Backend):
    """A message is created first and sent by an action, as often as one likes."""

    host: _Host

    name: ClassVar[str] = "cmbs_message"
    attributes: ClassVar[Mapping[str, AttributeDefinition]] = cmbs.MESSAGE_ATTRIBUTES

    def create(self, entity: Entity) -> Sequence[Write]:
        """Completes the layer and the origin."""
        self.host.messages.prepare(entity)
        return ()

    def update(self, old: Entity, new: Entity) -> Sequence[Write]:
        """Checks it like a new one, and that it may be changed now."""
        self.host.messages.prepare(new)
        self.host.messages.note_change(old, new)
        return ()

    def retrieve(self, entity: Entity) -> Entity:
        """Adds the ledger and the times."""
        shown = entity.copy()
        ledger = shown.attributes[cmbs.DELIVERIES] = self.host.messages.ledger(entity)
        if ledger:
            shown.attributes[cmbs.ACCEPTED_AT] = ledger[0]["accepted"]
        if received := entity.private.get(RECEIVED):
            shown.attributes[cmbs.RECEIVED_AT] = timestamp(received)
        return shown

    def delete(self, entity: Entity) -> Sequence[Write]:
        """What is not delivered yet is not delivered any more."""
        return self.delete_all([entity])[0]

    def delete_all(self, entities: Sequence[Entity]) -> list[Sequence[Write]]:
        """What goes with many is found together."""
        return self.host.messages.forget(entities)

    def options(self, action: Action) -> Mapping[str, AttributeDefinition]:
        """Sending may wait, or be tried only."""
        return cmbs.SEND_OPTIONS if layer_of("send", action.term) else {}

    def begin(self, entities: Sequence[Entity], invocation: Invocation) -> Begun:
        """``send_*`` is accepted with the message."""
        if layer := layer_of("send", invocation.term):
            return self.host.messages.begin(entities, layer, invocation.attributes)
        return super().begin(entities, invocation)

    def reports(self, entities: Sequence[Entity], invocation: Invocation) -> list[Report]:
        """How far they are."""
        return self.host.messages.reports(entities, invocation.attributes)

    def act(self, entity: Entity, invocation: Invocation) -> Report:
        """``send_*``, ``execute``."""
        if layer_of("send", invocation.term):
            return self.act_all([entity], invocation)[0]
        if invocation.term == "execute":
            return self.host.messages.execute(entity)
        return super().act(entity, invocation)

    def act_all(self, entities: Sequence[Entity], invocation: Invocation) -> list[Report]:
        """``send_*`` of many shares commits."""
        if layer := layer_of("send", invocation.term):
            return self.host.messages.send(entities, layer, invocation.attributes, pinned=invocation.pinned)
        return super().act_all(entities, invocation)
