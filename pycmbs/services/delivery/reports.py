"""Reports of sends and plans of dry runs, for the sender of a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pycmbs.backends.base import Report
from pycmbs.occi.entity import Entity
from pycmbs.services.delivery.recipients import Choice
from pycmbs.services.records import deliveries
from pycmbs.services.records.deliveries import Delivery

_MOST_NAMED = 10
"""Members that a warning names."""


def report(message: Entity, rows: Sequence[Delivery], dead: Mapping[str, str]) -> Report:
    """How far a message is, from its rows. ``dead``: since when members are that are."""
    told: Report = {
        "state": deliveries.summary(rows),
        "recipients": sum(bool(row.member or row.socket) for row in rows),
        "delivered": sum(row.arrived for row in rows),
        "deliveries": [row.entry() for row in rows],
    }
    if rows and not told["recipients"]:
        told["reason"] = rows[0].reason
    if silent := [row.member for row in rows if row.unsettled and row.reason == not_listening(row.layer)]:
        told["not_listening"] = silent
    if warning := _warning(rows[0].layer if rows else "", silent, [row.member for row in rows if row.unsettled], dead):
        told["warning"] = warning
    if uninterested := message.private.get("uninterested"):
        told["uninterested"] = uninterested
    return told


def plan(found: Choice, layer: str, silent: frozenset[str], dead: Mapping[str, str]) -> Report:
    """Who would get a message. ``silent``: those that do not listen on the layer; ``dead``: since when members are that are."""
    planned: list[Report] = []
    for one in found.recipients:
        planned.append({"member": one.member, "socket": one.socket, "why": one.reason})
        if one.member in silent:
            planned[-1]["reason"] = not_listening(layer)
    waiting = [one.member for one in found.recipients if one.member in silent]
    warning = _warning(layer, waiting, [one.member for one in found.recipients], dead)
    return {
        "recipients": planned,
        "unknown": list(found.unknown),
        **({"not_listening": waiting} if waiting else {}),
        **({"warning": warning} if warning else {}),
        **({"uninterested": list(found.uninterested)} if found.uninterested else {}),
        "dry_run": True,
    }


def not_listening(layer: str) -> str:
    """The reason why what is sent to a member waits."""
    return f"it does not listen on {layer} now"


def _warning(layer: str, silent: Sequence[str], waiting: Sequence[str], dead: Mapping[str, str]) -> str:
    """What keeps a message from some of those that it waits for, in a sentence; empty if nothing is known to."""
    said = [f"{_names(silent)} {'does' if len(silent) == 1 else 'do'} not listen on {layer} now"] if silent else []
    away = [member for member in waiting if member in dead] if dead else []
    if len(away) == 1:
        said.append(f"{away[0]} is dead since {dead[away[0]]}")
    elif away:
        said.append(f"{_names(away)} are dead")
    return f"{', and '.join(said)}: what is for them waits" if said else ""


def _names(members: Sequence[str]) -> str:
    more = len(members) - _MOST_NAMED
    return ", ".join(members[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
