"""Limits what each member may send: datagrams and bytes a second.

Datagrams are counted by the key that a member proved, so no member can use up another's quota; where members are not asked for
keys, nothing is counted. Datagrams over the quota are refused with an error that the sender's ledger shows, and sent again
later. Each member gets a few such refusals a second; the rest of a flood is dropped unread, so that it displaces nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from pycmbs.errors import OverQuota

_RATE = 5000.0
"""Datagrams a second from one member: more than a broker can take in."""
_BYTES = 32.0 * 1024 * 1024
"""Bytes a second from one member."""
_BURST = 5000.0
"""Datagrams that may come at once from a member that was quiet before: half of what ``Inbound`` lets wait."""
_BURST_BYTES = 16.0 * 1024 * 1024
"""Bytes of these: half of what ``Inbound`` lets wait."""
_REFUSALS = 50.0
"""Refusals a second that one member gets; beyond them, datagrams over the quota are dropped."""
_MOST = 10_000
"""Members whose use is remembered; one that is forgotten beyond that may send a burst again."""


class Verdict(Enum):
    """What is to become of a datagram."""

    TAKEN = 1
    REFUSED = 2
    DROPPED = 3


@dataclass(slots=True)
class _Left:
    """How much a member may still send, and how many refusals it may still get, at a given time."""

    at: float
    datagrams: float = _BURST
    size: float = _BURST_BYTES
    refusals: float = _REFUSALS

    def renew(self, now: float) -> None:
        """Add what the time since then gives back."""
        passed, self.at = now - self.at, now
        self.datagrams = min(_BURST, self.datagrams + passed * _RATE)
        self.size = min(_BURST_BYTES, self.size + passed * _BYTES)
        self.refusals = min(_REFUSALS, self.refusals + passed * _REFUSALS)


class Quotas:
    """How much of its quota each member has left. Every method may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, _Left] = {}
        self._lock = threading.Lock()

    def asked(self, who: str | None, size: int) -> Verdict:
        """Count a datagram of ``size`` bytes from a member. ``who``: as its key proves; None where members have no keys."""
        if who is None:
            return Verdict.TAKEN
        with self._lock:
            left = self._left.get(who)
            if left is None:
                if len(self._left) >= _MOST:
                    del self._left[next(iter(self._left))]
                left = self._left[who] = _Left(self._clock())
            if left.datagrams < 1 or left.size <= 0:  # the clock is read only when it matters
                left.renew(self._clock())
            # A datagram larger than what is left still passes: none is too large for the quota.
            if left.datagrams >= 1 and left.size > 0:
                left.datagrams -= 1
                left.size -= size
                return Verdict.TAKEN
            if left.refusals >= 1:
                left.refusals -= 1
                return Verdict.REFUSED
            return Verdict.DROPPED


def over_quota(who: str) -> OverQuota:
    """What a member over its quota is told."""
    return OverQuota(
        f"{who} sends more than {_RATE:.0f} datagrams or {_BYTES / 1048576:.0f} MiB a second, and is to try again later",
        id=who,
    )
