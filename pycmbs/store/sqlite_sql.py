"""The SQL of the SQLite store: its schema, and queries as statements. Pure text, no connection."""

from __future__ import annotations

from typing import Any

from pycmbs.store.base import Query
from pycmbs.store.values import indexed

VERSION = 1
"""Of the schema; kept in ``user_version``."""

SCHEMA = f"""
CREATE TABLE documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,    -- order of creation, never used twice
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    seq INTEGER NOT NULL UNIQUE,                 -- order of the latest change, and so the revision
    deleted INTEGER NOT NULL DEFAULT 0,
    keys BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX documents_type ON documents (type, number) WHERE deleted = 0;
CREATE INDEX documents_deleted ON documents (seq) WHERE deleted = 1;
CREATE TABLE keys (
    name TEXT NOT NULL,                          -- type:name
    value TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (name, value, number)
) WITHOUT ROWID;
CREATE TABLE heads (type TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""

COLUMNS = "d.number, d.id, d.type, d.seq, d.deleted, d.keys, d.body"

INSERT = "INSERT INTO documents (id, type, seq, keys, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
CURRENT = "SELECT number, seq, keys FROM documents WHERE id = ? AND type = ? AND deleted = 0"
REPLACE = "UPDATE documents SET seq = ?, keys = ?, body = ? WHERE number = ?"
DELETE = "DELETE FROM documents WHERE number = ?"
# Marks are rows of their own at the end: what is left of a row in its place would keep a whole page. Their bodies are the
# numbers that the deleted documents had; in a file of an earlier version a mark has that number itself, and an empty body.
MARK = "INSERT INTO documents (id, type, seq, deleted, keys, body) VALUES (?, ?, ?, 1, '{}', ?)"
UNMARK = "DELETE FROM documents WHERE id = ? AND deleted = 1"
ADD_KEY = "INSERT INTO keys (name, value, number) VALUES (?, ?, ?)"
DROP_KEY = "DELETE FROM keys WHERE name = ? AND value = ? AND number = ?"
LAST = "SELECT max(seq) FROM heads"
SET_HEAD = "INSERT INTO heads (type, seq) VALUES (?, ?) ON CONFLICT (type) DO UPDATE SET seq = excluded.seq"
UNMARKED = "-"
"""Beside the types in ``heads``: the latest change at which a deleted document's mark went, and the trace of its number."""
LAST_CHANGES = "SELECT coalesce(max(seq), 0), coalesce(max(seq) FILTER (WHERE type = ?), 0) FROM heads"
CHANGED = """SELECT CASE WHEN deleted = 1 AND body <> '{}' THEN CAST(body AS INTEGER) ELSE number END, type
    FROM documents WHERE seq > ? ORDER BY seq LIMIT ?"""
HEAD = "SELECT seq FROM heads WHERE type = ?"
GET = f"SELECT {COLUMNS} FROM documents d WHERE d.id = ? AND d.deleted = 0"  # noqa: S608 - constants only
COMPACT = """DELETE FROM documents WHERE number IN (SELECT number FROM documents WHERE deleted = 1 AND seq <=
    (SELECT seq FROM documents WHERE deleted = 1 ORDER BY seq DESC LIMIT 1 OFFSET ?) ORDER BY seq LIMIT ?)"""
LOWEST = f"""SELECT {COLUMNS} FROM keys k CROSS JOIN documents d ON d.number = k.number
    WHERE k.name = ? AND k.value < ? ORDER BY k.value, k.number LIMIT ?"""  # noqa: S608 - constants only
ESTIMATE = "SELECT count(*) FROM (SELECT 1 FROM keys WHERE name = ? AND value = ? AND number > ? LIMIT ?)"


def key(type: str, name: str) -> str:
    """The name under which a type's key is kept."""
    return f"{type}:{name}"


def key_rows(type: str, keys: Any) -> set[tuple[str, str]]:
    """The rows of the key table, without the number, for a document's keys."""
    return {(key(type, name), indexed(text)) for name, values in keys.items() for text in values}


def conditions(query: Query, order: list[str], *, keys_only: bool = False) -> tuple[str, list[Any]]:
    """FROM and WHERE of a query. ``order``: its names, the most selective first; that one drives, the others are probed
    by primary key, so that no query scans documents. ``keys_only``: nothing of the documents is wanted."""
    parameters: list[Any] = []
    if order:
        name = order[0]
        clauses = ["k.name = ?", "k.value = ?", "k.number > ?"]
        parameters += [key(query.type, name), indexed(query.equals[name]), query.after]
        source = "keys k"
        if not keys_only:
            source += " CROSS JOIN documents d ON d.number = k.number"  # CROSS keeps this order
        number = "k.number"
    else:
        clauses = ["d.type = ?", "d.deleted = 0", "d.number > ?"]
        parameters += [query.type, query.after]
        source, number = "documents d", "d.number"
    for name in order[1:]:
        clauses.append(f"EXISTS (SELECT 1 FROM keys o WHERE o.name = ? AND o.value = ? AND o.number = {number})")  # noqa: S608
        parameters += [key(query.type, name), indexed(query.equals[name])]
    return f"FROM {source} WHERE {' AND '.join(clauses)}", parameters


def select(where: str) -> str:
    """The documents of such a FROM and WHERE, in the order of creation; one more parameter: the limit."""
    return f"SELECT {COLUMNS} {where} ORDER BY {_number_in(where)} LIMIT ?"


def _number_in(where: str) -> str:
    return "k.number" if where.startswith("FROM keys") else "d.number"


def seek(where: str) -> str:
    """The number of one match of such a FROM and WHERE; one more parameter: how many go before it."""
    number = _number_in(where)
    return f"SELECT {number} {where} ORDER BY {number} LIMIT 1 OFFSET ?"


def version(where: str) -> str:
    """How many documents match such a FROM and WHERE, and the latest change among them."""
    return f"SELECT count(*), max(d.seq) {where}"


def grouped(where: str, stretch: int) -> str:
    """How many matches of such a FROM and WHERE each stretch of so many numbers has, in order."""
    return f"SELECT {_number_in(where)} / {stretch}, count(*) {where} GROUP BY 1 ORDER BY 1"


def counted(where: str) -> str:
    """How many matches of such a FROM and WHERE there are up to a number, which is one more parameter."""
    return f"SELECT count(*) {where} AND {_number_in(where)} <= ?"


def changes(types: int) -> str:
    """The change feed, narrowed to so many types; parameters: the cursor, the types, the limit."""
    among = f"AND d.type IN ({', '.join('?' * types)})" if types else ""
    return f"SELECT {COLUMNS} FROM documents d WHERE d.seq > ? {among} ORDER BY d.seq LIMIT ?"  # noqa: S608
