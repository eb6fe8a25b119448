"""The state machine of one recipient and layer: what waits, what is under way, when to retry. Pure: no I/O, no clock."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from pycmbs.engine.asked import Asked
from pycmbs.services.records.deliveries import SENT, Delivery
from pycmbs.services.records.times import in_milliseconds

_ANSWER_SECONDS = 2.0
"""Seconds to wait for an answer before a row counts as unanswered, at least; three times as long as answers take, if that is
longer."""
_SLOWEST = 16_384.0
"""Bytes a second that a connection carries, at least: so much longer is waited for what is large, while its member answers."""


@dataclass(slots=True)
class Flight:
    """A row that was sent and is not answered yet."""

    row: Delivery
    """As it was before."""
    id: str
    at: float
    asked: Asked
    size: int = 0
    """Bytes of its datagram."""
    life: str = ""
    """The number of the recipient's process when it was sent, empty when it is not known."""
    sent: float = 0.0
    """When, in seconds since the epoch."""
    via: str = ""
    """The member that passes it on."""

    @property
    def attempts(self) -> int:
        """How often the row was sent, this time included."""
        return self.row.attempts + 1

    @property
    def tried(self) -> Delivery:
        """The row after this attempt."""
        row = self.row
        history = row.history or (((in_milliseconds(self.sent), SENT, ""),) if not row.attempts else ())
        return replace(row, attempts=self.attempts, via=self.via, history=history)


