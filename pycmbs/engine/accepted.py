"""Reads newly accepted rows in order, and misses none that was committed late."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.records.deliveries import Delivery

_PAGE = 500


class AcceptedRows:
    """The rows of the outbox that were not read yet.

    Where documents are numbered as they are written, those are beyond the last number. Elsewhere numbers are the writers'
    clocks: what is there at first is read by number, and what comes after that, from the change feed, in the order in which it
    was written. That tells of changed rows, too, so a row may come again.
    """

    def __init__(self, outbox: OutboxService) -> None:
        self._outbox = outbox
        self._number = 0
        self.inherited = math.inf
        """The number of the last row that was there at first: up to it, an earlier engine may have sent any."""
        self._since = ""
        """Where in the feed to go on, once what was there at first is read."""

    def pages(self) -> Iterator[list[Delivery]]:
        """Those that there are now. A page counts as read once the next one is asked for."""
        if self._since:
            yield from self._from_feed()
            return
        since = self._outbox.latest()
        while rows := self._outbox.pending(after=self._number, limit=_PAGE):
            yield rows
            self._number = rows[-1].number
            if len(rows) < _PAGE:
                break
        self.inherited = min(self.inherited, self._number)
        self._since = since

    def _from_feed(self) -> Iterator[list[Delivery]]:
        while True:
            rows, since, more = self._outbox.changed(self._since, _PAGE)
            yield rows
            self._since = since
            if not more:
                return
