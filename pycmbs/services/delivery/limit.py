"""Admission control of the outbox, by a count that is kept rather than taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pycmbs.errors import NotSendable, QueueFull
from pycmbs.services.records.deliveries import DELIVERY
from pycmbs.store.base import Query, Store

FRESH_SECONDS = 1.0
"""How long a count is used; what this process accepts in that time is added to it."""


class OutboxBound:
    """At most so many unsettled deliveries in the store.

    They are counted once in :data:`FRESH_SECONDS`, and only while something is sent. So the bound can be overshot by what the
    broker's other processes accept within that time, and room that settling makes is noticed after it.
    """

    def __init__(self, store: Store, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``most``: deliveries. ``clock``: seconds, for tests."""
        self._store = store
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()  # held for a few instructions, never across a wait
        self._waiting = 0
        self._stale = float("-inf")

    def take(self, number: int) -> None:
        """Room for so many more deliveries; what is not written then must be given back.

        Raises QueueFull when there is none now, NotSendable when there never can be.
        """
        if number > self._most:
            raise NotSendable(
                f"the message has {number} recipients, and the outbox holds {self._most}",
                hint="The setting outbox_bound says how many it holds.",
            )
        self._refresh()
        with self._lock:
            if self._waiting + number > self._most:
                raise QueueFull(
                    f"{self._waiting} deliveries wait, and the outbox holds {self._most}",
                    hint="Try again when some are settled; the setting outbox_bound says how many it holds.",
                )
            self._waiting += number

    def give_back(self, number: int) -> None:
        """So many were not written after all."""
        with self._lock:
            self._waiting -= number

    def share(self) -> float:
        """How full the outbox is: 1 is its bound."""
        self._refresh()
        return self._waiting / self._most

    def _refresh(self) -> None:
        with self._lock:
            before, now = self._waiting, self._clock()
            if now < self._stale:
                return
            self._stale = now + FRESH_SECONDS  # others go on with the old count while this one is made
        counted = self._store.count(Query(DELIVERY, {"unsettled": "1"}))
        with self._lock:
            self._waiting = counted + max(0, self._waiting - before)
