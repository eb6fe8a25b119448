"""The immutable wire form of a message, the same for every recipient."""

from __future__ import annotations

from typing import Any

from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity

_OWN_AFFAIRS = frozenset({cmbs.STATE, cmbs.RESULT, cmbs.DELIVERIES, cmbs.RECEIVER, cmbs.DEADLINE})
"""What of a message concerns only the broker that sends it."""


def travelling(message: Entity) -> dict[str, Any]:
    """Those of its attributes that its recipients get."""
    return {name: value for name, value in message.attributes.items() if name not in _OWN_AFFAIRS}


def differ(one: Entity, other: Entity) -> bool:
    """Whether recipients would get different things."""
    if (one.title, one.summary, set(one.mixins)) != (other.title, other.summary, set(other.mixins)):
        return True
    return travelling(one) != travelling(other)
