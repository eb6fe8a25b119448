"""The embedded store keeps the contract, and its own promises: durable, shared, indexed, and back when its file is."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pycmbs.errors import ConfigurationError, RevisionConflict, StoreUnavailable
from pycmbs.runtime import ThreadRuntime
from pycmbs.store import open_store
from pycmbs.store.base import Batch, Query, Store, Write
from pycmbs.store.sqlite import ranks as sqlite_ranks
from pycmbs.store.sqlite import runs as sqlite_runs
from pycmbs.store.sqlite import sql
from pycmbs.store.sqlite import wal as sqlite_log
from pycmbs.store.sqlite.commit import Commit
from pycmbs.store.sqlite.store import SqliteStore
from tests.harness import ROOT, wait_until
from tests.store.contract import StoreContract, create, ids

Open = Callable[[], SqliteStore]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory of the store's own, that can be moved."""
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def open_one(home: Path) -> Iterator[Open]:
    """Opens the store of this test once more, as another process would."""
    opened: list[SqliteStore] = []

    def open_it() -> SqliteStore:
        opened.append(SqliteStore.open("", home=home, runtime=ThreadRuntime()))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_one: Open) -> SqliteStore:
    """An open store in its home."""
    return open_one()


class TestSqliteStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def store(self, open_one: Open) -> Store:
        return open_one()


# Durable and shared


def test_reopening_keeps_everything(open_one: Open) -> None:
    """Documents, revisions, numbers, change tokens and cursors are the same after a restart; new ones are new."""
    first = open_one()
    made = first.write([create("a", x="1"), create("b", x="1")])
    first.write([Write("b", "thing", revision=made[1].revision, delete=True)])
    cursor, token = first.changes("")[1], first.change_token("thing")
    first.close()
    second = open_one()
    assert (second.get("a"), second.changes(cursor)[0], second.change_token("thing")) == (made[0], [], token)
    (new,) = second.write([create("b")])
    assert new.number > made[1].number
    assert [one.id for one in second.changes(cursor)[0]] == ["b"]


def test_after_close_it_is_unavailable(store: SqliteStore) -> None:
    """Every call on a closed store is refused with the store's own error."""
    store.close()
    for call in (lambda: store.get("a"), lambda: store.write([create("a")]), store.compact):
        with pytest.raises(StoreUnavailable, match="closed"):
            call()


def test_closing_while_others_read_breaks_nothing(open_one: Open) -> None:
    """Readers of other threads finish, or get StoreUnavailable; their connections are closed as well."""
    store = open_one()
    store.write([create(f"{n}") for n in range(200)])
    unexpected: list[BaseException] = []
    began = threading.Semaphore(0)

    def read() -> None:
        try:
            while True:
                assert len(store.find(Query("thing"))) == 200
                began.release()
        except StoreUnavailable:
            pass
        except BaseException as exc:  # noqa: BLE001 - asserted below
            unexpected.append(exc)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        began.acquire()
    store.close()
    for thread in threads:
        thread.join(10)
    assert (unexpected, store._file._idle) == ([], [])


_WRITER = """
import sys
from pathlib import Path
from pycmbs.runtime import ThreadRuntime
from pycmbs.store.base import Write
from pycmbs.store.sqlite.store import SqliteStore
home, name, most = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store = SqliteStore.open("", home=home, runtime=ThreadRuntime())
for n in range(most):
    ids = [f"{name}-{n}-{part}" for part in "ab"]
    store.write([Write(id, "thing", {"n": n}, {"x": ("1",)}) for id in ids])
    print(*ids, flush=True)
"""


