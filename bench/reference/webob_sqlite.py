"""The stack without a broker: webob, orjson, and SQLite with one commit for all requests that wait for one.

A POST is decoded, one row is on disk before the answer, and the answer names it. There is no model, no validation, no index
but the id's, no revision, no ledger. ``python -m bench.reference.webob_sqlite FOLDER [PORT]``
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

import eventlet
import eventlet.event
import orjson
import uuid_utils
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

    def _flush(self) -> None:
        while self._pending:
            group, self._pending = self._pending, []
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO documents VALUES (?, ?)", [row for row, _ in group])
            self._connection.execute("COMMIT")
            for _, event in group:
                event.send()
            eventlet.sleep(0)
        self._busy = False


def main() -> None:
    """Serve until killed."""
    group = Group(f"{sys.argv[1]}/reference.db")

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        document = orjson.loads(request.body)
        id = str(uuid_utils.uuid7())
        group.put((id, orjson.dumps(document)))
        location = f"http://127.0.0.1/cmbs/message/{id}"
        response = Response(orjson.dumps({"Location": [location]}), status=201, content_type="application/occi+json")
        response.headers["Location"] = location
        return response(environ, start_response)

    hello.serve(answer, int(sys.argv[2]) if len(sys.argv) > 2 else 0)


if __name__ == "__main__":
    main()
