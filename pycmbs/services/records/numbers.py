"""Validates numbers that come from other members."""

from __future__ import annotations

from typing import Any

from pycmbs.errors import InvalidRequest

MOST = 9223372036854775807
"""The largest whole number that is taken, 2^63 - 1: every store and every index can hold it."""
MOST_SECONDS = 366 * 86400.0
"""The longest time that is taken, as for a message's own deadline."""


def whole(value: Any, name: str, least: int = 0) -> int:
    """A whole number from ``least`` to :data:`MOST`. Raises InvalidRequest that names the field."""
    if type(value) is not int or not least <= value <= MOST:
        raise InvalidRequest(f"{name} must be a whole number from {least} to {MOST}", field=name)
    return value


def seconds(value: Any) -> float | None:
    """A time in seconds, which may be over already, as one that can be reckoned with: at most :data:`MOST_SECONDS`, and
    None for any other value."""
    return float(min(max(value, -MOST_SECONDS), MOST_SECONDS)) if type(value) in {int, float} else None
