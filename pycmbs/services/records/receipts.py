"""Receipts: what a receiver remembers of every message it took in, so that a second arrival has no effect."""

from __future__ import annotations

from pycmbs import clock
from pycmbs.services.records.times import sort_key_of_time
from pycmbs.store.base import Store, Write

RECEIPT = "receipt"
KEEP_SECONDS = 86400.0
"""Beyond a message's deadline, for which its receipt is kept: clocks differ, and networks hold things back."""


def receipt_id(origin: str, message: str, round: int) -> str:
    """The receipt's document: ``origin`` and ``message`` are ids, ``round`` tells one sending from the next."""
    return f"{RECEIPT}:{origin}:{message}:{round}"


def expiry(left: float | None) -> dict[str, tuple[str, ...]]:
    """The key that says until when a receipt is kept. ``left``: seconds until the message's deadline; None without one."""
    return {"expires": (sort_key_of_time(clock.now() + max(0.0, left or 0.0) + KEEP_SECONDS),)}


def forget(store: Store, most: int) -> int:
    """Delete at most so many receipts of messages that cannot come again, their deadline being long past; returns how many."""
    old = store.lowest_by_key(RECEIPT, "expires", sort_key_of_time(clock.now()), most)
    gone = [[Write(one.id, RECEIPT, revision=one.revision, delete=True)] for one in old]
    if gone:
        store.write_batches(gone)
    return len(gone)
