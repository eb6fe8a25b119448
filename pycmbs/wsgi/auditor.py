"""What the audit log says of requests.

A line is written within :data:`DELAY_SECONDS` of its answer, many at once: so a request does not wait for it, and a kill may
lose the last.
"""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from pycmbs.runtime import Runtime
from pycmbs.services.access.audit import AUDIT, Line, append, lines, stamp
from pycmbs.services.access.principal import Principal
from pycmbs.wsgi.auth import PRINCIPAL

log = logging.getLogger(__name__)

DELAY_SECONDS = 0.05
"""Between an answer and its line, at most, and the writing itself."""
_MOST_WAITING = 100_000
"""Lines that wait to be written; beyond, they are dropped, and a line says how many."""
_ACTION = re.compile(r"(?:^|&)action=([^&]*)")
CHANGING = ("POST", "PUT", "DELETE")
"""Methods of requests that may change something."""
_REFUSED = ("401", "403", "421", "429")
_LONGEST = 1000
"""Characters of a path."""


class _Noted(NamedTuple):
    """A request, as much of it as its line needs: that is made when it is written."""

    at: float
    principal: Principal | None
    address: str
    method: str
    path: str
    query: str
    id: str
    status: str


class Auditor:
    """Has requests noted: all, or those that change something or are refused, or none."""

    def __init__(self, home: Path, runtime: Runtime, which: str) -> None:
        """``which``: the setting ``audit``."""
        self._path = home / AUDIT
        self._runtime = runtime
        self._which = which
        self._noted: list[_Noted] = []
        self._dropped = 0
        self._writing = False
        self._failed = False

    def note(self, environ: dict[str, Any], id: str, status: str) -> None:
        """Have this request noted soon, if it is one of them. ``id``: the request's; ``status``: its answer's, in words too."""
        which, method = self._which, environ["REQUEST_METHOD"]
        if which != "all" and (which == "off" or (method not in CHANGING and status[:3] not in _REFUSED)):
            return
        if len(self._noted) >= _MOST_WAITING:
            self._dropped += 1
            return
        get = environ.get
        where = (get("REMOTE_ADDR", ""), method, get("PATH_INFO", ""), get("QUERY_STRING", ""))
        self._noted.append(_Noted(time.time(), get(PRINCIPAL), *where, id, status))
        if not self._writing:
            self._writing = True
            self._runtime.spawn("audit", self._write)

    def _write(self) -> None:
        try:
            while self._noted:
                self._runtime.sleep(DELAY_SECONDS)
                noted, self._noted = self._noted, []
                dropped, self._dropped = self._dropped, 0
                self._runtime.offload(self._append, noted, dropped)
        finally:
            self._writing = False

    def _append(self, noted: list[_Noted], dropped: int) -> None:
        found = [_line(one) for one in noted]
        if dropped:
            found.append(Line(stamp(time.time()), "", "", "", dropped=dropped))
        try:
            append(self._path, lines(found))
            self._failed = False
        except OSError as exc:
            if not self._failed:
                log.error("%s cannot be written, and lines of it are lost: %s", self._path, exc.strerror)  # noqa: TRY400
            self._failed = True


def _line(noted: _Noted) -> Line:
    at, principal, address, method, path, query, id, status = noted
    subject, via = (principal.subject, principal.via) if principal is not None else ("", "")
    operation = _operation(method, path, query)
    shown = path if path.isascii() else path.encode("latin-1").decode("utf-8", "replace")
    return Line(stamp(at), subject, via, operation, address, id, shown[:_LONGEST], status=int(status[:3]))


def _operation(method: str, path: str, query: str) -> str:
    """As rules name it."""
    collection = path.endswith("/")
    if method == "POST":
        if query and (action := _ACTION.search(query)):
            return f"act:{unquote_plus(action[1][:300])[:100]}"
        return "create" if collection else "update"
    categories = path.endswith("/-/")
    if method == "PUT":
        return "update" if collection and not categories else "replace"
    if method == "DELETE":
        return "delete"
    return "list" if collection and not categories else "read"
