"""Requests to a CouchDB server: CouchDB-Python's session, with its faults worked around in this one place.

What CouchDB-Python does, and what is done about it here:

- It retries every request on a connection error, also one that may have been carried out: nothing is retried here.
- It takes a connection that the server closed meanwhile out of its pool, and fails: :mod:`pycmbs.store.couchdb.pool` looks
  before.
- It never closes the connection of a request that failed: :meth:`CouchClient.call` does.
- It has no deadline by default, and then one for each operation on a socket: here a call has one as a whole, and after one
  that was not answered others fail at once for a moment.
- It caches answers by ETag, though not all servers' ETags follow the document: nothing is cached here.
- It says neither which status a write had (201 or 202) nor why something was not found: both are kept here.
- It knows one form of an error answer: the pool reads those, and :mod:`pycmbs.store.couchdb.errors` knows what they mean.
- It sends user and password with every request: here :mod:`pycmbs.store.couchdb.login` has a session.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import couchdb.http

from pycmbs import codec
from pycmbs.errors import CmbsError, ConfigurationError, StoreUnavailable
from pycmbs.store.couchdb.answers import needed, rows_of
from pycmbs.store.couchdb.errors import BadCredentials, Locked, NoDatabase, NotThere, Refused, TimedOut, meaning, said
from pycmbs.store.couchdb.login import Login
from pycmbs.store.couchdb.pool import ErrorAnswer, Pool

_TIMEOUT = 0.9
"""Seconds for one call, so that a client hears of a silent server within a second."""
_REST = 0.25
"""Seconds in which calls fail at once after a failure, so that those who queue do not wait for a deadline each."""
_LONG_REST = 5.0
"""The same after refused credentials, since CouchDB locks an account after five wrong passwords: for five minutes."""
_TOGETHER = 200
"""Documents that are read with one call."""


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
            raise ConfigurationError("the URL of the CouchDB store is invalid", hint=_SHAPE) from exc
        database = parts.path.strip("/")
        if not parts.hostname or not database or "/" in database or not 0 < timeout <= 600:
            raise ConfigurationError("the URL of the CouchDB store lacks a host or a database", hint=_SHAPE)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        credentials = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        return cls(f"{scheme}://{host}:{port or (443 if scheme == 'https' else 5984)}", credentials, database, timeout)


_SHAPE = "It looks like couchdb://user:password@127.0.0.1:5984/pycmbs; write %40 for an @ in a password."


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
        self._login = Login(address.credentials)
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
        return self._pool.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        """For calls from now on."""
        self._pool.timeout = seconds

    def call(
        self,
        method: str,
        *path: str,
        body: Any = None,
        patient: bool = False,
        expected: Collection[int] = (),
        **query: Any,
    ) -> tuple[int, Any]:
        """The status and the JSON of an answer. ``query``: parameters as they are, or as JSON if not text.

        Raises NotThere, TooLarge, and StoreUnavailable for everything that is not the caller's doing: Refused for what the
        server does not do, Failed for what it fails at. ``patient``: a deadline that passes says nothing about other calls (the
        server builds an index). ``expected``: statuses that are Refused, whatever they mean otherwise.
        """
        self._check_rest()
        parameters = {name: one if isinstance(one, str) else codec.dumps(one).decode() for name, one in query.items()}
        url = couchdb.http.urljoin(self._root, *path, **parameters)
        data = None if body is None else codec.dumps(body)  # what cannot be encoded is the caller's error
        self._pool.begin()
        try:
            status, found = self._asked(method, url, data, expected)
        except (CmbsError, NotThere) as exc:  # it was answered
            if isinstance(exc, BadCredentials | Locked):
                self._rest(exc, _LONG_REST)
            raise
        except BaseException as exc:
            self._pool.discard()
            error = self._unanswered(exc)
            if error is None:
                raise
            if not (patient and isinstance(exc, TimeoutError)):
                self._rest(error, _REST)
            raise error from exc
        with self._lock:
            self._error = None
        return status, found

    def _asked(self, method: str, url: str, data: bytes | None, expected: Collection[int]) -> tuple[int, Any]:
        """Ask within a session; one that is over is started over, once."""
        if self._login.is_due:
            self._log_in()
        try:
            return self._answered(method, url, data)
        except ErrorAnswer as exc:
            self._pool.keep()
            status, body = exc.args
            if status in expected:
                raise Refused(f"CouchDB at {self._root} does not do it: {': '.join(said(body))}", status) from None
            if status != 401 or not self._login.expire():
                raise meaning(status, body, self._root) from None
        return self._asked(method, url, data, expected)

    def _answered(self, method: str, url: str, data: bytes | None) -> tuple[int, Any]:
        headers = {**({"Content-Type": "application/json"} if data is not None else {}), **self._login.headers}
        status, fields, answer = self._session.request(method, url, data, headers, self._login.credentials)
        self._login.heard(fields)
        return status, codec.loads(answer.read()) if answer is not None else None

    def _log_in(self) -> None:
        data, headers = codec.dumps(self._login.body), {"Content-Type": "application/json"}
        try:
            _, fields, answer = self._session.request("POST", f"{self._address.url}/_session", data, headers)
        except ErrorAnswer as exc:
            self._pool.keep()
            if exc.args[0] in {401, 403}:
                raise meaning(exc.args[0], exc.args[1], self._root) from None
        else:
            if answer is not None:
                answer.read()
            self._login.heard(fields)
        if self._login.is_due:
            self._login.do_without()

    def document(self, id: str) -> dict[str, Any] | None:
        """A document as the server has it; None if there is none."""
        if not id:
            return None  # that would be the database itself
        try:
            path = id.split("/", 1) if id.startswith("_design/") else [id]
            _, found = self.call("GET", *path)
        except NotThere:
            return None
        needed(found, "_id")
        document: dict[str, Any] = found
        return document

    def documents(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of the documents that exist, as the server has them, by id."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), _TOGETHER):
            keys = {"keys": list(ids[start : start + _TOGETHER])}
            _, answer = self.call("POST", "_all_docs", body=keys, include_docs=True)
            found |= {row["id"]: row["doc"] for row in rows_of(answer, "rows") if row.get("doc")}
        return found

    def information(self) -> dict[str, Any] | None:
        """What the server says of the database; None if there is none. Raises StoreUnavailable."""
        try:
            found: dict[str, Any] = self.call("GET")[1]
        except NoDatabase:
            return None
        return found

    def _unanswered(self, exc: BaseException) -> StoreUnavailable | None:
        """What an exception on the way to an answer means; None for one that is not the server's doing. Raises nothing."""
        where = f"CouchDB at {self._root}"
        match exc:
            case TimeoutError():
                return TimedOut(f"{where} did not answer within {self.timeout:g} s")
            # The last three are what the library makes of a malformed answer.
            case OSError() | HTTPException() | codec.DecodeError() | AttributeError() | TypeError() | UnicodeError():
                return StoreUnavailable(f"{where} does not answer: {exc or type(exc).__name__}")
            case _:
                return None

    def _check_rest(self) -> None:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            if self._error is not None and time.monotonic() < self._resting_until:
                raise copy.copy(self._error)

    def _rest(self, error: StoreUnavailable, seconds: float) -> None:
        with self._lock:
            self._error = error
            self._resting_until = time.monotonic() + seconds

    def close(self) -> None:
        """Close every idle connection; no call succeeds any more."""
        with self._lock:
            self._closed = True
        self._pool.close()
