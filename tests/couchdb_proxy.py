"""A proxy in front of a CouchDB server that makes it as unkind as Apache CouchDB can be: the stand-in of the tests is not.

Two things it always does as Apache CouchDB 3.5 does: it takes a deleted document again only without a revision, and fails with
``badarith`` at an integer that no float can hold. What else goes wrong is a :data:`Rule` of the test. Credentials are the
rules' affair, too: the server behind is always asked with its own credentials.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.couchdb_server import CouchServer

_HUGE = re.compile(rb"[0-9]{310,}")


@dataclass(frozen=True)
class Ask:
    """A request: ``path`` is without the database's name and the query."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    data: bytes

    @property
    def documents(self) -> list[dict[str, Any]]:
        """Those that a ``_bulk_docs`` is to write."""
        found: list[dict[str, Any]] = json.loads(self.data)["docs"] if self.path == "_bulk_docs" else []
        return found

    @property
    def cookie(self) -> bool:
        """Whether it is made within a session."""
        return "AuthSession=" in self.headers.get("cookie", "")


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    data: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)

    def json(self) -> Any:
        """Its body, decoded."""
        return json.loads(self.data)


def say(status: int, document: Any, *headers: tuple[str, str]) -> Said:
    """An answer in JSON."""
    return Said(status, json.dumps(document).encode(), (("Content-Type", "application/json"), *headers))


def error(status: int, error: str, reason: str) -> Said:
    """An error as the documents describe them."""
    return say(status, {"error": error, "reason": reason})


Rule = Callable[[Ask, Callable[[], Said]], Said | None]
"""What is unkind: is given a request and what passes that on, and answers, or leaves it to the next rule."""


