"""Collects settled rows until they are committed."""

from __future__ import annotations

import logging

from msgspec.structs import replace

from pycmbs import clock
from pycmbs.engine.awaiting import Awaiting
from pycmbs.engine.waiters import Waiters
from pycmbs.errors import CmbsError, RemoteError, Unavailable
from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.records.deliveries import Delivery

log = logging.getLogger(__name__)

_TRIES = 3
"""How often rows are written together before each is written by itself, in case one of them is the reason for failing."""
_UNSTORABLE = RemoteError("what it answered cannot be stored here")

Settled = list[tuple[Delivery, Delivery | None]]
"""Rows as they were put, and as they are stored: None if they are gone."""


class Settling:
    """Answers that are not stored yet; those that wait for one are told once it is stored."""

    def __init__(self, outbox: OutboxService, awaiting: Awaiting, waiters: Waiters) -> None:
        self._outbox = outbox
        self._awaiting = awaiting
        self._waiters = waiters
        self._rows: dict[str, Delivery] = {}
        self._failures = 0

    def __bool__(self) -> bool:
        """Whether something waits to be stored."""
        return bool(self._rows)

    def put(self, row: Delivery) -> None:
        """A row as it is now."""
        known = self._rows.get(row.id)
        self._rows[row.id] = row if known is None else known.raised(row)

    def store(self) -> Settled:
        """Write them. Raises Unavailable when the store is away: they wait here, and nothing may be sent before."""
        if not self._rows:
            return []
        rows = list(self._rows.values())
        try:
            return self._written(rows)
        except Exception as exc:
            self._failures += 1
            if isinstance(exc, Unavailable) and self._failures < _TRIES:
                raise
        return self._apart(rows)

    def _written(self, rows: list[Delivery]) -> Settled:
        stored, concluded = self._outbox.settle(rows)
        self._failures = 0
        for row, kept in zip(rows, stored, strict=True):
            self._rows.pop(row.id, None)
            if kept is not None:
                self._awaiting.refresh(kept)
        self._waiters.release(concluded)
        return list(zip(rows, stored, strict=True))

    def _apart(self, rows: list[Delivery]) -> Settled:
        """Write them in halves, so that the one that cannot be written is alone in the end."""
        if len(rows) == 1:
            return self._alone(rows[0])
        done: Settled = []
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            try:
                done += self._written(half)
            except Exception:
                log.debug("%d answers cannot be stored together", len(half), exc_info=True)
                done += self._apart(half)
        return done

    def _alone(self, row: Delivery) -> Settled:
        """Write one that could not be, without what its recipient said if that is why. Raises Unavailable if the store writes
        nothing at all."""
        self._outbox.rewrite(row)
        try:
            return self._written([row])
        except Exception as exc:
            who, ours = row.member or row.socket, not isinstance(exc, CmbsError)
            log.warning("an answer of %s cannot be stored, and is left out: %s", who, exc, exc_info=ours)
        try:
            return self._written([_bare(row)])
        except (CmbsError, TypeError, ValueError):
            log.exception("%s is left as it is", row.id)
        self._rows.pop(row.id)
        return []


def _bare(row: Delivery) -> Delivery:
    """The row without anything that another member said."""
    now, reason = clock.now(), _UNSTORABLE.line if row.reason else ""
    bare = replace(row, answer=None, reason=reason)
    return bare if row.outcome is None else bare.with_outcome(now, {"error": _UNSTORABLE.to_dict()})
