"""The access log: a line for each HTTP request, or for each that is answered with an error, and bounded then."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pycmbs.runtime import Runtime
from pycmbs.tracing import log_fields
from pycmbs.wsgi.auth import PRINCIPAL

log = logging.getLogger("pycmbs.access")

MOST_LINES = 50
"""Lines that a front writes in a second about errors of one class (4xx, 5xx); the rest is counted in one."""
_SECOND = 1.0


class AccessLog:
    """Writes lines about requests. Who is refused asks again without end, and must not fill the disk by it."""

    def __init__(self, runtime: Runtime, which: str) -> None:
        """``which``: the setting ``access_log``."""
        self._runtime = runtime
        self._bounded = which == "errors"
        self._written: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._since = -_SECOND
        self.least = {"off": "9", "errors": "4", "all": ""}[which]
        """The statuses from which on a request is logged."""

    def note(self, environ: Mapping[str, Any], id: str, status: str, seconds: float, traced: Mapping[str, str]) -> None:
        """A line about a request, unless there are too many of its kind: who asked for what, and what came of it. The query is
        left out: clients put secrets there."""
        if self._bounded and not self._fits(status[0]):
            return
        principal = environ.get(PRINCIPAL)
        log.info(
            '%s %s "%s %s" %s %.1f ms (request %s)',
            environ.get("REMOTE_ADDR", "-"),
            principal.subject if principal is not None and principal.subject else "-",
            environ["REQUEST_METHOD"][:20],
            environ.get("PATH_INFO", "")[:500],
            status[:3],
            seconds * 1000,
            id,
            extra={**log_fields(traced), "request_id": id},
        )

    def flush(self) -> None:
        """Write how many requests were left out."""
        left_out, self._left_out = self._left_out, Counter()
        for kind, number in sorted(left_out.items()):
            log.info(
                "%d more requests were answered with %sxx, and have no lines: there are %d a second",
                number,
                kind,
                MOST_LINES,
            )

    def _fits(self, kind: str) -> bool:
        now = time.monotonic()
        if now - self._since >= _SECOND:
            self._since = now
            self._written.clear()
        if self._written[kind] < MOST_LINES:
            self._written[kind] += 1
            return True
        if not self._left_out:
            self._runtime.spawn("access log", self._count)
        self._left_out[kind] += 1
        return False

    def _count(self) -> None:
        self._runtime.sleep(_SECOND)
        self.flush()
