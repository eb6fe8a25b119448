"""Receipts: what a receiver remembers of every message it took in, so that a second arrival has no effect."""

from __future__ import annotations

RECEIPT = "receipt"


def receipt_id(origin: str, message: str, round: int) -> str:
    """The receipt's document: ``origin`` and ``message`` are ids, ``round`` tells one sending from the next."""
    return f"{RECEIPT}:{origin}:{message}:{round}"
