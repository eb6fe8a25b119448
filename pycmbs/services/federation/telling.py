"""Limits how much a member may have stored of what it tells about others."""

from __future__ import annotations

import time
from collections.abc import Callable

NEWS_A_SECOND = 10.0
"""Descriptions of others that one member may bring a second, when it has brought as many at once as there may be members."""


class Telling:
    """How much each member may still bring. The rest is left out, and told again as long as it is missing here."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``most``: how many members may be known; one member may bring as many at once, and of as many this is remembered."""
        self._most = most
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def may(self, by: str) -> bool:
        """Whether the member ``by`` may bring one more, which is then counted. Empty: it is unknown who brings it."""
        if not by:
            return True
        now = self._clock()
        left, at = self._left.get(by, (float(self._most), now))
        left = min(self._most, left + (now - at) * NEWS_A_SECOND)
        if by not in self._left and len(self._left) >= self._most:
            del self._left[next(iter(self._left))]
        self._left[by] = (left - 1 if left >= 1 else left), now
        return left >= 1
