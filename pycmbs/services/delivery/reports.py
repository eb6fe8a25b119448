"""What whoever sends a message is told: how far it is, or who would get it."""

from __future__ import annotations

from collections.abc import Sequence

from pycmbs.backends.base import Report
from pycmbs.occi.entity import Entity
from pycmbs.services.delivery.recipients import Choice
from pycmbs.services.records import deliveries
from pycmbs.services.records.deliveries import Delivery


def report(message: Entity, rows: Sequence[Delivery]) -> Report:
    """How far a message is, from its rows."""
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
    if uninterested := message.private.get("uninterested"):
        told["uninterested"] = uninterested
    return told


def plan(found: Choice, layer: str, silent: frozenset[str]) -> Report:
    """Who would get a message. ``silent``: those that do not listen on the layer."""
    planned: list[Report] = []
    for one in found.recipients:
        planned.append({"member": one.member, "socket": one.socket, "why": one.reason})
        if one.member in silent:
            planned[-1]["reason"] = not_listening(layer)
    waiting = [one.member for one in found.recipients if one.member in silent]
    return {
        "recipients": planned,
        "unknown": list(found.unknown),
        **({"not_listening": waiting} if waiting else {}),
        **({"uninterested": list(found.uninterested)} if found.uninterested else {}),
        "dry_run": True,
    }


def not_listening(layer: str) -> str:
    """The reason why what is sent to a member waits."""
    return f"it does not listen on {layer} now"