def _writer(home: Path, name: str, most: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(home), name, str(most)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_two_processes_lose_nothing(store: SqliteStore, home: Path) -> None:
    """What two processes write at the same time is all there, for both and for a third."""
    writers = [_writer(home, name, 200) for name in ("one", "two")]
    acknowledged = [id for writer in writers for id in writer.communicate(timeout=60)[0].split()]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(acknowledged) == 800
    assert set(store.get_many(acknowledged)) == set(acknowledged)
    found = store.find(Query("thing", {"x": "1"}))
    assert (len({one.revision for one in found}), len({one.number for one in found})) == (800, 800)


@pytest.mark.parametrize("seed", range(5))
def test_what_was_acknowledged_survives_a_kill(seed: int, home: Path, open_one: Open) -> None:
    """After SIGKILL at any point every acknowledged document is there, and no half of a batch."""
    writer = _writer(home, f"seed{seed}", 1_000_000)
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline() for _ in range(random.Random(seed).randrange(1, 200))]
    writer.send_signal(signal.SIGKILL)
    acknowledged += writer.stdout.readlines()
    writer.stdout.close()
    assert writer.wait(10) == -signal.SIGKILL
    expected = [id for line in acknowledged if line.endswith("\n") for id in line.split()]
    store = open_one()
    assert set(expected) <= set(store.get_many(expected))
    found = ids(store.find(Query("thing", {"x": "1"})))
    assert {id[:-1] for id in found if id.endswith("a")} == {id[:-1] for id in found if id.endswith("b")}


def test_one_sync_per_call(store: SqliteStore) -> None:
    """However many batches a call has, one COMMIT makes them durable, with synchronous = FULL."""
    seen: list[str] = []
    store.write([create("first")])  # with the first transaction of a log, a second one says what that belongs to
    writer = store._file._writer
    assert writer is not None
    writer.set_trace_callback(seen.append)
    store.write_batches([[create(f"{n}"), create(f"{n}x")] for n in range(50)])
    assert [one for one in seen if one.startswith(("COMMIT", "BEGIN"))] == ["BEGIN IMMEDIATE", "COMMIT"]
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# Trouble


def _unavailable(store: SqliteStore, match: str | None = None) -> None:
    """It neither reads nor writes, and says so within about a second."""
    for call in (lambda: store.get("a"), lambda: store.write([create("new")]), lambda: store.find(Query("thing"))):
        with pytest.raises(StoreUnavailable, match=match):
            call()


def _works(store: SqliteStore, id: str) -> None:
    """It writes, reads and finds."""
    (written,) = store.write([create(id, x=id)])
    assert store.get(id) == written
    assert store.find(Query("thing", {"x": id})) == [written]


def test_a_moved_directory_is_noticed_and_found_again(store: SqliteStore, home: Path) -> None:
    """While the store is away nothing is written anywhere; when it is back, it works, with all that was in it."""
    store.write([create("a")])
    away = home.rename(home.with_name("away"))
    _unavailable(store)
    home.mkdir()
    _unavailable(store)
    assert list(home.iterdir()) == []
    home.rmdir()
    away.rename(home)
    _works(store, "b")
    assert ids(store.find(Query("thing"))) == ["a", "b"]


def test_a_deleted_store_is_not_written(store: SqliteStore, home: Path, open_one: Open) -> None:
    """Data never goes into a deleted file; a backup put in its place is used, without a restart."""
    store.write([create("a")])
    store.close()
    shutil.copytree(home, home.with_name("backup"))
    store = open_one()
    store.write([create("lost")])
    for file in home.iterdir():
        file.unlink()
    _unavailable(store)
    assert list(home.iterdir()) == []
    shutil.copy(home.with_name("backup") / "pycmbs.db", home)
    _works(store, "b")
    assert ids(store.find(Query("thing"))) == ["a", "b"]


def test_an_empty_file_in_its_place_is_no_store(store: SqliteStore, home: Path) -> None:
    """A replacement that is not a store is refused rather than filled."""
    store.write([create("a")])
    for file in home.iterdir():
        file.rename(home.parent / file.name)
    (home / "pycmbs.db").touch()
    _unavailable(store, "not a store of pyCMBS")
    for file in home.parent.glob("pycmbs.db*"):
        file.replace(home / file.name)
    _works(store, "b")


