"""Delivery rows without a message, left by a send that was interrupted on a store without atomic batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.records.deliveries import Delivery

_YOUNG = 1.0
"""Seconds in which the message of a row is looked for at every occasion; later, once in as many."""
_KEEP_SECONDS = 10.0
"""Seconds after which a row whose message is not there is removed: longer than a write takes that may still succeed. By the
clock of the process that looks at it: the writer's may be wrong."""


@dataclass(slots=True)
class _Orphan:
    row: Delivery
    since: float
    looked: float


class Orphans:
    """Rows that were set aside, so that they hold up no others. As many as the outbox has."""

    def __init__(self, outbox: OutboxService) -> None:
        self._outbox = outbox
        self._orphans: dict[str, _Orphan] = {}

    def __len__(self) -> int:
        return len(self._orphans)

    def note(self, row: Delivery, now: float) -> None:
        """Set a row aside. ``now`` is monotonic."""
        self._orphans.setdefault(row.id, _Orphan(row, now, now))

    def note_among(self, rows: Sequence[Delivery], now: float) -> None:
        """Set aside those of the rows whose message is not there."""
        known = {row.id for row in self._outbox.counting(rows)}
        for row in rows:
            if row.id not in known:
                self.note(row, now)

    def look(self, now: float) -> list[Delivery]:
        """The rows whose message is there by now; they are no longer set aside. Those that waited for long enough are
        removed."""
        due = [one for one in self._orphans.values() if now - one.since < _YOUNG or now - one.looked >= _YOUNG]
        if not due:
            return []
        found = self._outbox.counting([one.row for one in due])
        known = {row.id for row in found}
        old = [one.row for one in due if one.row.id not in known and now - one.since >= _KEEP_SECONDS]
        if old:
            self._outbox.discard(old)
        for one in due:
            one.looked = now
        for row in [*found, *old]:
            del self._orphans[row.id]
        return found
