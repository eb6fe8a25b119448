"""Times as they are stored, sorted by, and shown to people."""

from __future__ import annotations

import datetime as dt
import functools
import math

from pycmbs import clock


def sort_key_of_time(seconds: float) -> str:
    """A time as a key of a document: as text it sorts as the times do."""
    return f"{max(seconds, 0):017.3f}"


def in_milliseconds(seconds: float) -> float:
    """A time as it is kept where it is only shown: down to its millisecond, as :func:`timestamp` has it."""
    return math.floor(seconds * 1000) / 1000


def timestamp(seconds: float) -> str:
    """A time for people and programs, as the wall clock has it: RFC 3339, UTC, milliseconds."""
    return rfc3339(clock.by_wall(seconds))


@functools.lru_cache(1024)  # the deliveries of one message were accepted at one time, and are shown again and again
def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 has them: UTC, milliseconds."""
    at = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
