"""Retries a change that lost an optimistic-concurrency race."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pycmbs.errors import Conflict, RevisionConflict

_TRIES = 20

T = TypeVar("T")


def retried(path: str, attempt: Callable[[], T]) -> T:
    """Calls ``attempt`` until it succeeds; it must re-read what it writes. Raises Conflict after too many concurrent changes to
    ``path``."""
    for _ in range(_TRIES):
        try:
            return attempt()
        except RevisionConflict:
            continue
    raise Conflict(f"too many concurrent changes to {path}", hint="Try again.", location=path)
