"""Limits what each member may send: datagrams and bytes a second.

It is counted by the key that a member proved, so no one uses up another's; where members are not asked for keys nothing is.
What is over is refused with a sentence that the sender's ledger shows, and sent again later. Of those refusals each member
gets a few a second; the rest of a flood is dropped unread, before it takes the place of what others send.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from pycmbs.errors import OverQuota

_RATE = 5000.0
"""Datagrams a second of one member: more than a broker takes in."""
_BYTES = 32.0 * 1024 * 1024
"""Bytes a second of one member."""
_BURST = 5000.0
"""Datagrams that may come at once of a member that was quiet before: half of those that may wait to be taken in."""
_BURST_BYTES = 16.0 * 1024 * 1024
"""Bytes of these; likewise."""
_REFUSALS = 50.0
"""Refusals a second that one member gets; what is over beyond them is dropped."""
_MOST = 10_000
"""Members of which it is known how much they sent; the one that is forgotten beyond that may send a burst."""


class Verdict(Enum):
    """What is to become of a datagram."""

    TAKEN = 1
    REFUSED = 2
    DROPPED = 3


@dataclass(slots=True)
class _Left:
    """What a member may still send, and be refused, as of a moment."""

    at: float
    datagrams: float = _BURST
    size: float = _BURST_BYTES
    refusals: float = _REFUSALS

    def renew(self, now: float) -> None:
        """Time gives back."""
        passed, self.at = now - self.at, now
        self.datagrams = min(_BURST, self.datagrams + passed * _RATE)
        self.size = min(_BURST_BYTES, self.size + passed * _BYTES)
        self.refusals = min(_REFUSALS, self.refusals + passed * _REFUSALS)


class Quotas:
    """What each member has left. Every method may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, _Left] = {}
        self._lock = threading.Lock()

    def asked(self, who: str | None, size: int) -> Verdict:
        """A member sent a datagram of ``size`` bytes. ``who``: as its key proves; None where members have none."""
        if who is None:
            return Verdict.TAKEN
        with self._lock:
            left = self._left.get(who)
            if left is None:
                if len(self._left) >= _MOST:
                    del self._left[next(iter(self._left))]
                left = self._left[who] = _Left(self._clock())
            if left.datagrams < 1 or left.size <= 0:  # the clock is asked only when it matters
                left.renew(self._clock())
            # One that is larger than what is left still passes: nothing is too large for a quota.
            if left.datagrams >= 1 and left.size > 0:
                left.datagrams -= 1
                left.size -= size
                return Verdict.TAKEN
            if left.refusals >= 1:
                left.refusals -= 1
                return Verdict.REFUSED
            return Verdict.DROPPED


def over_quota(who: str) -> OverQuota:
    """What a member is told that is over."""
    return OverQuota(
        f"{who} sends more than {_RATE:.0f} datagrams or {_BYTES / 1048576:.0f} MiB a second, and is to try again later",
        id=who,
    )
