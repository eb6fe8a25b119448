"""The backend seam: what a kind does when its entities are created, changed, deleted, read and acted on.

"Backend" is OCCI's word (GFD.221 4.1). A kind is bound to one by name (``PUT /-/`` with ``providers``). A backend knows
entities, not HTTP, sockets or SQL; what it needs of the broker it gets through :class:`Host`.

The contract below is checked for every implementation by ``tests/backends/contract.py``.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from pycmbs.errors import InvalidRequest
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import Action
from pycmbs.occi.entity import Entity, Invocation
from pycmbs.store.base import Write

Report = dict[str, Any]
"""What an action tells its caller; empty when there is nothing to tell."""


class Members(Protocol):
    """What the broker can do with members."""

    def check_new(self, member: Entity) -> Sequence[Write]:
        """Raise if the member cannot be added: a wrong socket URL, a second local member. Returns writes to go along."""

    def check_update(self, old: Entity, new: Entity) -> None:
        """Raise if the member cannot be changed so."""

    def settle(self, member: Entity) -> None:
        """Make the engine's sockets agree with the stored local member, if this is the one."""

    def start(self, member: Entity, layer: str) -> Report:
        """Listen on a layer."""

    def stop(self, member: Entity, layer: str) -> Report:
        """Stop listening on a layer."""

    def release(self, member: Entity) -> Sequence[Write]:
        """Stop everything the member does, since it is about to be deleted. Returns writes to go along."""

    def leave(self, member: Entity) -> None:
        """Tell the others that the member was deleted."""

    def health(self, member: Entity) -> dict[str, Any]:
        """How another broker's member is doing; empty while that is not known."""

    def check_neighbors(self, member: Entity) -> Report:
        """Discover the federation."""


class Messages(Protocol):
    """What the broker can do with messages."""

    def prepare(self, message: Entity) -> None:
        """Complete and check a new or changed message. May change it."""

    def note_change(self, old: Entity, new: Entity) -> None:
        """Note in the new one that it is not what is being executed. Raises BeingSent while it is still to be sent."""

    def send(
        self, messages: Sequence[Entity], layer: str, attributes: Mapping[str, Any], *, pinned: bool
    ) -> list[Report]:
        """Send them on a layer; ``pinned``: as they are given, or not at all."""

    def execute(self, message: Entity) -> Report:
        """Perform, here, the operation that the message holds."""

    def ledger(self, message: Entity) -> list[dict[str, Any]]:
        """Per recipient: what became of it."""

    def forget(self, messages: Sequence[Entity]) -> list[Sequence[Write]]:
        """For each of the messages, which are about to be deleted, the writes that remove what belongs to it."""


class Host(Protocol):
    """The broker, as a backend sees it."""

    @property
    def members(self) -> Members:
        """The federation's members."""

    @property
    def messages(self) -> Messages:
        """Messages and their deliveries."""


class Backend(ABC):
    """What a kind does. The methods here do what OCCI says of any entity; override those you care about.

    A method that raises a :class:`~pycmbs.errors.CmbsError` refuses the request, and nothing is changed. Several threads
    and processes have a backend of their own: keep state in the entity (``private`` is the backend's to use), not here.
    """

    name: ClassVar[str]
    attributes: ClassVar[Mapping[str, AttributeDefinition]] = {}
    """Attributes it knows of, whether the kind declares them or not."""
    owned: ClassVar[frozenset[str]] = frozenset()
    """Immutable attributes that only its actions set: a client cannot begin with another value than the default."""
    actions: ClassVar[Mapping[str, Action]] = {}
    """Actions it knows of by term, whether the kind declares them or not."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def create(self, entity: Entity) -> Sequence[Write]:
        """Called with a valid new entity before it is stored. May change it. Returns writes for the same commit."""
        del entity
        return ()

    def retrieve(self, entity: Entity) -> Entity:
        """The entity as it is to be shown: adds what is not stored with it. Must not change its argument."""
        return entity

    def update(self, old: Entity, new: Entity) -> Sequence[Write]:
        """Called with a valid changed entity before it is stored. May change ``new``. Returns writes for the same commit."""
        del old, new
        return ()

    def updated(self, entity: Entity) -> None:
        """Called when a creation or an update is stored: bring the world in line. Must be idempotent."""

    def delete(self, entity: Entity) -> Sequence[Write]:
        """Called before the entity is deleted. Returns writes for the same commit, in which the deletion is the last."""
        del entity
        return ()

    def delete_all(self, entities: Sequence[Entity]) -> list[Sequence[Write]]:
        """The same for each of several entities: for what costs less together than one by one."""
        return [self.delete(entity) for entity in entities]

    def deleted(self, entity: Entity) -> None:
        """Called when the deletion is stored: bring the world in line. Must be idempotent."""

    def applies(self, entity: Entity, action: Action) -> bool:
        """Whether an action that the entity has can be performed on it as it is stored now: only those are shown (GFD.223)."""
        del entity, action
        return True

    def options(self, action: Action) -> Mapping[str, AttributeDefinition]:
        """Attributes that an action takes, whether its definition declares them or not. Others are refused."""
        del action
        return {}

    def effect(self, entity: Entity, invocation: Invocation) -> Entity | None:
        """What an action makes of the stored entity, as a changed copy, or None for nothing. It is stored before :meth:`act` is
        called, if nobody else changed the entity meanwhile. Must not have effects of its own: it may be asked again."""
        del entity, invocation
        return None

    def act(self, entity: Entity, invocation: Invocation) -> Report:
        """Perform an action that applies to the entity; ``invocation`` has its identifier, and its attributes checked.
        Raises InvalidRequest for one it cannot do."""
        raise InvalidRequest(
            f"the backend {self.name!r} cannot do {invocation.term!r} on {entity.path}", action=invocation.term
        )

    def act_all(self, entities: Sequence[Entity], invocation: Invocation) -> list[Report]:
        """Perform an action that applies to all of them: for what costs less together than one by one."""
        return [self.act(entity, invocation) for entity in entities]
