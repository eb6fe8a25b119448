"""Requests to a CouchDB server: CouchDB-Python's session, with what it lacks put right in this one place.

What CouchDB-Python does, and what is done about it here:

- It retries every request on a connection error, also one that may have been carried out: nothing is retried here.
- It takes a connection that the server closed meanwhile out of its pool, and fails: :mod:`pycmbs.store.couchdb_pool` looks
  before.
- It never closes the connection of a request that failed: :meth:`CouchClient.call` does.
- It has no deadline by default, and then one for each operation on a socket: here a call has one as a whole, and after one
  that was not answered others fail at once for a moment.
- It caches answers by ETag, though not all servers' ETags follow the document: nothing is cached here.
- It says neither which status a write had (201 or 202) nor why something was not found: both are kept here.
"""

from __future__ import annotations

import copy
import threading
import time
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import couchdb.http

from pycmbs import codec
from pycmbs.errors import ConfigurationError, StoreUnavailable, TooLarge
from pycmbs.store.couchdb_pool import Pool

_TIMEOUT = 0.9
"""Seconds for one call, so that a client hears of a silent server within a second."""
_REST = 0.25
"""Seconds in which calls fail at once after a failure, so that those who queue do not wait for a deadline each."""
_LONG_REST = 5.0
"""The same after refused credentials, since CouchDB locks an account after five wrong passwords."""


@dataclass(frozen=True, slots=True)
class Address:
    """A database on a server. ``url`` has no credentials in it; ``timeout`` is seconds for one call."""

    url: str
    credentials: tuple[str, str] | None
    database: str
    timeout: float

    @classmethod
    def parse(cls, scheme: str, rest: str) -> Address:
        """From the store's URL without its scheme: ``//user:password@host:port/database?timeout=seconds``.

        Raises ConfigurationError."""
        try:
            parts = urlsplit(f"{scheme}:{rest}")
            port = parts.port
            timeout = float(parse_qs(parts.query, strict_parsing=True)["timeout"][0]) if parts.query else _TIMEOUT
        except (ValueError, KeyError) as exc:
            raise ConfigurationError("the URL of the CouchDB store is not one", hint=_SHAPE) from exc
        database = parts.path.strip("/")
        if not parts.hostname or not database or "/" in database or not 0 < timeout <= 600:
            raise ConfigurationError("the URL of the CouchDB store lacks a host or a database", hint=_SHAPE)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        credentials = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        return cls(f"{scheme}://{host}:{port or (443 if scheme == 'https' else 5984)}", credentials, database, timeout)


_SHAPE = "It looks like couchdb://user:password@127.0.0.1:5984/pycmbs; write %40 for an @ in a password."


class NotThere(Exception):
    """What the request names is not in the database."""


class Refused(Exception):
    """The server understands and does not do it: a conflict, or something it does not have. ``args``: status and reason."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.args[0])


class NoDatabase(StoreUnavailable):
    """The server works, and the database is not there."""


class BadCredentials(StoreUnavailable):
    """The server refuses who asks."""


class _NoCache:
    """In the place of CouchDB-Python's cache."""

    def get(self, url: str) -> None:
        """Nothing is there."""

    def put(self, url: str, response: Any) -> None:
        """Nothing is kept."""

    def remove(self, url: str) -> None:
        """There is nothing to remove."""


