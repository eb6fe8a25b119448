"""Sanitizes and shortens text that comes from other members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST = 500
"""Characters of a sentence that another member said, of a name, and of any other text of its errors."""
_MOST = 20
"""What an error of another member may say besides its sentence."""


def cut(text: str) -> str:
    """A text of another member, cut to :data:`LONGEST`."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def cut_values(said: Mapping[Any, Any]) -> dict[str, Any]:
    """Of what another member said by name the first few texts, numbers and short lists of them, cut."""
    kept = {cut(str(name)): cut(one) if isinstance(one, str) else one for name, one in said.items() if _is_short(one)}
    return dict(list(kept.items())[:_MOST])


def _is_short(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= _MOST and all(_is_plain(one) and len(str(one)) <= LONGEST for one in value)
    return isinstance(value, str) or _is_plain(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | float) or (isinstance(value, int) and abs(value) < 2**63)
