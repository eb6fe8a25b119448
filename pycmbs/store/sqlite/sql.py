"""The SQL of the SQLite store: its schema, and its statements. Pure text, no connection.

A document has a *place*, at the end of its table when it is made, and a *number*, which counts the documents of its type.

The key table keeps *runs*: a row says that all documents of a type from one number to another have a value. What is made
together, or one after the other, has most of its values in common: for a hundred messages such a value takes one row, or makes
the latest one longer, and rows are what a write costs. How queries go through runs is in :mod:`pycmbs.store.sqlite.runs`.
"""

from __future__ import annotations

import functools
from typing import Any

from pycmbs.store.index_keys import LONGEST, indexed

VERSION = 3
"""Of the schema; kept in ``user_version``."""

_BY_TYPE = "CREATE INDEX documents_type ON documents (type, coalesce(number, place)) WHERE deleted = 0"

SCHEMA = f"""
CREATE TABLE documents (
    place INTEGER PRIMARY KEY,                   -- the seq of its creation, so it is never used twice
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    seq INTEGER NOT NULL UNIQUE,                 -- order of the latest change, and so the revision
    deleted INTEGER NOT NULL DEFAULT 0,
    keys BLOB NOT NULL,
    body BLOB NOT NULL,
    number INTEGER                               -- order of creation within its type (NULL in an older file: its place)
);
{_BY_TYPE};
CREATE INDEX documents_deleted ON documents (seq) WHERE deleted = 1;
CREATE TABLE keys (
    name TEXT NOT NULL,                          -- type:name
    value TEXT NOT NULL,
    number INTEGER NOT NULL,                     -- the first of a run
    last INTEGER NOT NULL DEFAULT 0,             -- of it, or 0 in a row of version 1, which is about one document
    PRIMARY KEY (name, value, number)
) WITHOUT ROWID;
CREATE TABLE heads (
    type TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,                        -- of the latest change of its documents
    number INTEGER NOT NULL DEFAULT 0            -- the highest that one of them ever had
) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
# In version 1 places were counted apart from changes: both go on behind the higher count.
_FROM_1 = """
ALTER TABLE keys ADD COLUMN last INTEGER NOT NULL DEFAULT 0;
INSERT INTO heads (type, seq) SELECT '#', seq FROM sqlite_sequence WHERE name = 'documents';
"""
_FROM_2 = f"""
ALTER TABLE documents RENAME COLUMN number TO place;
ALTER TABLE documents ADD COLUMN number INTEGER;
ALTER TABLE heads ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
UPDATE heads SET number = (SELECT max(seq) FROM heads);
PRAGMA writable_schema = 1;
UPDATE sqlite_master SET sql = '{_BY_TYPE}' WHERE name = 'documents_type';
PRAGMA writable_schema = RESET;
PRAGMA user_version = {VERSION};
"""  # noqa: S608 - constants only
# The index by type has for every row there is what the new one would have, its place: it is declared to be that, since making
# it again would read all documents. A process that has the file open reads the schema again, as after any ALTER TABLE.
TAKE_OVER = {0: SCHEMA, 1: _FROM_1 + _FROM_2, 2: _FROM_2}
"""What makes a file of an earlier version, or a new one, one of this, at once whatever is in it."""

NUMBER = "coalesce(d.number, d.place)"
"""Of a document d, as ``documents_type`` has it."""
COLUMNS = f"{NUMBER}, d.id, d.type, d.seq, d.deleted, d.keys, d.body"

INSERT = """INSERT INTO documents (place, id, type, seq, keys, body, number) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING"""
CURRENT = f"SELECT d.place, {NUMBER}, d.seq, d.keys FROM documents d WHERE d.id = ? AND d.type = ? AND d.deleted = 0"  # noqa: S608
REPLACE = "UPDATE documents SET seq = ?, keys = ?, body = ? WHERE place = ?"
DELETE = "DELETE FROM documents WHERE place = ?"
# Marks are rows of their own at the end: what is left of a row in its place would keep a whole page. Their bodies are the
# numbers that the deleted documents had, their keys those that the deletion named; in a file of version 1 a mark has its
# place, and an empty body.
MARK = "INSERT INTO documents (place, id, type, seq, deleted, keys, body) VALUES (?, ?, ?, ?, 1, ?, ?)"
UNMARK = "DELETE FROM documents WHERE id = ? AND deleted = 1"
LAST = "SELECT max(seq) FROM heads"
HEADS = "SELECT type, seq, number FROM heads"
SET_HEAD = """INSERT INTO heads (type, seq, number) VALUES (?, ?, ?)
    ON CONFLICT (type) DO UPDATE SET seq = excluded.seq, number = excluded.number"""
UNMARKED = "-"
"""Beside the types in ``heads``: the latest change at which a deleted document's mark went, and the trace of its number."""
LAST_CHANGES = "SELECT coalesce(max(seq), 0), coalesce(max(seq) FILTER (WHERE type = ?), 0) FROM heads"
CHANGED = f"""SELECT CASE WHEN d.deleted = 1 AND d.body <> '{{}}' THEN CAST(d.body AS INTEGER) ELSE {NUMBER} END, d.type
    FROM documents d WHERE d.seq > ? ORDER BY d.seq LIMIT ?"""  # noqa: S608 - constants only
HEAD = "SELECT seq FROM heads WHERE type = ?"
GET = f"SELECT {COLUMNS} FROM documents d WHERE d.id = ? AND d.deleted = 0"  # noqa: S608 - constants only
COMPACT = """DELETE FROM documents WHERE place IN (SELECT place FROM documents WHERE deleted = 1 AND seq <=
    (SELECT seq FROM documents WHERE deleted = 1 ORDER BY seq DESC LIMIT 1 OFFSET ?) ORDER BY seq LIMIT ?)"""
# A bound that is a column, and not an expression, would not be taken for one of the index: hence the +.
LOWEST = f"""SELECT {COLUMNS} FROM keys k CROSS JOIN documents d ON d.type = ? AND d.deleted = 0
    AND {NUMBER} BETWEEN +k.number AND max(k.number, k.last)
    WHERE k.name = ? AND k.value < ? ORDER BY k.value, k.number, {NUMBER} LIMIT ?"""  # noqa: S608 - constants only


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
    return f"SELECT {COLUMNS}, d.place FROM documents d WHERE d.seq > ? {among} ORDER BY d.seq LIMIT ?"  # noqa: S608