class CouchClient:
    """One database of one server. May be used by many threads; each call blocks its own."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._root = f"{address.url}/{address.database}"
        self._session = couchdb.http.Session(timeout=address.timeout)
        self._session.cache = _NoCache()
        self._session.retryable_errors = frozenset()
        self._pool = Pool(address.timeout)
        self._session.connection_pool = self._pool
        self._lock = threading.Lock()
        self._error: StoreUnavailable | None = None
        self._resting_until = 0.0
        self._closed = False

    @property
    def where(self) -> str:
        """Server and database, for people."""
        return self._root

    @property
    def timeout(self) -> float:
        """Seconds that a call may take."""
        return self._address.timeout

    def call(self, method: str, *path: str, body: Any = None, patient: bool = False, **query: Any) -> tuple[int, Any]:
        """The status and the JSON of an answer. ``query``: parameters as they are, or as JSON if not text.

        Raises NotThere, Refused, TooLarge, and StoreUnavailable for everything that is not the caller's doing. ``patient``:
        a deadline that passes says nothing about other calls (the server builds an index).
        """
        self._check_rest()
        parameters = {name: one if isinstance(one, str) else codec.dumps(one).decode() for name, one in query.items()}
        url = couchdb.http.urljoin(self._root, *path, **parameters)
        data = None if body is None else codec.dumps(body)  # what cannot be encoded is the caller's error
        headers = {"Content-Type": "application/json"} if data is not None else {}
        self._pool.begin()
        try:
            status, _, answer = self._session.request(method, url, data, headers, self._address.credentials)
            found = codec.loads(answer.read()) if answer is not None else None
        except BaseException as exc:
            self._pool.discard()
            error = self._translated(exc)
            if isinstance(error, StoreUnavailable):
                self._rest(error, exc, patient=patient)
            raise error from exc
        with self._lock:
            self._error = None
        return status, found

    def document(self, id: str) -> dict[str, Any] | None:
        """A document as the server has it; None if there is none."""
        if not id:
            return None  # that would be the database itself
        try:
            path = id.split("/", 1) if id.startswith("_design/") else [id]
            found: dict[str, Any] = self.call("GET", *path)[1]
        except NotThere:
            return None
        return found

    def exists(self) -> bool:
        """Whether the database is there. Raises StoreUnavailable."""
        try:
            self.call("GET")
        except NoDatabase:
            with self._lock:
                self._error = None  # that is an answer, and no trouble yet
            return False
        return True

    def _translated(self, exc: BaseException) -> BaseException:
        """What an exception of the library means. Raises nothing."""
        where = f"CouchDB at {self._root}"
        error: Exception
        match exc:
            case couchdb.http.ResourceNotFound():
                error = self._not_found(exc)
            case couchdb.http.Unauthorized() | couchdb.http.Forbidden():
                error = BadCredentials(f"{where} refuses the user or the password", hint="Put them right in the URL.")
            case couchdb.http.ResourceConflict():
                error = Refused(409, "conflict")
            case couchdb.http.PreconditionFailed():
                error = Refused(412, _words(exc.args[0]))
            case couchdb.http.ServerError():
                error = self._server_error(*exc.args[0])
            case TimeoutError():
                error = StoreUnavailable(f"{where} did not answer within {self._address.timeout:g} s")
            # The last three are what the library makes of an error answer without JSON or without a type.
            case OSError() | HTTPException() | codec.DecodeError() | AttributeError() | TypeError() | UnicodeError():
                error = StoreUnavailable(f"{where} does not answer: {exc or type(exc).__name__}")
            case _:
                return exc
        return error

    def _not_found(self, exc: BaseException) -> Exception:
        reason = str(exc.args[0][1]) if exc.args and isinstance(exc.args[0], tuple) else ""
        if reason in {"missing", "deleted"} or "named_view" in reason:
            return NotThere(reason)
        return NoDatabase(
            f"there is no database at {self._root}",
            hint="Was it deleted? Restore it, or restart the broker to begin anew.",
        )

    def _server_error(self, status: int, error: Any) -> Exception:
        if status == 413:
            return TooLarge(f"CouchDB takes no document of this size: {_words(error)}")
        if status in {400, 405, 415}:
            return Refused(status, _words(error))
        return StoreUnavailable(
            f"CouchDB at {self._root} does not work: {status} {_words(error)}", hint="See its log, and its disk."
        )

    def _check_rest(self) -> None:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            if self._error is not None and time.monotonic() < self._resting_until:
                raise copy.copy(self._error)

    def _rest(self, error: StoreUnavailable, cause: BaseException, *, patient: bool) -> None:
        if (patient and isinstance(cause, TimeoutError)) or isinstance(cause, couchdb.http.ServerError):
            return  # it answers, though it cannot do this: its disk may be full, and readable
        refused = isinstance(error, BadCredentials)
        with self._lock:
            self._error = error
            self._resting_until = time.monotonic() + (_LONG_REST if refused else _REST)

    def close(self) -> None:
        """Close every idle connection; no call succeeds any more."""
        with self._lock:
            self._closed = True
        self._pool.close()


def _words(error: Any) -> str:
    if isinstance(error, tuple):
        return ": ".join(str(one) for one in error if one)
    return error.decode(errors="replace") if isinstance(error, bytes) else str(error)
