"""SQLite's log and the file it belongs to: what was begun on it is taken, and nothing else is."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycmbs.errors import ConfigurationError
from pycmbs.runtime import ThreadRuntime
from pycmbs.store.base import Query, Write
from pycmbs.store.sqlite.store import SqliteStore
from tests.store.contract import create, ids


def opened(path: Path) -> SqliteStore:
    """The store in a file, made if it is not there."""
    return SqliteStore.open(str(path), home=path.parent, runtime=ThreadRuntime())


def killed(store: SqliteStore, path: Path, to: Path) -> Path:
    """File and log as a kill at this moment leaves them, in another directory; the file."""
    del store
    to.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, to)
    return to / path.name


def checkpoint(path: Path) -> None:
    """Put the log into its file; the next write begins another."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
    connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "pycmbs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store in use, with a document."""
    store = opened(path)
    store.write([create("first")])
    yield store
    store.close()


def test_a_clean_close_leaves_one_file_that_holds_all(path: Path, tmp_path: Path) -> None:
    """After the last one closed it, the file can be copied alone."""
    store = opened(path)
    for number in range(60):
        store.write([create(f"{number:02}")])
    store.close()
    assert [one.name for one in path.parent.iterdir()] == ["pycmbs.db"]
    shutil.copy(path, tmp_path / "copy.db")
    copy = opened(tmp_path / "copy.db")
    assert copy.count(Query("thing")) == 60
    copy.close()


def test_it_holds_all_although_a_reader_was_never_closed(path: Path) -> None:
    """A process that ends with a connection open leaves nothing in the log that is not in the file."""
    store = opened(path)
    store.write([create("a")])
    generation, reader = store._file._take_reader()
    assert reader.execute("SELECT count(*) FROM documents").fetchone() == (1,)
    store.close()
    assert generation == 0
    assert Path(f"{path}-wal").stat().st_size == 0
    reader.close()


@pytest.mark.parametrize("checkpoints", [0, 1, 2, 5])
def test_what_a_kill_leaves_is_taken(store: SqliteStore, path: Path, tmp_path: Path, checkpoints: int) -> None:
    """Whatever was put into the file before, a kill loses nothing, and nothing is refused."""
    for number in range(checkpoints):
        checkpoint(path)
        store.write([create(f"{number}")])
    again = opened(killed(store, path, tmp_path / "left"))
    assert again.count(Query("thing")) == 1 + checkpoints
    again.close()


def test_a_checkpoint_that_was_interrupted_is_no_other_file(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """A kill after a checkpoint, before the log starts over, leaves a file that is ahead of the log's beginning."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.close()
    again = opened(killed(store, path, tmp_path / "left"))
    assert ids(again.find(Query("thing"))) == ["first"]
    again.close()


@pytest.mark.parametrize("changes", [1, 3])
def test_an_older_state_under_a_newer_log_is_refused(
    store: SqliteStore, path: Path, tmp_path: Path, changes: int
) -> None:
    """A copy of the very store, of before its log was begun, is not what that belongs to; without the log it is good."""
    for number in range(3):
        checkpoint(path)
        store.write([create(f"{number}")])
    checkpoint(path)
    shutil.copy(path, tmp_path / "backup.db")
    for number in range(changes):
        store.write([create(f"late {number}", body={"text": "x" * 9000})])
        checkpoint(path)
    (document,) = store.find(Query("thing", limit=1))
    store.write([Write(document.id, document.type, {"changed": True}, revision=document.revision)])
    left = killed(store, path, tmp_path / "left")
    shutil.copy(tmp_path / "backup.db", left)
    with pytest.raises(ConfigurationError, match="does not belong to it") as caught:
        opened(left)
    assert str(left) in caught.value.message
    assert "pycmbs restore" in caught.value.hint
    Path(f"{left}-wal").unlink()
    again = opened(left)
    assert again.count(Query("thing")) == 4
    again.close()


def test_the_log_of_another_store_is_refused(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """A file that was never this store is refused under its log, whatever it holds."""
    left = killed(store, path, tmp_path / "left")
    other = opened(tmp_path / "other.db")
    other.write([create("other")])
    other.close()
    shutil.copy(tmp_path / "other.db", left)
    with pytest.raises(ConfigurationError, match="does not belong to it"):
        opened(left)


def test_the_state_a_log_was_begun_on_is_its_own(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """Only what matters counts: with the file as it was when the log was begun, nothing is lost and nothing refused."""
    checkpoint(path)
    shutil.copy(path, tmp_path / "base.db")
    store.write([create("second")])
    left = killed(store, path, tmp_path / "left")
    shutil.copy(tmp_path / "base.db", left)
    again = opened(left)
    assert ids(again.find(Query("thing"))) == ["first", "second"]
    again.close()


def test_a_file_of_an_earlier_version_is_taken_with_its_log(tmp_path: Path) -> None:
    """One that has no id yet is believed, and gets one with the next log."""
    path = tmp_path / "pycmbs.db"
    opened(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA application_id = 0")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("INSERT INTO heads (type, seq) VALUES ('other', 1)")
    (tmp_path / "left").mkdir()
    for file in ("pycmbs.db", "pycmbs.db-wal"):
        shutil.copy(tmp_path / file, tmp_path / "left")
    connection.close()
    again = opened(tmp_path / "left" / "pycmbs.db")
    again.write([create("a")])
    again.close()
    connection = sqlite3.connect(tmp_path / "left" / "pycmbs.db")
    assert connection.execute("PRAGMA application_id").fetchone() != (0,)
    connection.close()


def test_an_empty_file_is_no_store(tmp_path: Path) -> None:
    """Where a file of 0 bytes is, something was lost: it is refused, and stays as it is."""
    path = tmp_path / "pycmbs.db"
    path.touch()
    with pytest.raises(ConfigurationError, match="is empty"):
        opened(path)
    assert [(one.name, one.stat().st_size) for one in tmp_path.iterdir()] == [("pycmbs.db", 0)]
