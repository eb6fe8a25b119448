"""Middleware: gzip for clients that accept it."""

from __future__ import annotations

import functools
import gzip

from webob import Response
from webob.acceptparse import create_accept_encoding_header

SMALL = 1024
"""Bytes of a body below which compressing it costs more than it saves."""
_LEVEL = 1  # the hub waits for it


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