def test_a_file_with_the_log_of_another_is_refused(store: SqliteStore, home: Path, tmp_path: Path) -> None:
    """Replacing the file under its log, or removing the log alone, would mix two states: neither is written or read."""
    store.write([create("a")])
    file, log = home / "pycmbs.db", home / "pycmbs.db-wal"
    log.rename(tmp_path / "log")
    with pytest.raises(StoreUnavailable, match="belong together"):
        store.write([create("b")])
    (tmp_path / "log").rename(log)
    SqliteStore.open("other.db", home=tmp_path, runtime=ThreadRuntime()).close()
    file.rename(tmp_path / "away.db")
    shutil.copy(tmp_path / "other.db", file)
    _unavailable(store, "belong together")
    (tmp_path / "away.db").replace(file)
    _works(store, "b")


def test_a_lost_file_is_not_made_anew_beside_its_log(store: SqliteStore, home: Path) -> None:
    """A process that starts while the file is away neither throws its log away nor serves an empty store."""
    store.write([create("a")])
    (home / "pycmbs.db").rename(home / "away")
    with pytest.raises(ConfigurationError, match="its log"):
        SqliteStore.open("", home=home, runtime=ThreadRuntime())
    (home / "away").rename(home / "pycmbs.db")
    _works(store, "b")
    assert ids(store.find(Query("thing"))) == ["a", "b"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_moved_during_the_commit_is_not_acknowledged(
    store: SqliteStore, home: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """A write whose file went away before it was done fails, though SQLite was content."""
    real = Commit.write

    def move_and_write(self: Commit, batches: Sequence[Batch]) -> object:
        (home / "pycmbs.db").rename(home / "away")
        if replaced:
            (home / "pycmbs.db").touch()
        return real(self, batches)

    monkeypatch.setattr(Commit, "write", move_and_write)
    with pytest.raises(StoreUnavailable, match=r"was moved|No such file"):
        store.write([create("a")])
    monkeypatch.undo()
    (home / "away").replace(home / "pycmbs.db")
    _works(store, "b")


def test_a_full_disk_is_unavailable_until_there_is_room(store: SqliteStore) -> None:
    """Writes are refused whole, reads go on, and writes work again without a restart."""
    writer = store._file._writer
    assert writer is not None
    store.write([create("a")])
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreUnavailable, match="full"):
        store.write([create("b"), create("big", body={"text": "x" * 100_000})])
    assert ids(store.find(Query("thing"))) == ["a"]
    writer.execute("PRAGMA max_page_count = 1000000")
    _works(store, "b")


def test_an_io_error_is_unavailable_until_it_is_over(store: SqliteStore) -> None:
    """When the kernel refuses to write, the batch is refused whole; afterwards the store works."""
    store.write([create("a")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StoreUnavailable, match="I/O error"):
            store.write([create("b"), create("c")])
        assert ids(store.find(Query("thing"))) == ["a"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    _works(store, "b")


class _Broken:
    """A connection whose chosen statements fail."""

    def __init__(self, real: sqlite3.Connection, *broken: str) -> None:
        self._real = real
        self._broken = broken

    def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
        if statement in self._broken:
            raise sqlite3.OperationalError(f"disk I/O error in {statement}")
        return self._real.execute(statement, *parameters)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


@pytest.mark.parametrize("broken", [("COMMIT",), ("COMMIT", "ROLLBACK")])
def test_a_failed_commit_leaves_nothing_open(store: SqliteStore, open_one: Open, broken: tuple[str, ...]) -> None:
    """Even when ROLLBACK fails too: the first error is told, the lock is free, nothing is written, the next write works."""
    store._file._writer = _Broken(store._file._writer, *broken)  # type: ignore[arg-type,assignment]
    with pytest.raises(StoreUnavailable, match="in COMMIT"):
        store.write([create("a")])
    _works(open_one(), "b")
    if len(broken) == 1:
        store._file._writer = store._file._writer._real  # type: ignore[union-attr]
    _works(store, "c")
    assert store.get("a") is None


def test_a_log_that_others_began_anew_is_no_foreign_one(store: SqliteStore, open_one: Open, home: Path) -> None:
    """After an error that cost the writer, and with it the log of the last user, the store goes on with the log of today."""
    store._file._writer = _Broken(store._file._writer, "COMMIT", "ROLLBACK")  # type: ignore[arg-type,assignment]
    with pytest.raises(StoreUnavailable, match="in COMMIT"):
        store.write([create("a")])
    (home / "taken").touch()  # the inode of the log that went
    _works(open_one(), "b")
    _works(store, "c")


def test_a_writer_that_failed_leaves_the_locks_of_readers(store: SqliteStore) -> None:
    """The file is not read past SQLite while readers have it open: closing it would free what they locked."""
    store.write([create("a")])
    assert store.get("a") is not None  # a reader is open from here on
    store._file._writer = _Broken(store._file._writer, "COMMIT", "ROLLBACK")  # type: ignore[arg-type,assignment]
    with pytest.raises(StoreUnavailable, match="in COMMIT"):
        store.write([create("b")])
    inode = Path(store._file._path).stat()
    assert sqlite_log._in_use[inode.st_dev, inode.st_ino] == 1
    _works(store, "c")


def test_an_error_in_compact_is_rolled_back(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is told, and no transaction stays open."""
    monkeypatch.setattr(sql, "COMPACT", "DELETE FROM nowhere WHERE ? = ?")
    with pytest.raises(StoreUnavailable, match="nowhere"):
        store.compact()
    _works(store, "a")


def test_what_cannot_be_encoded_is_the_callers_error(store: SqliteStore) -> None:
    """A body that is not JSON, or a key that is not text, raises what it is; nothing is written."""
    for poison in (create("a", body={"x": object()}), create("b", x="\ud800"), Write("c", "thing", {}, {"x": ({},)})):  # type: ignore[dict-item]
        with pytest.raises((TypeError, ValueError, sqlite3.ProgrammingError)):
            store.write([create("z"), poison])
    assert store.find(Query("thing")) == []
    _works(store, "a")


def test_a_lock_held_too_long_is_unavailable(store: SqliteStore, home: Path) -> None:
    """A writer that waits in vain for another process says so after a second; readers are not concerned."""
    holder = sqlite3.connect(home / "pycmbs.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="another process"):
        store.write([create("a")])
    assert store.get("a") is None
    holder.execute("ROLLBACK")
    holder.close()
    _works(store, "a")


def test_a_corrupt_file_is_unavailable(store: SqliteStore, home: Path, open_one: Open) -> None:
    """Reading what is damaged raises the store's own error, not SQLite's."""
    store.write([create(f"{n}", body={"text": "x" * 500}) for n in range(500)])
    store.close()
    path = home / "pycmbs.db"
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)
    damaged = open_one()
    with pytest.raises(StoreUnavailable):
        damaged.find(Query("thing"))


@pytest.mark.parametrize("kind", ["text", "newer", "foreign", "directory", "nowhere", "below a file"])
def test_what_cannot_be_opened_is_a_sentence_with_its_path(kind: str, tmp_path: Path) -> None:
    """No database, a newer schema, another program's, a directory, no directory: ConfigurationError names the path."""
    path = {"nowhere": tmp_path / "no" / "x.db", "below a file": tmp_path / "file" / "x.db"}.get(
        kind, tmp_path / "x.db"
    )
    (tmp_path / "file").touch()
    if kind == "text":
        path.write_text("no database\n" * 1000)
    if kind == "directory":
        path.mkdir()
    if kind in {"newer", "foreign"}:
        made = sqlite3.connect(path)
        made.execute("PRAGMA user_version = 99" if kind == "newer" else "CREATE TABLE t (x)")
        made.close()
    with pytest.raises(ConfigurationError) as caught:
        open_store(f"sqlite:{path}", home=tmp_path, runtime=ThreadRuntime())
    assert str(path) in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_said_so(home: Path) -> None:
    """The sentence names the path."""
    home.chmod(0o500)
    with pytest.raises(ConfigurationError, match=r"home/pycmbs\.db"):
        SqliteStore.open("", home=home, runtime=ThreadRuntime())
    home.chmod(0o700)


# Cost

_QUERIES = [
    Query("thing"),
    Query("thing", {"all": "1"}, after=5, limit=3),
    Query("thing", {"all": "1", "few": "1"}),
    Query("thing", {"all": "1", "few": "1", "half": "1"}, limit=3),
]


@pytest.fixture
def filled(store: SqliteStore) -> SqliteStore:
    """A store of 5000 things."""
    keys = [{"all": "1", "half": str(n % 2), "few": str(n % 500), "due": f"{n:05}"} for n in range(5000)]
    store.write([create(f"{n:05}", **one) for n, one in enumerate(keys)])
    return store


def _plan(store: SqliteStore, statement: str, parameters: list[object] | dict[str, Any]) -> list[str]:
    return [row[3] for row in store._file.rows(f"EXPLAIN QUERY PLAN {statement}", parameters)]


@pytest.mark.parametrize("query", _QUERIES)
def test_every_query_uses_an_index(filled: SqliteStore, query: Query) -> None:
    """No shape of a query scans the documents or the keys."""
    statements, parameters = sqlite_runs.matching(query, list(query.equals))
    for statement in astuple(statements):
        plan = _plan(filled, statement, {**parameters, "limit": 3, "most": 9, "stretch": 4})
        assert plan
        assert [step for step in plan if step.startswith("SCAN") and "(subquery" not in step] == []  # that has a limit
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_every_other_statement_uses_an_index(filled: SqliteStore) -> None:
    """Nor do reads by id, the feed, writes or compaction."""
    statements = [sql.GET, sql.CURRENT, sql.REPLACE, sql.DELETE, sql.UNMARK, sql.HEAD, sql.COMPACT, sql.LOWEST]
    for statement in [*statements, *sqlite_runs.STATEMENTS, sql.changes(0), sql.changes(2)]:
        plan = _plan(filled, statement, [1] * statement.count("?"))
        scans = {step for step in plan if step.startswith("SCAN")}
        assert scans <= {"SCAN documents USING INDEX documents_deleted"}, (statement, plan)  # of COMPACT: the marks


def _steps(store: SqliteStore, query: Query) -> int:
    """How many instructions of SQLite's machine the query takes, with the choice of its plan."""
    return _steps_of(store, lambda: store.find(query))


def _steps_of(store: SqliteStore, ask: Callable[[], object]) -> int:
    """The same of any question."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    store.get("open a connection")
    ((_, connection),) = store._file._idle
    connection.set_progress_handler(step, 1)
    ask()
    connection.set_progress_handler(None, 1)
    return steps


@pytest.mark.parametrize("equals", [{}, {"all": "1"}, {"half": "1"}])
def test_the_last_page_costs_what_the_first_does(filled: SqliteStore, equals: dict[str, str]) -> None:
    """Paging does not walk what was on the pages before."""
    middle = filled.find(Query("thing", equals))[2000].number
    first = _steps(filled, Query("thing", equals, limit=20))
    later = _steps(filled, Query("thing", equals, after=middle, limit=20))
    assert 0 < later <= first * 1.05
    assert first < 1500


def test_the_lowest_cost_the_same_wherever_they_are(filled: SqliteStore) -> None:
    """What is overdue is found without walking what was made before it, of its type or of others."""
    first = _steps_of(filled, lambda: filled.lowest_by_key("thing", "due", "00001", 1))
    filled.write([create("last", due="!"), create("other", type="other", due="!")])
    assert ids(filled.lowest_by_key("thing", "due", "0", 9)) == ["last"]
    last = _steps_of(filled, lambda: filled.lowest_by_key("thing", "due", "0", 1))
    assert 0 < last <= first * 1.05


@pytest.mark.parametrize("names", [["all", "few"], ["few", "all"], ["half", "all", "few"]])
def test_the_most_selective_key_drives(filled: SqliteStore, names: list[str]) -> None:
    """Ten matches among five thousand cost about ten, whatever the order of the names."""
    query = Query("thing", dict.fromkeys(names, "1"))
    assert len(filled.find(query)) == 10
    assert _steps(filled, query) * 5 < _steps(filled, Query("thing", {"all": "1"}))


def test_a_key_that_many_have_does_not_drive_one_that_fewer_have(filled: SqliteStore) -> None:
    """Also beyond the first estimate the rarer key is found: 600 documents of 6000 are not found by walking 6000."""
    filled.write([create(f"m{n}", all="1", some="1") for n in range(600)])
    filled.write([create(f"n{n}", all="1") for n in range(400)])
    for names in (["all", "some"], ["some", "all"]):
        statement, parameters, narrow = filled._statement(Query("thing", dict.fromkeys(names, "1")))
        assert parameters["name0"] == "thing:some"
        assert "FROM keys k0 " in statement
        assert not narrow


def test_a_follower_of_a_rare_type_does_not_walk_the_others_again(filled: SqliteStore) -> None:
    """The cursor moves past changes of other types, so an idle poll costs nothing."""
    _, cursor = filled.changes("", types=["rare"])
    assert filled.changes(cursor) == ([], cursor)
    filled.write([create("r", type="rare")])
    assert [one.id for one in filled.changes(cursor, types=["rare"])[0]] == ["r"]


# Space


def _filled(path: Path, *, older: bool = False) -> SqliteStore:
    """A store of a few megabytes, nearly all of whose documents are deleted again. ``older``: the file is as earlier versions
    made it."""
    store = SqliteStore(path, ThreadRuntime())
    if older:
        writer = store._file._writer
        assert writer is not None
        writer.execute("PRAGMA auto_vacuum = 0")
        writer.execute("VACUUM")
    made = [
        one for n in range(4) for one in store.write([create(f"{n}-{i}", body={"x": "y" * 5000}) for i in range(200)])
    ]
    store.write([Write(one.id, one.type, revision=one.revision, delete=True) for one in made[1:]])
    return store


def test_space_is_given_back_in_small_steps(tmp_path: Path) -> None:
    """Compaction makes the file smaller while others write, a megabyte with each commit; a tenth stays free for what comes."""
    store = _filled(tmp_path / "x.db")
    before = (tmp_path / "x.db").stat().st_size
    assert store._file.trim()
    store.compact()
    after = (tmp_path / "x.db").stat().st_size
    assert after < before / 6
    ((free,), (pages,)) = (*store._file.rows("PRAGMA freelist_count"), *store._file.rows("PRAGMA page_count"))
    assert free <= pages / 10 + 1
    store.close()


def test_an_older_file_gives_its_space_back_once_it_was_written_anew(tmp_path: Path) -> None:
    """A file of an earlier version stays as large as it is, and works, until ``shrink``; from then on it is like a new one."""
    store = _filled(tmp_path / "x.db", older=True)
    before = store.size()
    store.compact()
    assert store._file.rows("PRAGMA auto_vacuum") == [(0,)]
    store.shrink()
    again = SqliteStore(tmp_path / "x.db", ThreadRuntime())
    assert again._file.rows("PRAGMA auto_vacuum") == [(2,)]
    again.close()
    assert store.size() < before / 5
    assert len(store.find(Query("thing"))) == 1
    store.close()


# Under green threads

_GREEN = """
import sys, time
from pathlib import Path
import eventlet
from pycmbs.processes.front import GreenRuntime
from pycmbs.store.base import Query, Write
from pycmbs.store.group import GroupCommit
from pycmbs.store.sqlite.store import SqliteStore
runtime = GreenRuntime()
store = GroupCommit(SqliteStore.open("", home=Path(sys.argv[1]), runtime=runtime), runtime)
print("ready", flush=True)
sys.stdin.readline()  # the lock is held now
gaps, stop = [], False
def tick():
    last = time.monotonic()
    while not stop:
        eventlet.sleep(0.001)
        gaps.append(time.monotonic() - last)
        last = time.monotonic()
def work(n):
    store.write([Write(f"{n}", "thing", {"n": n}, {"x": (str(n % 7),)})])
    assert store.get(f"{n}").body == {"n": n}
    assert store.count(Query("thing", {"x": str(n % 7)})) > 0
    return n
ticker = eventlet.spawn(tick)
eventlet.sleep(0)
started = time.monotonic()
workers = [eventlet.spawn(work, n) for n in range(200)]
with eventlet.Timeout(30):
    done = sorted(one.wait() for one in workers)
took, stop = time.monotonic() - started, True
ticker.wait()
assert done == list(range(200)), done
assert len(store.find(Query("thing"))) == 200
store.close()
print(took, max(gaps), len(gaps))
"""


def test_green_threads_get_through_and_the_hub_goes_on(store: SqliteStore, home: Path) -> None:
    """While another process has the lock for 300 ms, 200 green threads wait for it and everything else goes on."""
    holder = sqlite3.connect(home / "pycmbs.db", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    holder.execute("ROLLBACK")
    front = subprocess.Popen(
        [sys.executable, "-c", _GREEN, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert front.stdin is not None
    assert front.stdout is not None
    assert front.stdout.readline() == "ready\n"
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: holder.execute("ROLLBACK"))
    release.start()
    output, _ = front.communicate("go\n", timeout=60)
    release.join()
    holder.close()
    took, longest, ticks = (float(word) for word in output.split())
    assert 0.25 < took < 10
    assert longest < 0.2
    assert ticks > 50
    wait_until(lambda: store.count(Query("thing")) == 200)


def test_a_conflict_is_a_value_without_frames(store: SqliteStore) -> None:
    """A refused batch's exception is handed over, not raised: it holds on to nothing."""
    store.write([create("a")])
    (refused,) = store.write_batches([[create("a")]])
    assert isinstance(refused, RevisionConflict)
    assert refused.__traceback__ is None


@pytest.mark.parametrize("seed", range(6))
def test_a_place_is_right_whatever_is_written(open_one: Open, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """What is counted once is kept, and stays right through creations, changes, deletions, new documents under old ids and
    compaction, by whichever process."""
    monkeypatch.setattr(sqlite_runs, "STRETCH", 4)
    monkeypatch.setattr(sqlite_ranks, "_MOST_CHANGES", 12)
    reading, writing, chance = open_one(), open_one(), random.Random(seed)
    queries = [Query("thing"), Query("thing", {"colour": "red"}), Query("thing", {"colour": "red", "n": "1"})]
    there: dict[str, str] = {}
    for _ in range(40):
        for _ in range(chance.choice((1, 3, 15))):
            name = f"d{chance.randrange(60)}"
            keys = {"colour": chance.choice(("red", "blue")), "n": str(chance.randrange(2))}
            one = create(name, **keys)
            if name in there:
                one = replace(one, revision=there.pop(name), delete=chance.random() < 0.5)
            (stored,) = chance.choice((reading, writing)).write([one])
            if not one.delete:
                there[name] = stored.revision
        if chance.random() < 0.1:
            writing.compact(keep=chance.randrange(3))
        query = chance.choice(queries)
        found = reading.find(query)
        after = chance.choice([0, *(one.number for one in found)])
        rest = [one.number for one in found if one.number > after]
        assert reading.total(replace(query, after=after)) == len(found)
        for past in {1, chance.randint(1, len(rest) + 2), len(rest), len(rest) + 1} - {0}:
            expected = rest[past - 1] if past <= len(rest) else None
            assert reading.nth(replace(query, after=after), past) == expected
