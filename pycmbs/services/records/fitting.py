"""Checks that what members send fits into the store."""

from __future__ import annotations

from typing import Any

from pycmbs import codec
from pycmbs.depth import deeper
from pycmbs.errors import TooLarge

DEEPEST = 100
"""Levels of an outcome or a reply; a datagram and a document add a few."""


def misfit(value: Any, most: int) -> str:
    """How large or deep a value is that does not fit into ``most`` bytes of JSON; empty for one that does."""
    try:
        data = codec.dumps(value)
    except TypeError:  # deeper than can be written
        return "too deep"
    if len(data) > most:
        return f"{len(data)} bytes"
    return "too deep" if deeper(value, DEEPEST, data) else ""


def fitting_outcome(outcome: dict[str, Any], most: int, *, where: str) -> dict[str, Any]:
    """The outcome of an execution, or that it cannot be told. ``where``: whose setting says how large it may be."""
    how = misfit(outcome, most)
    if not how:
        return outcome
    error = TooLarge(
        f"it was executed, but its result cannot be returned: it is {how}",
        hint=f"The setting max_content of the {where} says how large it may be; it nests {DEEPEST} levels at most.",
    )
    return {"error": error.to_dict()}
