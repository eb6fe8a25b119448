"""Applies an acknowledgement, refusal or outcome to a delivery row. Pure functions."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pycmbs.errors import Departed, Overdue, Revoked, from_dict
from pycmbs.services.records.deliveries import DELIVERED, FAILED, Delivery
from pycmbs.services.records.fitting import DEEPEST, fitting_outcome, misfit

MOST_REPLY = 65536
"""Bytes of JSON of what a layer returns to the sender; what is larger is not kept."""
SUPERSEDED = "the recipient has it as it was sent later: the clock here was set back; send it under another id"


def bounded(body: dict[str, Any], data: bytes, most: int) -> dict[str, Any]:
    """The body of an answer as far as it can be kept: ``data`` is its datagram, ``most`` are bytes of an outcome."""
    if len(data) <= MOST_REPLY and data.count(b"[") + data.count(b"{") <= DEEPEST:
        return body
    kept = dict(body)
    if misfit(body.get("reply"), MOST_REPLY):
        kept["reply"] = {}
    if isinstance(body.get("outcome"), dict):
        kept["outcome"] = fitting_outcome(body["outcome"], most, where="sender")
    return kept


def acknowledged(row: Delivery, body: dict[str, Any], now: float, reason: str = "") -> Delivery:
    """The row of a recipient that has the message, and may be executing it; or has a later one of its name. ``body`` is that of
    its acknowledgement, or of an outcome that came before that."""
    newer = body.get("superseded")
    if type(newer) is int and newer > row.round:
        return row.settled(FAILED, now, SUPERSEDED)
    there = row.settled(DELIVERED, now, reason, body.get("reply") or None)
    outcome = body.get("outcome")
    if isinstance(outcome, dict):
        return there.with_outcome(now, outcome)
    return replace(there, awaiting_outcome=body.get("executing") is True)


def refused(row: Delivery, body: dict[str, Any], now: float) -> Delivery:
    """The row of a recipient that has refused the message for good."""
    error = from_dict(body.get("error"))
    if isinstance(error, Overdue):
        return replace(row, vain=row.vain + 1, reason=error.line).given_up(now)
    return row.settled(FAILED, now, error.line)


def gone(row: Delivery, error: Departed, now: float) -> Delivery:
    """The row of a recipient that has left, or is no longer trusted: that one is not to have it, whatever it has."""
    reason = error.line
    if isinstance(error, Revoked):
        return row.settled(FAILED, now, reason)
    return replace(row, reason=reason).given_up(now) if row.doubtful else row.settled(FAILED, now, reason)
