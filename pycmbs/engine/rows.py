"""The outbox thread's view of unsettled delivery rows: loads them, stores their results, finds overdue ones.

No row is sent here: that is :mod:`pycmbs.engine.traffic`. Its state belongs to the thread of the outbox.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec.structs import replace

from pycmbs.engine.accepted import AcceptedRows
from pycmbs.engine.awaiting import Awaiting
from pycmbs.engine.lapsed import Lapsed
from pycmbs.engine.orphans import Orphans
from pycmbs.engine.settling import Settled, Settling
from pycmbs.engine.waiters import Waiters
from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.records.deliveries import Delivery

_PAGE = 500


class Rows:
    """The outbox's unsettled rows, and what is known of them that is not stored yet."""

    def __init__(self, outbox: OutboxService) -> None:
        self._outbox = outbox
        self._accepted = AcceptedRows(outbox)
        self._orphans = Orphans(outbox)
        self.awaiting = Awaiting()
        """Rows whose recipient has the message and executes it."""
        self.lapsed = Lapsed(outbox, self.awaiting)
        """What was asked and not answered in time."""
        self.waiters = Waiters()
        """Requests that wait until a message is settled. For any thread."""
        self._settling = Settling(outbox, self.awaiting, self.waiters)

    @property
    def unstored(self) -> bool:
        """Whether something waits for :meth:`store`."""
        return bool(self._settling)

    def load(self, admit: Callable[[Delivery], None]) -> None:
        """Read what was accepted since the last time; ``admit`` is called with every row that is to be sent. Raises
        Unavailable."""
        loaded: set[str] = set()
        for rows in self._accepted.pages():
            for row in rows:
                self._taken(row, admit)
            loaded.update(row.message for row in rows)
        self.waiters.begin(loaded, self._outbox.unsettled)
        for row in self._orphans.look(time.monotonic()):
            if row.unsettled:
                self._taken(row, admit)

    def _taken(self, row: Delivery, admit: Callable[[Delivery], None]) -> None:
        if row.awaiting_outcome:
            self.awaiting.add(row, time.monotonic())
        else:
            admit(row)

    def pending(self, route: str, after: int, limit: int) -> list[Delivery]:
        """Rows of one route beyond a number, in its order."""
        return self._outbox.pending(after=after, limit=limit, route=route)

    def put(self, row: Delivery) -> None:
        """A row as it is now, to be stored."""
        self._settling.put(row)

    def store(self) -> Settled:
        """Store what was put, with one commit. Raises Unavailable when the store is away: nothing may be sent then."""
        return self._settling.store()

    def set_aside(self, row: Delivery) -> None:
        """The message of a row is not there, or not yet: it must not hold up others."""
        self._orphans.note(row, time.monotonic())

    def overdue(self, now: float) -> list[Delivery]:
        """Some of the rows, in memory or not, whose deadline is over."""
        return self._outbox.overdue(now, _PAGE)

    def expired(self, row: Delivery, now: float) -> Delivery:
        """An overdue row, which is not under way, in its final state."""
        if row.awaiting_outcome:
            for id, asked in self.awaiting.drop(row.id).items():
                self.lapsed.add(id, row.id, asked)
            return replace(row.moved(now, row.state, "no outcome came before the deadline"), awaiting_outcome=False)
        return row.given_up(now, inherited=row.number <= self._accepted.inherited)

    def conclude(self, rows: list[Delivery]) -> None:
        """Store overdue rows in their final state, at once. Raises Unavailable."""
        settled, concluded = self._outbox.settle(rows)
        self.waiters.release(concluded)
        self._orphans.note_among([row for row in settled if row is not None], time.monotonic())

    def next_event(self) -> float | None:
        """When the next deadline passes, or the next outcome is to be asked for."""
        times = [at for one in (self.waiters, self.awaiting) if (at := one.next_event()) is not None]
        return min(times, default=None)
