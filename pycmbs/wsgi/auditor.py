"""Writes the audit lines of HTTP requests.

A line is written within :data:`DELAY_SECONDS` of its answer, many at once: so a request does not wait for it, and a kill may
lose the last.
"""

from __future__ import annotations

import functools
import logging
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from pycmbs.runtime import Runtime
from pycmbs.services.access.audit import AUDIT, Line, append, lines, stamp
from pycmbs.services.access.principal import Principal
from pycmbs.wsgi.auth import PRINCIPAL

log = logging.getLogger(__name__)

DELAY_SECONDS = 0.05
"""Between an answer and its line, at most, and the writing itself."""
_MOST_WAITING = 20_000
"""Lines that wait to be written; beyond, they are dropped, and a line says how many."""
_ACTION = re.compile(r"(?:^|&)action=([^&]*)")
CHANGING = ("POST", "PUT", "DELETE")
"""Methods of requests that may change something."""
_REFUSED = ("401", "403", "421", "429")
_MOST_ALIKE = 1024
"""Kinds of lines that are remembered."""
_LONGEST = 1000
"""Characters of a path, and of a query that is kept for it."""


_About = tuple[Principal | None, str, str, str, str, str]
"""What many requests have in common: who asks, from where, method, path, query, status."""
_Noted = tuple[float, str, _About]
"""As much of a request as its line needs, which is made when it is written: when, its id, the rest. A plain tuple, as each
request makes one."""


class Auditor:
    """Has requests noted: all, or those that change something or are refused, or none."""

    def __init__(self, home: Path, runtime: Runtime, which: str) -> None:
        """``which``: the setting ``audit``."""
        self._path = home / AUDIT
        self._runtime = runtime
        self._which = which
        self._methods = () if which == "off" else CHANGING
        self._statuses = () if which == "off" else _REFUSED
        self._noted: list[_Noted] = []
        self._about: _About | None = None
        """What the last request had in common with those before it."""
        self._dropped = 0
        self._writing = False
        self._failed = False

    def note(self, environ: dict[str, Any], id: str, status: str) -> None:
        """Have this request noted soon, if it is one of them. ``id``: the request's; ``status``: its answer's, in words too."""
        get, method = environ.get, environ["REQUEST_METHOD"]
        if method not in self._methods and status[:3] not in self._statuses and self._which != "all":
            return
        if len(self._noted) >= _MOST_WAITING:
            self._dropped += 1
            return
        path, query = get("PATH_INFO", ""), get("QUERY_STRING", "")
        if len(path) + len(query) > _LONGEST:
            action = _ACTION.search(query)
            path, query = path[:_LONGEST], action[0][:_LONGEST] if action else ""
        about: _About = (get(PRINCIPAL), get("REMOTE_ADDR", ""), method, path, query, status)
        if about == self._about:
            about = self._about  # mostly the same client goes on with the same: it is kept once
        else:
            self._about = about
        self._noted.append((time.time(), id, about))
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

    def flush(self) -> None:
        """Write what waits to be written: the process ends."""
        noted, self._noted = self._noted, []
        dropped, self._dropped = self._dropped, 0
        if noted or dropped:
            self._append(noted, dropped)

    def _append(self, noted: list[_Noted], dropped: int) -> None:
        data = _text(noted).encode()
        if dropped:
            data += lines([Line(stamp(time.time()), "", "", "", dropped=dropped)])
        try:
            append(self._path, data)
            self._failed = False
        except OSError as exc:
            if not self._failed:
                log.error("%s cannot be written, and lines of it are lost: %s", self._path, exc.strerror)  # noqa: TRY400
            self._failed = True


def _text(noted: list[_Noted]) -> str:
    """The lines. An id is a plain word: see :func:`~pycmbs.tracing.said`."""
    found: list[str] = []
    last: _About | None = None
    before = begin = after = ""
    since = until = 0.0
    for at, id, about in noted:
        if about is not last or not since <= at < until:  # many are alike, and are answered within a millisecond
            if about is not last:
                last = about
                begin, end = _around(*about)
                after = f'",{end}\n'
            since, until = at, (int(at * 1000) + 1) / 1000
            before = f'{{"time":"{stamp(at)}",{begin},"request":"'
        found += (before, id, after)
    return "".join(found)


@functools.lru_cache(_MOST_ALIKE)
def _around(
    principal: Principal | None, address: str, method: str, path: str, query: str, status: str
) -> tuple[str, str]:
    """What is in a line before the request's id, and after it: of most it was made before."""
    subject, via = (principal.subject, principal.via) if principal is not None else ("", "")
    shown = path if path.isascii() else path.encode("latin-1").decode("utf-8", "replace")
    line = Line(
        "", subject, via, _operation(method, path, query), address, "-", shown[:_LONGEST], status=int(status[:3])
    )
    before, _, after = lines([line]).decode().partition(',"request":"-",')
    return before.partition(",")[2], after.rstrip("\n")


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
