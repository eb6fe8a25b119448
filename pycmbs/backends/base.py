"""The backend seam: what a kind does when its entities are created, changed, deleted, read and acted on.

"Backend" is OCCI's word (GFD.221 4.1). A kind is bound to one by name (``PUT /-/`` with ``providers``). A backend knows
entities, not HTTP, sockets or SQL; what it needs of the broker it gets through :class:`Host`.

The contract below is checked for every implementation by ``tests/backends/contract.py``.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pycmbs.errors import InvalidRequest
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import Action
from pycmbs.occi.entity import Entity, Invocation
from pycmbs.store.base import Write

Report = dict[str, Any]
"""What an action tells its caller; empty when there is nothing to tell."""


def _nothing() -> None:
    pass


@dataclass(slots=True)
class Begun:
    """An action on entities that are not stored yet: what goes along with the commit that stores them, and what follows it."""

    writes: Sequence[Sequence[Write]]
    """For each of the entities, in the same commit and before it."""
    stored: Callable[[], list[Report]]
    """Called when they are stored: does what is left, and returns a report for each."""
    refused: Callable[[], None] = _nothing
    """Called when they could not be."""
    tried: bool = False
    """It is only tried: nothing is to be stored, and ``stored`` tells what would be."""


class Host(Protocol):
    """The broker, as a backend sees it."""

    @property
    def members(self) -> Any:
        """The federation's members: a :class:`pycmbs.services.federation.members.MemberService`."""

    @property
    def messages(self) -> Any:
        """Messages and their deliveries: a :class:`pycmbs.services.delivery.messages.MessageService`."""


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
        """``host`` is complete once the first method is called, and not yet here."""
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
        called, if the entity was not changed meanwhile. Must not have effects of its own: it may be asked again."""
        del entity, invocation
        return None

    def begin(self, entities: Sequence[Entity], invocation: Invocation) -> Begun:
        """Begin an action that applies to new entities, after :meth:`create`, to be stored with them in one commit or not at
        all; may change them. Raises InvalidRequest for an action that does more than that."""
        raise InvalidRequest(
            f"{invocation.term!r} is not done in one step with the creation of {entities[0].path}",
            hint=f"POST the entity, and then ?action={invocation.term} to it.",
            parameter="then",
        )

    def reports(self, entities: Sequence[Entity], invocation: Invocation) -> list[Report]:
        """What there is to tell of an action that :meth:`begin` began earlier: nothing is done again."""
        del invocation
        return [{} for _ in entities]

    def act(self, entity: Entity, invocation: Invocation) -> Report:
        """Perform an action that applies to the entity; ``invocation`` has its identifier, and its attributes checked.
        Raises InvalidRequest for one it cannot do."""
        raise InvalidRequest(
            f"the backend {self.name!r} cannot do {invocation.term!r} on {entity.path}", action=invocation.term
        )

    def act_all(self, entities: Sequence[Entity], invocation: Invocation) -> list[Report]:
        """Perform an action that applies to all of them: for what costs less together than one by one."""
        return [self.act(entity, invocation) for entity in entities]
