"""Errors of HTTP requests.

The whole tree is drawn in :mod:`pycmbs.errors`.
"""

from __future__ import annotations

from typing import Any

from pycmbs.errors.families import CmbsError, Forbidden, InvalidRequest, TooLarge


class MalformedBody(InvalidRequest):
    """The body is not what its media type promises."""

    code = "malformed-body"


class CrossOrigin(Forbidden):
    """A page of another origin asks for a change."""

    code = "cross-origin"


class Unauthenticated(CmbsError):
    """The request lacks valid credentials."""

    code = "unauthenticated"


class TooManyAttempts(CmbsError):
    """Wrong passwords came too fast: the next one is looked at after ``retry_after`` seconds."""

    code = "too-many-attempts"

    def __init__(self, message: str, /, *, hint: str = "", retry_after: int = 1, **data: Any) -> None:
        super().__init__(message, hint=hint, retry_after=retry_after, **data)
        self.retry_after = retry_after


class UnknownHost(CmbsError):
    """The request is for a host that is not this one."""

    code = "unknown-host"


class UnsupportedVersion(CmbsError):
    """A version of OCCI that is newer than this broker."""

    code = "unsupported-version"


class UnsupportedProtocol(CmbsError):
    """A version of HTTP that the broker does not speak."""

    code = "unsupported-protocol"


class NotImplementedHere(CmbsError):
    """A method or a coding of HTTP that the broker does not have."""

    code = "not-implemented"


class ExpectationFailed(CmbsError):
    """The request expects what the broker cannot do."""

    code = "expectation-failed"


class RequestTimeout(CmbsError):
    """The request takes too long to arrive."""

    code = "request-timeout"


class MethodNotAllowed(CmbsError):
    """The path is there, the method is not. ``data['allow']`` lists those that are."""

    code = "method-not-allowed"


class NotAcceptable(CmbsError):
    """No rendering the client accepts."""

    code = "not-acceptable"


class UnsupportedMediaType(CmbsError):
    """No rendering can read this body."""

    code = "unsupported-media-type"


class UriTooLong(TooLarge):
    """The URL is too long."""

    code = "uri-too-long"


class HeadersTooLarge(TooLarge):
    """The headers are too large, or too many."""

    code = "headers-too-large"
