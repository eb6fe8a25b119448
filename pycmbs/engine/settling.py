"""Rows whose delivery came to something, until that is stored."""

from __future__ import annotations

import logging

from msgspec.structs import replace

from pycmbs.engine.awaiting import Awaiting
from pycmbs.engine.waiters import Waiters
from pycmbs.errors import Unavailable
from pycmbs.services.deliveries import Delivery
from pycmbs.services.outbox import OutboxService

log = logging.getLogger(__name__)


class Settling:
    """What was answered and is not stored yet; whoever waits for it is told once it is."""

    def __init__(self, outbox: OutboxService, awaiting: Awaiting, waiters: Waiters) -> None:
        self._outbox = outbox
        self._awaiting = awaiting
        self._waiters = waiters
        self._rows: dict[str, Delivery] = {}

    def put(self, row: Delivery) -> None:
        """A row as it is now."""
        known = self._rows.get(row.id)
        self._rows[row.id] = row if known is None else known.raised(row)

    def store(self) -> list[tuple[Delivery, Delivery | None]]:
        """Write them; returns each as it was put and as it is stored, None if it is gone. Raises Unavailable when the store is
        away: they wait here, and nothing may be sent meanwhile."""
        if not self._rows:
            return []
        rows = list(self._rows.values())
        try:
            stored, concluded = self._outbox.settle(rows)
        except Unavailable:
            raise
        except Exception:
            log.exception("%d answers cannot be stored together; alone, and without what was answered", len(rows))
            stored, concluded = [], {}
            for row in rows:
                alone = self._outbox.settle([replace(row, answer=None, outcome=None)])
                stored, concluded = [*stored, *alone[0]], concluded | alone[1]
                del self._rows[row.id]
        self._rows = {}
        for kept in stored:
            if kept is not None:
                self._awaiting.refresh(kept)
        self._waiters.release(concluded)
        return list(zip(rows, stored, strict=True))
