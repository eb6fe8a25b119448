"""Limits the nesting of JSON, so that whatever is decoded can be encoded again.

The decoder reads 1024 levels and the encoder writes 254.
"""

from __future__ import annotations

from typing import Any

_NESTS = (dict, list)


def deeper(value: Any, most: int, text: bytes) -> bool:
    """Whether ``value`` nests deeper than ``most`` levels of arrays and objects. ``text`` is what it was decoded from: where
    that has few brackets, nothing is walked."""
    if text.count(b"[") + text.count(b"{") <= most:
        return False
    level = [value] if isinstance(value, _NESTS) else []
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, _NESTS)
        ]
        if not level:
            return False
    return True
