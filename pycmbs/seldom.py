"""Rate-limited logging that counts suppressed lines."""

from __future__ import annotations

import logging
import time

SECONDS = 1.0
"""Between two lines of one kind, unless it is said otherwise."""


class Seldom:
    """Logs one kind of thing at most once in so many ``seconds``. May be called from any thread."""

    def __init__(self, log: logging.Logger, level: int = logging.WARNING, *, seconds: float = SECONDS) -> None:
        self._log = log
        self._seconds = seconds
        self._level = level
        self._next = 0.0
        self._more = 0

    def __call__(self, message: str, *args: object) -> None:
        """Log it, unless that was done just now."""
        now = time.monotonic()
        if now < self._next:
            self._more += 1
            return
        self._next, more, self._more = now + self._seconds, self._more, 0
        if more:
            message, args = f"{message} (and %d more like it)", (*args, more)
        self._log.log(self._level, message, *args)
