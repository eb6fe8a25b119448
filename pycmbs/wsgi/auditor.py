"""What the audit log says of requests.

A line is written within :data:`DELAY_SECONDS` of its answer, many at once: so a request does not wait for it, and a kill may
lose the last.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from pycmbs.runtime import Runtime
from pycmbs.services.access.audit import AUDIT, append, line
from pycmbs.services.access.principal import Principal
from pycmbs.wsgi.auth import PRINCIPAL

log = logging.getLogger(__name__)

DELAY_SECONDS = 0.02
"""Between an answer and its line, at most, and the writing itself."""
_MOST_WAITING = 100_000
"""Lines that wait to be written; beyond, they are dropped, and a line says how many."""
_ACTION = re.compile(r"(?:^|&)action=([^&]*)")
CHANGING = ("POST", "PUT", "DELETE")
"""Methods of requests that may change something."""
_REFUSED = (401, 403, 421, 429)
_LONGEST = 1000
"""Characters of a path."""


class Audit:
    """Writes the log."""

    def __init__(self, home: Path, runtime: Runtime) -> None:
        self._path = home / AUDIT
        self._runtime = runtime
        self._lines: list[bytes] = []
        self._dropped = 0
        self._writing = False
        self._failed = False

    def note(self, entry: dict[str, Any]) -> None:
        """Have this written soon, with the time."""
        if len(self._lines) >= _MOST_WAITING:
            self._dropped += 1
            return
        self._lines.append(line(entry))
        if not self._writing:
            self._writing = True
            self._runtime.spawn("audit", self._write)

    def _write(self) -> None:
        try:
            self._runtime.sleep(DELAY_SECONDS)
            while self._lines:
                lines, self._lines = self._lines, []
                if self._dropped:
                    lines.append(line({"dropped": self._dropped}))
                    self._dropped = 0
                self._runtime.offload(self._append, b"".join(lines))
        finally:
            self._writing = False

    def _append(self, data: bytes) -> None:
        try:
            append(self._path, data)
            self._failed = False
        except OSError as exc:
            if not self._failed:
                log.error("%s cannot be written, and lines of it are lost: %s", self._path, exc.strerror)  # noqa: TRY400
            self._failed = True


class Auditor:
    """Has requests noted: all, or those that change something or are refused, or none."""

    def __init__(self, audit: Audit, which: str) -> None:
        """``which``: the setting ``audit``."""
        self._audit = audit
        self._which = which

    def note(self, environ: dict[str, Any], id: str, status: int) -> None:
        """Have this request noted, if it is one of them. ``id``: the request's; ``status``: of its answer."""
        method = environ["REQUEST_METHOD"]
        if self._which != "all" and (self._which == "off" or (method not in CHANGING and status not in _REFUSED)):
            return
        principal: Principal | None = environ.get(PRINCIPAL)
        self._audit.note(
            {
                "subject": principal.subject if principal is not None else "",
                "via": principal.via if principal is not None else "",
                "address": environ.get("REMOTE_ADDR", ""),
                "request": id,
                "operation": _operation(method, environ),
                "path": environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")[:_LONGEST],
                "status": status,
            }
        )


def _operation(method: str, environ: dict[str, Any]) -> str:
    """As rules name it."""
    path = environ.get("PATH_INFO", "")
    collection, categories = path.endswith("/"), path.endswith("/-/")
    if method == "POST":
        if action := _ACTION.search(environ.get("QUERY_STRING", "")):
            return f"act:{unquote_plus(action[1][:300])[:100]}"
        return "create" if collection else "update"
    if method == "PUT":
        return "update" if collection and not categories else "replace"
    if method == "DELETE":
        return "delete"
    return "list" if collection and not categories else "read"
