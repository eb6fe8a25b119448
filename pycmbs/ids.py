"""Ids: how they are spelled, in entities and between members."""

from __future__ import annotations

import re

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_uuid(id: str) -> bool:
    """Whether it is a UUID, as it is kept."""
    return _UUID.fullmatch(id) is not None


def canonical_id(id: str) -> str:
    """An id as it is kept: a UUID is the same in any case (RFC 9562 4), and is kept in lower case."""
    low = id.lower()
    return low if low != id and _UUID.fullmatch(low) else id
