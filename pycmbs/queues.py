"""Thread-safe queues, bounded by number and bytes."""

from __future__ import annotations

import queue
import threading
from typing import Generic, TypeVar

T = TypeVar("T")

SMALL = 4096
"""Bytes of an item that the bound of bytes does not keep out: probes and acknowledgements get through where large messages
wait. The bound of their number holds for them, too."""


class Budget:
    """So many bytes for what waits, in any number of places. Every method may be called from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Have ``size`` bytes, unless that is more than are left. The first may always be had, however large it is."""
        with self._lock:
            if self._taken and size > SMALL and self._taken + size > self._most:
                return False
            self._taken += size
            return True

    def give(self, size: int) -> None:
        """Give bytes back that were taken."""
        with self._lock:
            self._taken -= size


class BoundedQueue(Generic[T]):
    """A queue of at most so many items, of at most so many bytes together."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._budget = Budget(most_bytes)
        self._queue: queue.SimpleQueue[tuple[T, int]] = queue.SimpleQueue()

    def offer(self, item: T, size: int) -> bool:
        """Put an item of ``size`` bytes at the end; False where there is no room for it."""
        if self._queue.qsize() >= self._most or not self._budget.take(size):
            return False
        self._queue.put((item, size))
        return True

    def put(self, item: T) -> None:
        """Put an item at the end that takes no room, and of which there are few."""
        self._queue.put((item, 0))

    def turn(self, most: int, most_bytes: int, timeout: float | None = None) -> list[T]:
        """Wait for the first item; then it, and what else is there right now: in all at most ``most`` items, and no more once
        they have ``most_bytes``. Empty when none comes within ``timeout`` seconds."""
        items: list[T] = []
        size = 0
        try:
            item, taken = self._queue.get(timeout=timeout)
            while True:
                items.append(item)
                if taken:
                    self._budget.give(taken)
                    size += taken
                if len(items) >= most or size >= most_bytes:
                    break
                item, taken = self._queue.get_nowait()
        except queue.Empty:
            pass
        return items
