"""Errors over HTTP: the table of statuses, and the body of the answer (GFD.223 5.7; RFC 9110 15)."""

from __future__ import annotations

from http import HTTPStatus

from pycmbs import __version__, codec, errors
from pycmbs.errors import CmbsError
from pycmbs.occi.rendering.text import error_header
from pycmbs.wsgi.negotiation import JSON, WRITERS

SERVER = f"pyCMBS/{__version__} OCCI/1.2 OCCI/1.1"

STATUS: dict[type[CmbsError], int] = {
    errors.CmbsError: 500,
    errors.InvalidRequest: 400,
    errors.NotFound: 404,
    errors.Forbidden: 403,
    errors.Conflict: 409,
    errors.KeyReused: 422,
    errors.PreconditionFailed: 412,
    errors.UnknownHost: 421,
    errors.Unauthenticated: 401,
    errors.TooManyAttempts: 429,
    errors.UnsupportedVersion: 501,
    errors.UnsupportedProtocol: 505,
    errors.NotImplementedHere: 501,
    errors.ExpectationFailed: 417,
    errors.RequestTimeout: 408,
    errors.MethodNotAllowed: 405,
    errors.NotAcceptable: 406,
    errors.UnsupportedMediaType: 415,
    errors.TooLarge: 413,
    errors.UriTooLong: 414,
    errors.HeadersTooLarge: 431,
    errors.Unavailable: 503,
    errors.RemoteError: 502,
    errors.ConfigurationError: 500,
}
"""A class that is not here has the status of the nearest one above it."""

_TYPES = "tag:houssem.org,2012:cmbs:/errors/"
"""What the types of problem details begin with; the code follows. Nothing is there to be read."""
FAILED = CmbsError("the broker failed to do this", hint="Its log says more.")
"""The answer to an unexpected exception."""


def status_of(error: CmbsError) -> int:
    """The HTTP status that an error is answered with."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def problem(error: CmbsError) -> bytes:
    """The error as problem details (RFC 9457): a client that accepts them finds them the same everywhere."""
    summary = (type(error).__doc__ or "").split("\n", maxsplit=1)[0].rstrip(".")
    said = error.to_dict()
    detail = said.pop("message")
    standard = {"type": f"{_TYPES}{error.code}", "title": summary, "status": status_of(error), "detail": detail}
    return codec.dumps({**said, **standard})


def protocol_refusal(error: CmbsError) -> bytes:
    """The whole answer to what the HTTP server refuses by itself, since it is hardly HTTP: the connection ends with it."""
    status = status_of(error)
    document = {"status": status, **error.to_dict()}
    body = WRITERS[JSON].error(document, pretty=True)
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Connection: close",
        f"Content-Length: {len(body)}",
        f"Content-Type: {JSON}",
        f"Server: {SERVER}",
        "X-Content-Type-Options: nosniff",
        f"X-OCCI-Error: {error_header(document)}",
    )
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
