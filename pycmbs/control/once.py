"""Answers a call that is repeated after a broken connection with its first answer, rather than doing it twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pycmbs.errors import EngineUnavailable

_MOST = 1000
"""Calls of which it is known what came of them; the oldest of those that are over go first."""

Outcome = Future[dict[str, Any]]


class Once:
    """Outcomes by the calls' keys. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()
        self._lock = threading.Lock()

    def perform(self, key: str, work: Callable[[], Outcome], *, again: bool) -> Outcome:
        """What comes of ``work``, which is done unless it was, or is being done, under this key.

        ``again``: it was asked for before. Raises EngineUnavailable when nothing is known of that: it may have been done.
        """
        with self._lock:
            known = self._outcomes.get(key)
            if known is not None:
                return known
            if again:
                raise EngineUnavailable(
                    "the engine ended meanwhile, and it is not known whether this was done",
                    hint="See whether it was before you ask for it again.",
                )
            outcome = self._outcomes[key] = work()
            while len(self._outcomes) > _MOST and (over := self._over()):
                del self._outcomes[over]
            return outcome

    def _over(self) -> str:
        return next((key for key, outcome in self._outcomes.items() if outcome.done()), "")