class Route:
    """Rows of one route, in the order of acceptance.

    While the recipient answers, up to ``window`` rows are under way. When it does not, they all go back, and after a pause
    that doubles with every failure (with jitter, up to ``most`` seconds) the first one alone is tried: so order holds, a
    dead member costs one datagram a pause, and one that comes back is noticed by that.
    """

    def __init__(self, window: int, first: float, most: float, member: str = "") -> None:
        """``member``: whom it leads to, empty when only a socket is known."""
        self.member = member
        self._window = window
        self._first = first
        self._most = most
        self.queue: deque[Delivery] = deque()
        self.flights: dict[str, Flight] = {}
        self.cursor = 0
        """The ``number`` of the last row that was taken into memory, or from which on they are to be read again."""
        self._highest = 0
        """Rows with higher numbers were never in memory."""
        self.more = False
        """Whether the store holds rows beyond the cursor that did not fit."""
        self.url = ""
        """Where to send; empty: to be found out."""
        self.via = ""
        """The member that passes it on, empty when it goes directly."""
        self.failures = 0
        self.resume = 0.0
        """When to try again, after a failure."""
        self.round_trip = 0.0
        """Seconds that its member takes to answer, as far as it is known."""
        self.heard = 0.0
        """When it answered last: what comes after that was not under way before."""
        self.looked = False
        """Whether the oldest row under way has waited for as long as a small one may, and its member is being probed."""

    @property
    def room(self) -> int:
        """How many more rows may be held in memory: of a recipient that does not answer, the one that is tried."""
        return max(0, (1 if self.failures else self._window) - len(self.queue) - len(self.flights))

    @property
    def where(self) -> str:
        """Where it goes, and through whom, for people."""
        return f"{self.url} through {self.via}" if self.via else self.url

    @property
    def oldest(self) -> Flight | None:
        """The row that is under way for longest."""
        return next(iter(self.flights.values()), None)

    @property
    def due(self) -> tuple[float, float]:
        """When the oldest row under way has waited for long enough: if its member does not answer probes, and in any case.

        More after every failure, since a receiver that is merely slow must get to answer; and more for what is large, since
        bytes take their time. Every answer is progress, and restarts it.
        """
        flight, more = self.oldest, float(1 << min(self.failures, 3))
        if flight is None:
            return math.inf, math.inf
        first = max(flight.at, self.heard) + max(_ANSWER_SECONDS, 3 * self.round_trip) * more
        return first, first + flight.size / _SLOWEST * more

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not (self.queue or self.flights or self.more)

    def admit(self, row: Delivery) -> None:
        """Take a row in, or remember that the store has it. Rows come in the order of their numbers."""
        if row.number <= self.cursor:
            return
        if row.number <= self._highest and self._holds(row.id):
            self.cursor = row.number
        elif self.more or not self.room:
            self.more = True
        else:
            self.queue.append(row)
            self.cursor = row.number
            self._highest = max(self._highest, row.number)

    def refill(self, rows: Sequence[Delivery]) -> None:
        """Take in as many of the rows beyond the cursor as there is room for, or all that there are."""
        full = len(rows) == self.room
        self.more = False
        for row in rows:
            self.admit(row)
        self.more = full

    def admit_late(self, row: Delivery) -> None:
        """Take in a row that was written after others with higher numbers: last, as it was accepted last. Where there is no
        room the store has it, and all from there on is read again."""
        if row.number > self.cursor:
            self.admit(row)
        elif self._holds(row.id):
            pass
        elif self.room:
            self.queue.append(row)
        else:
            self.cursor, self.more = row.number - 1, True

    def flight_of(self, id: str) -> Flight | None:
        """The flight of a row, if it is under way."""
        return next((one for one in self.flights.values() if one.row.id == id), None)

    def tried(self, row: Delivery) -> Delivery:
        """A row with the attempt that is under way, if one is."""
        flight = self.flight_of(row.id)
        return row if flight is None else replace(row, attempts=max(row.attempts, flight.attempts), via=flight.via)

    def _holds(self, id: str) -> bool:
        return any(row.id == id for row in self.queue) or self.flight_of(id) is not None

    def sendable(self, now: float) -> int:
        """How many rows may be sent now."""
        if now < self.resume:
            return 0
        return min(len(self.queue), (1 if self.failures else self._window) - len(self.flights))

    def over(
        self, now: float, answering: Callable[[str], tuple[bool, str]], look: Callable[[str], None]
    ) -> Flight | None:
        """The oldest row under way, if it has waited for long enough. ``answering``: whether a member answers, and by what
        number; ``look``: look after it, since it answered just now, and a large row still has time if it goes on to."""
        first, last = self.due
        flight = self.oldest
        if flight is None or now < first:
            return None
        if now >= last or (self.member and answering(self.member) != (True, flight.life)):
            return flight
        if not self.looked and self.member:
            look(self.member)
        self.looked = True
        return None

    def answered(self, id: str, now: float = 0.0) -> Flight | None:
        """What was answered; the recipient is alive."""
        flight = self.flights.pop(id, None)
        if flight is None:
            return None
        self.failures, self.resume = 0, 0.0
        self.heard, self.looked = now, False
        return flight

    def failed(self, now: float, reason: str) -> list[Delivery]:
        """The recipient did not answer: everything under way goes back. Returns the rows as they are now."""
        self.failures += 1
        self.looked = False
        pause = min(self._most, self._first * 2 ** min(self.failures - 1, 16))
        self.resume = now + pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        back = [flight.tried.moved(now, SENT, reason) for flight in self.flights.values()]
        self.flights.clear()
        self.queue.extendleft(sorted(back, key=lambda row: -row.number))
        if len(self.queue) > 1:  # the store has the others: much may wait for many that are dead
            # Not always the first: one that was admitted late is behind others.
            self.queue = deque([min(self.queue, key=lambda row: row.number)])
            self.cursor, self.more = self.queue[0].number, True
        return back

    def refresh(self, rows: list[Delivery | None], ids: set[str]) -> None:
        """Put rows that were stored in a new state in the place of the old ones; those that are gone disappear."""
        stored = {row.id: row for row in rows if row is not None}
        self.queue = deque(stored.get(row.id, row) for row in self.queue if row.id in stored or row.id not in ids)

    def drop(self, id: str) -> Flight | None:
        """Forget a row; returns its flight if it was under way."""
        if (flight := self.flight_of(id)) is not None:
            return self.flights.pop(flight.id)
        self.queue = deque(row for row in self.queue if row.id != id)
        return None

    def next_event(self) -> float | None:
        """When to look at it again: the pause is over, or the oldest row under way has waited for long enough."""
        times = [self.due[self.looked]] if self.flights else []
        if self.queue and self.resume and not self.flights:
            times.append(self.resume)
        return min(times, default=None)
