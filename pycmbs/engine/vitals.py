"""Health of one member as a pure state machine, from probes and acknowledgements.

It knows no I/O and no clock.
"""

from __future__ import annotations

import random
import statistics
from collections import deque
from dataclasses import dataclass, replace

from pycmbs.metrics.table import PROBE_SECONDS, PROBES
from pycmbs.services.federation.health import ALIVE, DEAD, SUSPECT, Health
from pycmbs.transport.envelope import Envelope

MISSES = 3
"""Rounds of probes without an answer after which a member counts as dead; before that it is suspect."""
SUSPECT_RETRY_SECONDS = 1.0
"""Seconds until a suspect is probed again, while there are few."""
_WAITED = 5
"""Probes that had to wait for a connection, after which a member is taken for alive without a measured way."""
KEYED_PAUSE_SECONDS = 1.0
"""Until a member that others told of is probed first, where it must hear of this one before it lets it in."""
_MEASURED = 9
"""Answers of which the usual time is told."""
_SLOWEST = 6
"""How many intervals pass, at most, between two rounds of probes of a dead member."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one probe; ``answer`` is None when nothing did."""

    member: str
    via: str
    sent: float
    at: float
    answer: Envelope | None
    reason: str
    waited: bool = False
    """Whether the probe had to wait for a connection, so that it measured that."""

    def count(self, *, answered: bool) -> None:
        """Count it among the probes. ``answered``: by the member that was asked."""
        PROBES.count("answered" if answered else "missed")
        if answered:
            PROBE_SECONDS.observe(self.at - self.sent)


class Vitals:
    """What is known of a member, and when it is probed next.

    A *round* begins with probes to the member itself, and to the member through which it was reached last. When none is
    answered, others are asked to pass one on. Times are seconds: ``now`` is of a clock that only runs forward, what is in
    ``health`` since the epoch.
    """

    def __init__(
        self, id: str, sockets: dict[str, str], version: int, health: Health | None = None, due: float = 0.0
    ) -> None:
        """``sockets``: URLs by layer. ``health``: as an earlier engine left it. ``due``: when it is probed first."""
        self.id = id
        self.sockets = sockets
        self.version = version
        self.health = health
        self.knows = 0
        """In which version it knows the own member, as it said last."""
        self.failures = 0
        self.due = due
        self.open = 0
        """Probes of this round that may still be answered."""
        self.direct = False
        """Whether the member itself answered in this round."""
        self.reached = False
        """Whether it was reached in this round, in whatever way."""
        self.asked_others = False
        self.digest = ""
        """Of the members it knew when news was last fetched from it."""
        self._trips: deque[float] = deque(maxlen=_MEASURED)
        """Seconds that the last answers took, without those of probes that had to wait for a connection."""
        self._waited = 0
        """How many had to."""
        self.heard = 0.0
        """When it last acknowledged a message, by the forward clock."""

    def note_knows(self, version: object) -> None:
        """In which version it knows the own member, as it says."""
        self.knows = version if isinstance(version, int) else 0

    @property
    def socket(self) -> str:
        """Where to probe: the next of its sockets after every miss, L1 first. Empty when it has none."""
        urls = list(dict.fromkeys(url for url in self.sockets.values() if url))
        return urls[self.failures % len(urls)] if urls else ""

    @property
    def via(self) -> str:
        """The member through which it is reached, empty for directly."""
        return self.health.via if self.health is not None else ""

    @property
    def state(self) -> str:
        """``alive``, ``suspect``, ``dead``; empty before it was measured."""
        return self.health.state if self.health is not None else ""

    @property
    def reachable_directly(self) -> bool:
        """Whether it answers by itself, and so can pass something on."""
        return self.state == ALIVE and not self.via

    def begin(self) -> None:
        """A round begins."""
        self.open, self.direct, self.reached, self.asked_others = 0, False, False, False

    @property
    def blind(self) -> bool:
        """Whether it answers, and it may soon be known how long that takes."""
        return 0 < self._waited < _WAITED and not self._trips

    @property
    def _round_trip(self) -> float:
        """What an answer takes usually: one that a busy moment held up does not count for much."""
        return statistics.median(self._trips) if self._trips else 0.0

    def answered(self, now: float, wall: float, interval: float, round_trip: float | None, via: str = "") -> bool:
        """A probe was answered after ``round_trip`` seconds, None when it had to wait for a connection; tells whether that
        changes its state or how it is reached."""
        if via and self.direct:
            return False  # it answered by itself, too
        self.reached = True
        self.direct = self.direct or not via
        before = (self.state, self.via)
        if before[1] != via:
            self._trips.clear()  # another way
            self._waited = 0
        if round_trip is not None:
            self._trips.append(round_trip)
        else:
            self._waited += 1
        since = self.health.since if self.health is not None and self.state == ALIVE else wall
        self.health = Health(ALIVE, since, wall, self._round_trip, via)
        self.failures = 0
        self.due = now + interval * random.uniform(0.8, 1.2)  # noqa: S311 - spreads the load, no secret
        return before != (ALIVE, via)

    def missed(
        self, now: float, wall: float, interval: float, reason: str, hurry: float = SUSPECT_RETRY_SECONDS
    ) -> bool:
        """A round ended without an answer; tells whether that changes its state. ``hurry``: seconds until a suspect is probed
        again, if that is not longer than the interval."""
        self.failures += 1
        state = DEAD if self.failures >= MISSES or self.state == DEAD else SUSPECT
        before, last = self.state, self.health or Health(state, wall)
        self.health = replace(last, state=state, since=last.since if before == state else wall, via="", reason=reason)
        pause = interval * min(2 ** (self.failures - MISSES), _SLOWEST) if state == DEAD else min(hurry, interval)
        self.due = now + pause * random.uniform(0.8, 1.2)  # noqa: S311
        return before != state
