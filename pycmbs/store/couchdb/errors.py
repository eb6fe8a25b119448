"""Maps CouchDB's error responses to exceptions.

An error is ``{"error": …, "reason": …}`` by the documents; servers also answer with lists, text and nothing at all.
"""

from __future__ import annotations

from typing import Any

from pycmbs import codec
from pycmbs.errors import CmbsError, StoreUnavailable, TooLarge

_LONGEST = 300
"""Characters of what a server says that are passed on."""


class NotThere(Exception):
    """What the request names is not in the database."""


class Refused(StoreUnavailable):
    """The server understands and does not do it: a conflict, or something it does not have. To callers that do not expect
    that, the store is unavailable."""

    def __init__(self, message: str, status: int = 0, **options: Any) -> None:
        super().__init__(message, **options)
        self.status = status


class Failed(StoreUnavailable):
    """The server answers, and fails at this request: at what is in it, or at any (its disk may be full, and readable)."""


class TimedOut(StoreUnavailable):
    """The server did not answer in time."""


class NoDatabase(StoreUnavailable):
    """The server works, and the database is not there."""


class BadCredentials(StoreUnavailable):
    """The server refuses the user."""


class Locked(StoreUnavailable):
    """The server has locked the account for some minutes, as wrong passwords were tried."""


def meaning(status: int, body: bytes, where: str) -> CmbsError | NotThere:
    """The exception for an answer with a status from 400 on. ``where``: server and database, for people."""
    error, reason = said(body)
    words = f"{status} {f'{error}: {reason}' if error and reason else error or reason}".strip()
    place = f"CouchDB at {where}"
    match status:
        case 401:
            text = f"{place} refuses the user or the password: {reason or words}"
            return BadCredentials(text, hint="Correct them in the URL.")
        case 403:
            return _forbidden(reason or words, place)
        case 404:
            return _not_found(reason, where)
        case 413:
            return TooLarge(f"CouchDB takes no document of this size: {words}")
    if status < 500 and status != 429:
        return Refused(f"{place} does not do it: {words}", status)
    return Failed(f"{place} does not work: {words}", hint="See its log, and its disk.")


def _forbidden(words: str, place: str) -> StoreUnavailable:
    if "locked" in words:
        return Locked(f"{place} has locked the account: {words}", hint="Find out who tries wrong passwords there.")
    return BadCredentials(f"{place} forbids it: {words}", hint="See which rights the user has.")


def _not_found(reason: str, where: str) -> CmbsError | NotThere:
    if reason in {"missing", "deleted"} or "named_view" in reason:
        return NotThere(reason)
    return NoDatabase(
        f"there is no database at {where}",
        hint="Was it deleted? Restore it, or restart the broker to start over.",
    )


def said(body: bytes) -> tuple[str, str]:
    """Error and reason in the body of an answer; the second alone where it has another form."""
    try:
        found = codec.loads(body)
    except codec.DecodeError:
        return "", body.decode(errors="replace").strip()[:_LONGEST]
    if isinstance(found, dict):
        return str(found.get("error") or "")[:_LONGEST], str(found.get("reason") or "")[:_LONGEST]
    return "", codec.dumps(found).decode()[:_LONGEST]
