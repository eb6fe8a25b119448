"""What is done again when somebody else was faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pycmbs.errors import Conflict, RevisionConflict

_TRIES = 20

T = TypeVar("T")


def retried(path: str, attempt: Callable[[], T]) -> T:
    """What the attempt comes to; it must read anew what it writes. Raises Conflict when others keep changing ``path``."""
    for _ in range(_TRIES):
        try:
            return attempt()
        except RevisionConflict:
            continue
    raise Conflict(f"others keep changing {path}", hint="Try again.", location=path)
