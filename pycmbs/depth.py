"""How deep a JSON value nests. The decoder reads 1024 levels and the encoder writes 254: what is taken in must be storable."""

from __future__ import annotations

from typing import Any


def deeper(value: Any, most: int, text: bytes) -> bool:
    """Whether ``value`` nests deeper than ``most`` levels of arrays and objects. ``text`` is what it was decoded from: where
    that has few brackets, nothing is walked."""
    if text.count(b"[") + text.count(b"{") <= most:
        return False
    level = [value]
    for _ in range(most):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)
