"""The stack without a broker: webob, orjson, and SQLite with one commit for all requests that wait for one.

A POST is decoded, one row is on disk before the answer, and the answer names it. There is no model, no validation, no index
but the id's, no revision, no ledger. ``python -m bench.reference.webob_sqlite FOLDER [PORT]``

With ``FOLDER RELAY``, a POST to what was answered sends it: that is a row on disk, then a datagram to the relay
(``bench.reference.relay``), and the answer comes when the relay says that it was acknowledged.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

import eventlet
import eventlet.event
import orjson
import uuid_utils
import zmq
from eventlet.hubs import trampoline
from webob import Request, Response

from bench.reference import hello


class Group:
    """Rows that are ready at the same time are written with one commit."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID")
        self._pending: list[tuple[tuple[str, bytes], Any]] = []
        self._busy = False

    def put(self, row: tuple[str, bytes]) -> None:
        """Returns when it is on disk."""
        event = eventlet.event.Event()
        self._pending.append((row, event))
        if not self._busy:
            self._busy = True
            eventlet.spawn_n(self._flush)
        event.wait()

    def get(self, id: str) -> bytes:
        """What is stored."""
        body: bytes = self._connection.execute("SELECT body FROM documents WHERE id = ?", (id,)).fetchone()[0]
        return body

    def _flush(self) -> None:
        while self._pending:
            group, self._pending = self._pending, []
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO documents VALUES (?, ?)", [row for row, _ in group])
            self._connection.execute("COMMIT")
            for _, event in group:
                event.send()
            eventlet.sleep(0)
        self._busy = False


class Relay:
    """Datagrams to the relay, and its answers, in eventlet's loop."""

    def __init__(self, endpoint: str) -> None:
        self._socket = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.sndhwm = self._socket.rcvhwm = 0
        self._socket.connect(endpoint)
        self._waiting: dict[bytes, Any] = {}
        eventlet.spawn_n(self._read)

    def send(self, id: str, body: bytes) -> None:
        """Returns when it was acknowledged."""
        event = self._waiting[id.encode()] = eventlet.event.Event()
        self._socket.send_multipart([id.encode(), body])
        self._take()  # a send may have used up the descriptor's news
        event.wait()

    def _read(self) -> None:
        while True:
            trampoline(self._socket.getsockopt(zmq.FD), read=True)
            self._take()

    def _take(self) -> None:
        while self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            self._waiting.pop(self._socket.recv(zmq.NOBLOCK)).send()


def main() -> None:
    """Serve until killed."""
    group = Group(f"{sys.argv[1]}/reference.db")
    relay = Relay(sys.argv[2]) if sys.argv[2:] and "://" in sys.argv[2] else None

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        document = orjson.loads(request.body)
        if relay is not None and request.path != "/":
            id = request.path.rpartition("/")[2]
            group.put((f"delivery:{id}", b"pending"))
            relay.send(id, group.get(id))
            response = Response(b'{"state":"delivered"}', content_type="application/occi+json")
            return response(environ, start_response)
        id = document.pop("id", None) or str(uuid_utils.uuid7())
        group.put((id, orjson.dumps(document)))
        location = f"http://127.0.0.1/cmbs/message/{id}"
        response = Response(orjson.dumps({"Location": [location]}), status=201, content_type="application/occi+json")
        response.headers["Location"] = location
        return response(environ, start_response)

    hello.serve(answer, int(sys.argv[2]) if len(sys.argv) > 2 and relay is None else 0)


if __name__ == "__main__":
    main()
