"""Rows that become visible after rows with higher numbers: in a store that numbers documents before it writes them."""

from __future__ import annotations

from collections.abc import Iterable

from pycmbs.services.deliveries import Delivery
from pycmbs.services.outbox import OutboxService

_PAGE = 500


class LateRows:
    """What the outbox holds behind the cursor of who reads it, and nobody has seen."""

    def __init__(self, outbox: OutboxService) -> None:
        self._outbox = outbox
        self._settled: int | None = None
        """No new row appears below this; None where rows appear in the order of their numbers."""
        self._seen: dict[str, int] = {}
        """The numbers of the rows above that, by id."""

    def note(self, rows: Iterable[Delivery]) -> None:
        """These are seen."""
        if self._settled is not None:
            self._seen |= {row.id: row.number for row in rows}

    def read(self, cursor: int) -> list[Delivery]:
        """The rows up to the cursor that were not seen; from now on they are."""
        after, self._settled = self._settled, self._outbox.settled_before()
        if after is None or self._settled is None:
            return []
        found: list[Delivery] = []
        while after < cursor and (rows := self._outbox.pending(after=after, limit=_PAGE)):
            found += [row for row in rows if row.number <= cursor and row.id not in self._seen]
            after = rows[-1].number
        self.note(found)
        self._seen = {id: number for id, number in self._seen.items() if number > self._settled}
        return found
