"""Schedules probes: interval, slower with more members, limit of probes at once."""

from __future__ import annotations

from pycmbs.engine.vitals import SUSPECT_RETRY_SECONDS

_MOST_A_SECOND = 10.0
"""Probes a second, over all members: with many, each is probed less often."""
_BURST = 20.0
"""How many members may be probed at once, when so many are new or silent; more follow at twice the usual rate."""


class Pace:
    """How many rounds of probes may begin now, and when the next round of a member is due. For one thread."""

    def __init__(self, interval: float) -> None:
        """``interval``: seconds between two probes of a member that is alive, while there are few members."""
        self._interval = interval
        self._allowed, self._counted = _BURST, 0.0
        """Rounds that may begin, and when that was counted."""

    def between(self, members: int) -> float:
        """Seconds between two probes of a member that is alive, given the number of members."""
        return max(self._interval, members / _MOST_A_SECOND)

    def until_retry(self, suspects: int) -> float:
        """Seconds until a suspect is probed again. If all are suspects, this machine is overloaded or has no network, and more
        probes would not help."""
        return max(SUSPECT_RETRY_SECONDS, suspects / _MOST_A_SECOND)

    def allowed(self, now: float) -> int:
        """How many rounds may begin now."""
        self._allowed = min(_BURST, self._allowed + (now - self._counted) * 2 * _MOST_A_SECOND)
        self._counted = now
        return int(self._allowed)

    def began(self, rounds: int) -> None:
        """Count the rounds that began."""
        self._allowed -= rounds

    @property
    def pause(self) -> float:
        """Seconds until one more may begin; 0 when one may now."""
        return 0.0 if self._allowed >= 1 else 1 / _MOST_A_SECOND
