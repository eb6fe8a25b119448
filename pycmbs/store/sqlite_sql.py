"""The SQL of the SQLite store: its schema, and its statements. Pure text, no connection.

The key table keeps *runs*: a row says that all documents from one number to another have a value. What is made together, or one
after the other, has most of its values in common: for a hundred messages such a value takes one row, or makes the latest one
longer, and rows are what a write costs. How queries go through runs is in :mod:`pycmbs.store.sqlite_runs`.
"""

from __future__ import annotations

import functools
from typing import Any

from pycmbs.store.values import LONGEST, indexed

VERSION = 2
"""Of the schema; kept in ``user_version``."""

SCHEMA = f"""
CREATE TABLE documents (
    number INTEGER PRIMARY KEY,                  -- order of creation: the seq of that, so it is never used twice
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
    number INTEGER NOT NULL,                     -- the first of a run
    last INTEGER NOT NULL DEFAULT 0,             -- of it, or 0 in a row of version 1, which is about one document
    PRIMARY KEY (name, value, number)
) WITHOUT ROWID;
CREATE TABLE heads (type TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
FROM_1 = f"""
ALTER TABLE keys ADD COLUMN last INTEGER NOT NULL DEFAULT 0;
INSERT INTO heads (type, seq) SELECT '#', seq FROM sqlite_sequence WHERE name = 'documents';
PRAGMA user_version = {VERSION};
"""  # noqa: S608 - constants only
"""What makes a file of version 1 one of this. Numbers were counted apart there: both go on behind the higher count."""

COLUMNS = "d.number, d.id, d.type, d.seq, d.deleted, d.keys, d.body"

INSERT = """INSERT INTO documents (number, id, type, seq, keys, body) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING"""
CURRENT = "SELECT number, seq, keys FROM documents WHERE id = ? AND type = ? AND deleted = 0"
REPLACE = "UPDATE documents SET seq = ?, keys = ?, body = ? WHERE number = ?"
DELETE = "DELETE FROM documents WHERE number = ?"
# Marks are rows of their own at the end: what is left of a row in its place would keep a whole page. Their bodies are the
# numbers that the deleted documents had; in a file of an earlier version a mark has that number itself, and an empty body.
MARK = "INSERT INTO documents (number, id, type, seq, deleted, keys, body) VALUES (?, ?, ?, ?, 1, '{}', ?)"
UNMARK = "DELETE FROM documents WHERE id = ? AND deleted = 1"
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
LOWEST = f"""SELECT {COLUMNS} FROM keys k CROSS JOIN documents d ON d.number BETWEEN k.number AND max(k.number, k.last)
    WHERE k.name = ? AND k.value < ? ORDER BY k.value, k.number, d.number LIMIT ?"""  # noqa: S608 - constants only


@functools.lru_cache(maxsize=4096)
def key(type: str, name: str) -> str:
    """The name under which a type's key is kept."""
    return f"{type}:{name}"


def key_rows(type: str, keys: Any) -> set[tuple[str, str]]:
    """What the key table has of a document: names and values."""
    return {
        (key(type, name), text if len(text) <= LONGEST else indexed(text))
        for name, values in keys.items()
        for text in values
    }


def changes(types: int) -> str:
    """The change feed, narrowed to so many types; parameters: the cursor, the types, the limit."""
    among = f"AND d.type IN ({', '.join('?' * types)})" if types else ""
    return f"SELECT {COLUMNS} FROM documents d WHERE d.seq > ? {among} ORDER BY d.seq LIMIT ?"  # noqa: S608
