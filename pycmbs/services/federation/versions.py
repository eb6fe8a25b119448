"""Order of the versions of a member's description.

A version is a whole number that grows with every change its own broker makes: microseconds since the epoch as that broker's
clock has them, and at least one more than any version before. So it orders what is said of a member over all its lives. Clocks
go wrong, and others say what they like; therefore a version that is more than an hour ahead of the clock here is not
*credible*: it is refused where it comes in, and one that is stored already yields to any that is credible.
"""

from __future__ import annotations

import time
from typing import Any

from pycmbs.errors import InvalidRequest

AHEAD_SECONDS = 3600.0
"""How far a version may be ahead of the clock here: clocks differ."""


def credible(version: Any) -> bool:
    """Whether it is a version at all, and not further ahead than clocks differ."""
    return type(version) is int and 0 <= version <= _clock() + AHEAD_SECONDS * 1e6


def newer(told: int, known: int) -> bool:
    """Whether what is told in one version replaces what is known in another."""
    return credible(told) and (told > known or not credible(known))


def following(*known: int) -> int:
    """The next version of a member of which these are known: newer than each of them, for all members."""
    return max(_clock(), *(version + 1 for version in known if credible(version)), 0)


def checked(version: Any, what: str) -> int:
    """A version that others tell. Raises InvalidRequest, naming ``what`` it is of, for one that is invalid or not credible."""
    if type(version) is not int or version < 0:
        raise InvalidRequest(f"{what} has no version: it must be a whole number from 0", field="version")
    if not credible(version):
        raise InvalidRequest(
            f"{what} has a version that is over {AHEAD_SECONDS:g} s ahead of the clock here",
            hint="Set the clocks of both machines.",
            field="version",
        )
    return version


def _clock() -> int:
    return time.time_ns() // 1000
