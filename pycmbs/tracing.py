"""Carries ``X-Request-Id`` and W3C Trace Context along with a message.

Both are carried and never made up here: a request without them leaves none in its message. They travel with a message, so that
the log of its receiver can be searched for them, and handlers are told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

REQUEST_ID, TRACEPARENT, TRACESTATE = "request_id", "traceparent", "tracestate"
"""How they are called in a message's private record, in an envelope, and in :data:`tracing`."""
_HEADERS = {"HTTP_X_REQUEST_ID": REQUEST_ID, "HTTP_TRACEPARENT": TRACEPARENT, "HTTP_TRACESTATE": TRACESTATE}
_FORMS = {
    REQUEST_ID: re.compile(r"[A-Za-z0-9._:=+/-]{1,128}"),
    TRACEPARENT: re.compile(
        r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{1,100})?"
    ),
    TRACESTATE: re.compile(r"[ -~]{1,512}"),
}
_NOTHING: Mapping[str, str] = {}

tracing: ContextVar[Mapping[str, str]] = ContextVar("tracing", default=_NOTHING)
"""What the client of the request that this thread works for said."""


def said(environ: Mapping[str, Any]) -> Mapping[str, str]:
    """What a request says, as far as it is well-formed. A tracestate says something only with its traceparent."""
    if "HTTP_X_REQUEST_ID" not in environ and "HTTP_TRACEPARENT" not in environ:
        return _NOTHING
    return _valid({name: environ[header] for header, name in _HEADERS.items() if header in environ})


def note(private: MutableMapping[str, Any]) -> None:
    """Note it in a message's private record, unless an earlier request is noted there."""
    found = tracing.get()
    if found and REQUEST_ID not in private and TRACEPARENT not in private:
        private.update(found)


def carried(private: Mapping[str, Any]) -> Mapping[str, str]:
    """What is noted in a private record, or stands in an envelope's body: others write that, so it is looked at."""
    if REQUEST_ID not in private and TRACEPARENT not in private:
        return _NOTHING
    return _valid({name: private[name] for name in _FORMS if name in private})


def log_fields(private: Mapping[str, Any]) -> dict[str, str]:
    """What a log line about a message or request says of it."""
    found = carried(private)
    fields = {"request_id": found[REQUEST_ID]} if REQUEST_ID in found else {}
    return fields | ({"trace_id": found[TRACEPARENT][3:35]} if TRACEPARENT in found else {})


def _valid(given: Mapping[str, Any]) -> Mapping[str, str]:
    found = {name: text for name, text in given.items() if isinstance(text, str) and _FORMS[name].fullmatch(text)}
    if TRACEPARENT not in found:
        found.pop(TRACESTATE, None)
    return found
