"""Caches a message's envelope body, so that it is built once for all recipients."""

from __future__ import annotations

from typing import Any

from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.records.deliveries import Delivery

_CACHED = 16


class BodyCache:
    """The envelopes' bodies of the messages that went out last."""

    def __init__(self, outbox: OutboxService) -> None:
        self._outbox = outbox
        self._made: dict[tuple[str, int], dict[str, Any]] = {}

    def forget(self, row: Delivery) -> None:
        """What was made for a row's message says something that is not so any more."""
        self._made.pop((row.message, row.round), None)

    def of(self, row: Delivery) -> dict[str, Any] | None:
        """The body for a row; None when the row does not count. Raises as :meth:`OutboxService.outgoing`."""
        key = (row.message, row.round)
        body = self._made.get(key) or self._outbox.outgoing(row)
        if body is not None:
            if len(self._made) >= _CACHED and key not in self._made:
                del self._made[next(iter(self._made))]
            self._made[key] = body
        return body
