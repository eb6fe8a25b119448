"""Picks members that pass probes on to those that do not answer directly."""

from __future__ import annotations

from collections.abc import Iterable

from pycmbs.engine.vitals import Vitals

_OTHERS = 3
"""How many members are asked at a time to pass a probe on."""


class Detours:
    """Remembers which members know which others. For one thread."""

    def __init__(self) -> None:
        self._tellers: dict[str, dict[str, None]] = {}

    def note(self, member: str, by: str) -> None:
        """Note that ``by`` knows ``member``, and may be able to reach it."""
        self._tellers.setdefault(member, {})[by] = None

    def forget(self, member: str) -> None:
        """Forget a member that is no longer known."""
        self._tellers.pop(member, None)

    def relays(self, vitals: Vitals, known: Iterable[Vitals]) -> list[Vitals]:
        """Members that may reach this one: first those that told of it, then others; different ones after each miss."""
        near = [one for one in known if one.reachable_directly and one.id not in (vitals.id, vitals.via)]
        told = self._tellers.get(vitals.id, {})
        near.sort(key=lambda one: one.id not in told)
        first = vitals.failures * _OTHERS % len(near) if near else 0
        return [*near[first:], *near[:first]][:_OTHERS]
