"""The states of OCCI's infrastructure (GFD.184 3.1 to 3.3): which action applies in which, and where it leads.

What takes time in a real machine room (a backup, a restart) is over at once here, so states which only say that it is under
way do not occur; ``degraded`` and ``error`` are never reached, and nothing leads out of ``error``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pycmbs.occi.category import Action
from pycmbs.occi.entity import Entity, Invocation

_SCHEME = "http://schemas.ogf.org/occi/infrastructure"


@dataclass(frozen=True, slots=True)
class Transition:
    """What an action does to the attribute ``state``: it applies in the states ``before``, and leads to ``after``, or nowhere.
    ``sets``: attributes that get the value of one of the action's, by its name."""

    state: str
    before: frozenset[str]
    after: str | None = None
    sets: Mapping[str, str] = field(default_factory=dict)


def _transitions() -> dict[str, Transition]:
    on: dict[str, dict[str, tuple[set[str], str | None]]] = {
        "compute": {
            "start": ({"inactive", "suspended"}, "active"),
            "stop": ({"active"}, "inactive"),
            "restart": ({"active"}, "active"),
            "suspend": ({"active"}, "suspended"),
            "save": ({"active", "inactive", "suspended"}, None),
        },
        "storage": {
            "online": ({"offline", "degraded"}, "online"),
            "offline": ({"online", "degraded"}, "offline"),
            "backup": ({"online"}, None),
            "snapshot": ({"online"}, None),
            "resize": ({"online", "offline"}, None),
        },
        "network": {"up": ({"inactive"}, "active"), "down": ({"active"}, "inactive")},
    }
    return {
        f"{_SCHEME}/{kind}/action#{term}": Transition(
            f"occi.{kind}.state", frozenset(before), after, {"occi.storage.size": "size"} if term == "resize" else {}
        )
        for kind, actions in on.items()
        for term, (before, after) in actions.items()
    }


TRANSITIONS = _transitions()
"""By the action's identifier."""

STATES = frozenset(
    f"occi.{kind}.{name}"
    for kind in ("compute", "storage", "network", "networkinterface", "storagelink")
    for name in ("state", "state.message")
)
"""Attributes that say how an instance is, which is not for clients to say."""


def applies(entity: Entity, action: Action) -> bool:
    """Whether the action applies in the entity's state. On what has no state any does, and so does one of other standards."""
    transition = TRANSITIONS.get(action.identifier)
    return transition is None or entity.attributes.get(transition.state) in (None, *transition.before)


def after(entity: Entity, invocation: Invocation) -> Entity | None:
    """The entity after the action; None where it changes nothing."""
    transition = TRANSITIONS.get(invocation.identifier)
    if transition is None or transition.state not in entity.attributes:
        return None
    found = entity.copy()
    if transition.after is not None:
        found.attributes[transition.state] = transition.after
    found.attributes |= {
        name: invocation.attributes[given] for name, given in transition.sets.items() if given in invocation.attributes
    }
    return found if found.attributes != entity.attributes else None
