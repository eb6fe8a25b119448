"""Requests that wait until a message is settled for all its recipients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from pycmbs.services.records.deliveries import Delivery

Waiter = Future[dict[str, Any]]
"""``{"rows": […]}``, the rows as they were settled, if it is known; an empty object otherwise."""

_MOST = 10_000
"""Waiters; one more is answered at once, with nothing."""


class Waiters:
    """Futures by the path of the message they wait for. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[float, Waiter]]] = {}
        self._new: dict[str, None] = {}
        self._number = 0
        self._lock = threading.Lock()

    def add(self, path: str, seconds: float) -> Waiter:
        """A future that is done when the message is released, or, by :meth:`release_late`, when the seconds are over."""
        future: Waiter = Future()
        with self._lock:
            if self._number >= _MOST:
                future.set_result({})
                return future
            self._number += 1
            self._waiting.setdefault(path, []).append((time.monotonic() + seconds, future))
            self._new[path] = None
        return future

    def begin(self, under_way: Container[str], unsettled: Callable[[str], bool]) -> None:
        """See to those that are new: nothing else answers a request that began to wait when all was settled. ``under_way``:
        messages of which it is known that they are not; ``unsettled``: whether another one is not."""
        with self._lock:
            new = list(self._new)
        for path in new:
            if path not in under_way and not unsettled(path):
                self.release({path: ()})
            with self._lock:
                self._new.pop(path, None)

    def release(self, settled: Mapping[str, Sequence[Delivery]]) -> None:
        """These messages have no unsettled recipient: their rows, if they are at hand."""
        with self._lock:
            done = [(future, rows) for path, rows in settled.items() for _, future in self._waiting.pop(path, [])]
            self._number -= len(done)
        for future, rows in done:
            future.set_result({"rows": [row.body() for row in rows]} if rows else {})

    def release_late(self) -> None:
        """Release those whose seconds are over."""
        now = time.monotonic()
        with self._lock:
            late = [(path, one) for path, waiters in self._waiting.items() for one in waiters if one[0] <= now]
            for path, one in late:
                self._waiting[path].remove(one)
                if not self._waiting[path]:
                    del self._waiting[path]
            self._number -= len(late)
        for _, (_, future) in late:
            future.set_result({})

    def next_event(self) -> float | None:
        """When the seconds of the first are over."""
        with self._lock:
            return min((until for waiters in self._waiting.values() for until, _ in waiters), default=None)
