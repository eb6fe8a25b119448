"""Middleware: the access log, and gzip for clients that accept it."""

from __future__ import annotations

import functools
import gzip
import logging
from collections.abc import Mapping
from typing import Any

from webob import Response
from webob.acceptparse import create_accept_encoding_header

from pycmbs.tracing import log_fields
from pycmbs.wsgi.auth import PRINCIPAL

access = logging.getLogger("pycmbs.access")

SMALL = 1024
"""Bytes of a body below which compressing it costs more than it saves."""
_LEVEL = 1  # the hub waits for it


def log_request(environ: Mapping[str, Any], id: str, status: str, seconds: float, traced: Mapping[str, str]) -> None:
    """A line of the access log: who asked for what, and what came of it. The query is left out: clients put secrets there."""
    principal = environ.get(PRINCIPAL)
    access.info(
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


@functools.lru_cache(maxsize=256)
def _wants_gzip(accept: str) -> bool:
    offers = create_accept_encoding_header(accept).acceptable_offers(["gzip"])
    return bool(offers) and "gzip" in accept.lower()


def compressed(response: Response, accept: str) -> None:
    """Compress the body of an answer for a client that accepts it (RFC 9110 12.5.3). The bytes are others, so the tag is."""
    if not isinstance(response.app_iter, list):
        return  # a stream: its events must not wait for more
    if len(response.body) < SMALL or not _wants_gzip(accept):
        return
    response.body = gzip.compress(response.body, _LEVEL, mtime=0)
    response.headers["Content-Encoding"] = "gzip"
    tag = response.headers.get("ETag")
    if tag:
        response.headers["ETag"] = tag[:-1] + '-gzip"'
