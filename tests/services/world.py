"""A broker for the tests of its services: the memory store, a store that fails on demand, and an engine that remembers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pycmbs.broker import Broker
from pycmbs.config import Settings
from pycmbs.errors import CmbsError
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft, Entity
from pycmbs.preparation import shipped_definitions
from pycmbs.services.access.rules import Rule
from pycmbs.store.base import Store
from tests.store.faulty import FaultyStore

OWN = "996ad860-2a9a-504f-8861-aeafd0b2ae29"
CATEGORIES = tuple(shipped_definitions())


class FakeEngine:
    """An :class:`~pycmbs.services.engine_link.EngineLink` that notes what it is asked, and answers or fails as told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.woken = 0
        self.error: CmbsError | None = None
        self.answer: dict[str, Any] | None = None
        self.before_answer: Callable[[], Any] | None = None

    def wake(self) -> None:
        self.woken += 1

    def call(self, operation: str, parameters: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        self.calls.append((operation, parameters))
        if self.before_answer is not None:
            self.before_answer()
        if self.error is not None:
            raise self.error
        return self.answer or {"answered": operation}


def make_broker(
    store: Store | None = None, engine: FakeEngine | None = None, *, shipped: bool = True, **settings: Any
) -> Broker:
    """The services of one process. ``shipped``: with the broker's own definitions."""
    broker = Broker(Settings(home=Path("/nowhere"), **settings), store or FaultyStore(), engine or FakeEngine())
    if shipped:
        broker.categories.ship(CATEGORIES)
    return broker


class fixed:  # noqa: N801 - read like a function
    """What :class:`~pycmbs.services.access.access.Access` asks for rules: always these, and those of the roles."""

    due = math.inf

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.own = rules

    def look(self, now: float) -> None:
        """They are as they are."""


def member(id: str, number: int = 0, **attributes: Any) -> Draft:
    """A member's description; ``number`` makes its sockets its own."""
    sockets = {f"{layer}_socket": f"memory:{layer}-{number}" for layer in ("l1", "l2", "l31", "l32", "l4")}
    return Draft(cmbs.MEMBER, id, attributes={"cmbs": {"member": {**sockets, **attributes}}})


def add_member(broker: Broker, id: str, number: int = 0, **attributes: Any) -> Entity:
    """Another broker's member, unless it says that it is local."""
    return broker.entities.create(cmbs.MEMBER_LOCATION, [member(id, number, **{"local": "false", **attributes})])[0]


def add_own(broker: Broker, **attributes: Any) -> Entity:
    """The broker's own member."""
    return add_member(broker, OWN, 0, local="true", **attributes)


def add_message(broker: Broker, layer: str, id: str = "m1", **attributes: Any) -> Entity:
    """A message of a layer."""
    given = {"cmbs": {"message": {"message_content": "hello", **attributes}}}
    draft = Draft(cmbs.MESSAGE, id, (cmbs.mixin(layer),), given)
    return broker.entities.create(cmbs.MESSAGE_LOCATION, [draft])[0]
