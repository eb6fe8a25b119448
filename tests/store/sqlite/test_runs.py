"""The key table of the SQLite store: runs of documents, whatever was written in which order, and files of the first version."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from pycmbs.runtime import ThreadRuntime
from pycmbs.store.base import Document, Query, Store, Write
from pycmbs.store.sqlite import runs as sqlite_runs
from pycmbs.store.sqlite import sql
from pycmbs.store.sqlite.store import SqliteStore
from tests.store.contract import create, ids

_VERSION_1 = """
CREATE TABLE documents (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    seq INTEGER NOT NULL UNIQUE, deleted INTEGER NOT NULL DEFAULT 0, keys BLOB NOT NULL, body BLOB NOT NULL);
CREATE INDEX documents_type ON documents (type, number) WHERE deleted = 0;
CREATE INDEX documents_deleted ON documents (seq) WHERE deleted = 1;
CREATE TABLE keys (name TEXT NOT NULL, value TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (name, value, number)) WITHOUT ROWID;
CREATE TABLE heads (type TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;
INSERT INTO documents (number, id, type, seq, deleted, keys, body) VALUES
    (1, 'a', 'thing', 1, 0, CAST('{"x":["1"]}' AS BLOB), CAST('{}' AS BLOB)),
    (2, 'b', 'thing', 2, 0, CAST('{"x":["1"]}' AS BLOB), CAST('{}' AS BLOB)),
    (3, 'c', 'thing', 3, 0, CAST('{"x":["1"]}' AS BLOB), CAST('{}' AS BLOB)),
    (9, 'e', 'thing', 5, 1, '{}', '8');
INSERT INTO keys VALUES ('thing:x', '1', 1), ('thing:x', '1', 2), ('thing:x', '1', 3);
INSERT INTO heads VALUES ('thing', 5);
"""
"""As the first version made a file, and filled it; some numbers were used for what is gone."""

_VERSION_2 = """
CREATE TABLE documents (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    seq INTEGER NOT NULL UNIQUE, deleted INTEGER NOT NULL DEFAULT 0, keys BLOB NOT NULL, body BLOB NOT NULL);
CREATE INDEX documents_type ON documents (type, number) WHERE deleted = 0;
CREATE INDEX documents_deleted ON documents (seq) WHERE deleted = 1;
CREATE TABLE keys (name TEXT NOT NULL, value TEXT NOT NULL, number INTEGER NOT NULL, last INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (name, value, number)) WITHOUT ROWID;
CREATE TABLE heads (type TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 2;
INSERT INTO documents (number, id, type, seq, deleted, keys, body) VALUES
    (1, 'a', 'thing', 1, 0, CAST('{"x":["1"]}' AS BLOB), CAST('{}' AS BLOB)),
    (2, 'b', 'thing', 2, 0, CAST('{"x":["1"]}' AS BLOB), CAST('{}' AS BLOB)),
    (3, 'n', 'note', 3, 0, CAST('{"x":["1"]}' AS BLOB), CAST('{}' AS BLOB)),
    (4, 'c', 'thing', 7, 0, CAST('{"x":["1"]}' AS BLOB), CAST('{}' AS BLOB)),
    (9, 'e', 'thing', 9, 1, '{}', '8');
INSERT INTO keys VALUES ('thing:x', '1', 1, 2), ('note:x', '1', 3, 3), ('thing:x', '1', 4, 4);
INSERT INTO heads VALUES ('thing', 9), ('note', 3);
"""
"""The same of the second: there are runs, and documents of all types were numbered together."""


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    """An open store in a file of its own."""
    return SqliteStore(tmp_path / "x.db", ThreadRuntime())


def _rows(store: SqliteStore, name: str) -> list[tuple[int, int]]:
    return store._file.rows("SELECT number, max(number, last) FROM keys WHERE name = ? ORDER BY 1", (f"thing:{name}",))


def _replaced(store: Store, old: Document, **keys: str) -> Document:
    write = replace(create(old.id, **keys), revision=old.revision)
    return store.write([write])[0]


def test_what_is_made_one_after_the_other_shares_rows(store: SqliteStore) -> None:
    """Values that documents have in common take one row for all of them, in one call or in several; others one each."""
    first = store.write([create(f"{n}", all="1", own=f"{n}") for n in range(5)])
    last = [store.write([create(f"{n}", all="1", own=f"{n}")])[0] for n in range(5, 10)]
    assert _rows(store, "all") == [(first[0].number, last[-1].number)]
    assert len(_rows(store, "own")) == 10


def test_what_is_made_in_between_divides_no_run(store: SqliteStore) -> None:
    """Documents of one type share rows whatever of other types is made, and changed, between them."""
    for n in range(5):
        other = store.write([create(f"{n}", all="1"), Write(f"o{n}", "other", keys={"all": ("1",)})])[1]
        store.write([Write(other.id, "other", {"changed": True}, {"all": ("1",)}, other.revision)])
    (run,) = _rows(store, "all")
    assert [one.number for one in store.find(Query("thing"))] == list(range(run[0], run[1] + 1))
    assert store.count(Query("other", {"all": "1"})) == store.count(Query("thing", {"all": "1"})) == 5


def test_a_run_is_divided_by_what_changes(store: SqliteStore) -> None:
    """Out of a run go its ends, its middle and all of it; what is left is found, counted and paged through."""
    made = store.write([create(f"{n}", x="1") for n in range(8)])
    numbers = [one.number for one in made]
    for gone, rest in ((0, [(1, 7)]), (7, [(1, 6)]), (3, [(1, 2), (4, 6)]), (5, [(1, 2), (4, 4), (6, 6)])):
        _replaced(store, made[gone], y="1")
        assert _rows(store, "x") == [(numbers[first], numbers[last]) for first, last in rest]
    query = Query("thing", {"x": "1"})
    assert ids(store.find(query)) == ["1", "2", "4", "6"]
    assert (store.count(query), store.nth(query, 3)) == (4, numbers[4])
    assert ids(store.find(replace(query, after=numbers[1]))) == ["2", "4", "6"]
    there = [one for one in made if one.id in ("1", "2", "4", "6")]
    store.write([replace(create(one.id), revision=one.revision, delete=True) for one in there])
    assert (_rows(store, "x"), store.count(query)) == ([], 0)


def test_what_comes_and_goes_in_one_call_leaves_nothing(store: SqliteStore) -> None:
    """A value that a document gets and loses, or loses and gets, in the batches of one call is there as the last one says."""
    (kept,) = store.write([create("kept", x="1")])
    revision = str(int(kept.revision) + 1)
    outcome = store.write_batches(
        [
            [create("new", x="1"), replace(create("kept"), revision=kept.revision)],
            [replace(create("new"), revision=revision)],
            [replace(create("kept", x="1"), revision=str(int(revision) + 1))],
            [create("refused", x="1"), create("kept")],
        ]
    )
    assert [isinstance(one, list) for one in outcome] == [True, True, True, False]
    assert ids(store.find(Query("thing", {"x": "1"}))) == ["kept"]
    assert _rows(store, "x") == [(kept.number, kept.number)]


@pytest.mark.parametrize("seed", range(4))
def test_the_runs_are_what_the_documents_say(store: SqliteStore, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """After any writes the runs are apart from each other, within their stretch, and hold exactly the documents that have the
    value."""
    monkeypatch.setattr(sqlite_runs, "STRETCH", 8)
    chance = random.Random(seed)
    there: dict[str, str] = {}
    for _ in range(60):
        names = chance.sample(range(30), chance.choice((1, 2, 12)))
        writes = []
        for name in (f"d{n}" for n in names):
            one = create(name, colour=chance.choice(("red", "red", "blue")), n=str(chance.randrange(2)))
            if name in there:
                one = replace(one, revision=there.pop(name), delete=chance.random() < 0.4)
            writes.append(one)
        there |= {
            one.id: one.revision for write, one in zip(writes, store.write(writes), strict=True) if not write.delete
        }
        for colour in ("red", "blue"):
            expected = [one.number for one in store.find(Query("thing")) if one.keys["colour"] == (colour,)]
            statement = "SELECT number, max(number, last) FROM keys WHERE name = ? AND value = ? ORDER BY 1"
            runs = store._file.rows(statement, ("thing:colour", colour))
            assert [number for first, last in runs for number in range(first, last + 1)] == expected
            assert all(first // 8 == last // 8 for first, last in runs)
            assert [one.number for one in store.find(Query("thing", {"colour": colour}))] == expected


@pytest.mark.parametrize(("script", "third"), [(_VERSION_1, 3), (_VERSION_2, 4)], ids=["first", "second"])
def test_a_file_of_an_earlier_version_goes_on(tmp_path: Path, script: str, third: int) -> None:
    """Its documents are found as before, changed and deleted; new ones have numbers and revisions that none of their type ever
    had; and SQLite finds nothing wrong with it."""
    older = sqlite3.connect(tmp_path / "x.db")
    older.executescript(script)
    older.close()
    store, other = (SqliteStore(tmp_path / "x.db", ThreadRuntime()) for _ in range(2))
    query = Query("thing", {"x": "1"})
    assert (ids(store.find(query)), store.count(query), store.nth(query, 3)) == (["a", "b", "c"], 3, third)
    assert ids(store.find(Query("thing"))) == ["a", "b", "c"]
    (new,) = other.write([create("d", x="1")])
    assert new.number > 9
    assert int(new.revision) > 9
    b = store.get("b")
    assert b is not None
    store.write([replace(create("b"), revision=b.revision, delete=True)])
    assert ids(store.find(query)) == ["a", "c", "d"]
    (again,) = store.write([create("e", x="1")])
    assert ids(store.find(replace(query, after=new.number))) == ["e"]
    assert again.number > new.number
    assert ids(store.find(Query("thing", after=third))) == ["d", "e"]
    assert [(one.id, one.document is None) for one in store.changes("")[0] if one.type == "thing"] == [
        ("a", False), ("c", False), ("d", False), ("b", True), ("e", False)
    ]  # fmt: skip
    assert store._file.rows("PRAGMA integrity_check") == [("ok",)]
    assert store._file.rows("PRAGMA user_version") == [(sql.VERSION,)]