class UnkindServer(CouchServer):
    """The server behind the proxy, as others see it. ``rules`` are tried in their order."""

    def __init__(self, server: CouchServer) -> None:
        self._proxy = _Proxy(server, self)
        super().__init__(f"http://127.0.0.1:{self._proxy.server_port}")
        self._lock = threading.Lock()
        self._deleted: dict[tuple[str, str], str] = {}
        self.rules: list[Rule] = []
        self.asked: list[Ask] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[UnkindServer]:
        """The proxy, answering."""
        thread = threading.Thread(target=self._proxy.serve_forever, args=(0.01,))
        thread.start()
        yield self
        self._proxy.shutdown()
        thread.join(10)
        self._proxy.server_close()
        self.session.close()

    def answer(self, database: str, ask: Ask, send: Callable[[bytes], Said]) -> Said:
        """What becomes of a request."""
        self.asked.append(ask)
        for rule in list(self.rules):
            said = rule(ask, lambda: self._as_apache(database, ask, send))
            if said is not None:
                return said
        return self._as_apache(database, ask, send)

    def _as_apache(self, database: str, ask: Ask, send: Callable[[bytes], Said]) -> Said:
        if ask.method != "POST" or ask.path != "_bulk_docs":
            return send(ask.data)
        if _HUGE.search(ask.data):
            return error(500, "badarith", "unknown_error")
        documents = ask.documents
        with self._lock:
            stale = {
                one["_id"] for one in documents if self._deleted.get((database, one["_id"])) == one.get("_rev", "")
            }
        taken = [one for one in documents if one["_id"] not in stale]
        said = send(json.dumps({"docs": taken}).encode())
        if said.status >= 300:
            return said
        rows = said.json()
        with self._lock:
            for document, row in zip(taken, rows, strict=True):
                if "rev" in row:
                    self._deleted.pop((database, row["id"]), None)
                    if document.get("_deleted"):
                        self._deleted[database, row["id"]] = row["rev"]
        refused = [{"id": id, "error": "conflict", "reason": "Document update conflict."} for id in sorted(stale)]
        return say(said.status, rows + refused)


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, behind: CouchServer, face: UnkindServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(behind.url)
        self.face = face


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy
    _connection: http.client.HTTPConnection | None = None

    def _do(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        where = urlsplit(self.path)
        database, _, path = where.path.lstrip("/").partition("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        ask = Ask(self.command, unquote(path), where.query, headers, data)
        said = self.server.face.answer(database, ask, self._send)
        with contextlib.suppress(OSError):  # who asked has gone
            self.send_response(said.status)
            for name, value in said.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.data)))
            self.end_headers()
            self.wfile.write(said.data)

    do_GET = do_PUT = do_POST = do_DELETE = _do  # noqa: N815 - http.server's names

    def _send(self, data: bytes) -> Said:
        """Pass it on."""
        behind = self.server.behind
        if self._connection is None:
            self._connection = http.client.HTTPConnection(behind.hostname or "", behind.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
        if behind.username:
            pair = f"{unquote(behind.username)}:{unquote(behind.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self._connection.request(self.command, self.path, data or None, headers)
        answer = self._connection.getresponse()
        body = answer.read()
        kept = tuple((name, value) for name, value in answer.getheaders() if name.lower() in _KEPT)
        return Said(answer.status, body, kept)

    def finish(self) -> None:
        """The client has closed its connection."""
        if self._connection is not None:
            self._connection.close()
        super().finish()

    def log_message(self, *_arguments: object) -> None:
        """Not in the tests' output."""


_OWN = {"host", "content-length", "connection", "accept-encoding", "authorization", "cookie"}
_KEPT = {"content-type"}


# Rules that several tests have


def failing_at(word: str) -> Rule:
    """Fails at whatever it is to write together with a document that has this word in it."""

    def rule(ask: Ask, on: Callable[[], Said]) -> Said | None:
        del on
        poisoned = ask.path == "_bulk_docs" and word.encode() in ask.data
        return error(500, "badarith", "unknown_error") if poisoned else None

    return rule


def answering(said: Said, path: str = "") -> Rule:
    """Answers this, to all or to what is asked of one path."""

    def rule(ask: Ask, on: Callable[[], Said]) -> Said | None:
        del on
        return said if not path or ask.path.startswith(path) else None

    return rule


def clustered(copies: int) -> Rule:
    """A database of which a cluster keeps so many copies."""

    def rule(ask: Ask, on: Callable[[], Said]) -> Said | None:
        if (ask.method, ask.path) != ("GET", ""):
            return None
        said = on()
        return say(said.status, {**said.json(), "cluster": {"q": 1, "n": copies, "w": 1, "r": 1}})

    return rule


def with_users(lock: threading.Event) -> Rule:
    """Knows the user ``admin`` with the password ``right``; once ``lock`` is set the account is locked, but for sessions."""
    locked = error(403, "forbidden", "Account is temporarily locked due to multiple authentication failures")

    def rule(ask: Ask, on: Callable[[], Said]) -> Said | None:
        if ask.cookie:
            return on()
        if lock.is_set():
            return locked
        if ask.path == "" and ask.method == "POST" and b'"right"' in ask.data:
            return say(200, {"ok": True}, ("Set-Cookie", "AuthSession=abc; Version=1; Path=/; HttpOnly"))
        return error(401, "unauthorized", "Name or password is incorrect.")

    return rule


def with_slow_views(built: threading.Event) -> Rule:
    """Answers no view until its index is ``built``, and does nothing for those who do not wait for that."""

    def rule(ask: Ask, on: Callable[[], Said]) -> Said | None:
        if "/_view/" in ask.path:
            built.wait(60)
            return on()
        return None

    return rule


def compacting(running: Callable[[str], bool]) -> Rule:
    """A server with compactions: ``running`` tells of ``database`` and of ``view`` whether one is."""

    def rule(ask: Ask, on: Callable[[], Said]) -> Said | None:
        if (ask.method, ask.path) == ("GET", ""):
            return say(200, {**on().json(), "compact_running": running("database")})
        if ask.path.endswith("/_info"):
            return say(200, {"name": "pycmbs", "view_index": {"compact_running": running("view")}})
        if ask.path.startswith(("_compact", "_view_cleanup")):
            return say(202, {"ok": True})
        return None

    return rule
