"""``pycmbs store``: what it copies is a copy, what it checks is right, and what is wrong it says."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pycmbs import cli
from pycmbs.config import Settings
from pycmbs.errors import Conflict
from pycmbs.processes.locks import lock_home, release_home
from pycmbs.runtime import ThreadRuntime
from pycmbs.store import open_store, tools
from pycmbs.store.base import Query, Store, Write
from tests.store.contract import create, ids

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``pycmbs store`` on a home; its code, and what it printed."""

    def run_it(verb: str, *arguments: str) -> tuple[int, str, str]:
        code = cli.main(["store", verb, "--home", str(tmp_path / "home"), *arguments])
        return (code, *capsys.readouterr())

    return run_it


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], Store]:
    """Opens a store of that home."""
    (tmp_path / "home").mkdir()
    return lambda url: open_store(url, home=tmp_path / "home", runtime=ThreadRuntime())


@pytest.fixture
def filled(opened: Callable[[str], Store]) -> int:
    """The embedded store with documents of two types and a deleted one; how many there are."""
    store = opened("sqlite:")
    store.write_batches([[create(f"thing:{n}", body={"n": n}, x=str(n % 7), long="y" * 300)] for n in range(230)])
    (gone, *_) = store.write([create("other:1", type="other"), create("other:2", type="other")])
    store.write([Write("other:1", "other", revision=gone.revision, delete=True)])
    store.close()
    return 231


def test_there_and_back_again(run: Run, opened: Callable[[str], Store], filled: int, couchdb_url: str) -> None:
    """A copy to CouchDB and its copy back hold the same documents, in the same order, and both stores pass the check."""
    code, said, _ = run("copy", "sqlite:", couchdb_url)
    assert (code, f"{filled} documents copied" in said) == (0, True), said
    assert run("copy", couchdb_url, "sqlite:back.db")[0] == 0
    first, back = opened("sqlite:"), opened("sqlite:back.db")
    for type in ("thing", "other"):
        pairs = zip(first.find(Query(type)), back.find(Query(type)), strict=True)
        assert all((a.id, a.body, a.keys) == (b.id, b.body, b.keys) for a, b in pairs)
    assert ids(back.find(Query("thing", {"x": "3"}, limit=2))) == ["thing:3", "thing:10"]
    first.close()
    back.close()
    for url in ("sqlite:back.db", couchdb_url):
        code, said, _ = run("check", "--store", url)
        assert (code, f"{filled} documents, 0 faults" in said) == (0, True), said


def test_a_copy_goes_on(opened: Callable[[str], Store], filled: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was interrupted continues where it was, and the whole is compared."""

    def interrupt(_documents: int) -> None:
        raise KeyboardInterrupt

    source, target = opened("sqlite:"), opened("sqlite:copy.db")
    with pytest.raises(KeyboardInterrupt):
        tools.copy(source, target, tools.survey(source), interrupt)
    assert 0 < target.count(Query("other")) + target.count(Query("thing")) < filled
    counted: list[int] = []
    write = target.write
    monkeypatch.setattr(target, "write", lambda batch: counted.append(len(batch) - 1) or write(batch))
    tools.copy(source, target, tools.survey(source), lambda _documents: None)
    assert sum(counted) == filled - 1
    source.close()
    target.close()
    assert run("copy", "sqlite:", "sqlite:copy.db")[0] == 0


def test_a_copy_overwrites_nothing(opened: Callable[[str], Store], filled: int, run: Run) -> None:
    """A target that holds something else is refused and left as it is."""
    target = opened("sqlite:other.db")
    target.write([create("mine")])
    target.close()
    code, _, said = run("copy", "sqlite:", "sqlite:other.db")
    assert (code, "is not empty" in said) == (1, True)
    source, target = opened("sqlite:"), opened("sqlite:other.db")
    with pytest.raises(Conflict):
        tools.copy(source, target, tools.survey(source), lambda _documents: None)
    assert tools.survey(target).documents == 1
    source.close()
    target.close()


def test_a_backup_is_a_store(run: Run, filled: int, tmp_path: Path) -> None:
    """It is a SQLite file that can be served from; a file that is there is not overwritten."""
    file = tmp_path / "backup.db"
    assert run("backup", str(file))[0] == 0
    assert f"{filled} documents, 0 faults" in run("check", "--store", f"sqlite:{file}")[1]
    code, _, said = run("backup", str(file))
    assert (code, "is there already" in said) == (2, True)


def test_compact_makes_it_smaller(run: Run, opened: Callable[[str], Store], filled: int, tmp_path: Path) -> None:
    """What was deleted leaves the file, and what is left is still right."""
    store = opened("sqlite:")
    for one in store.find(Query("thing"))[:180]:
        store.write([Write(one.id, "thing", revision=one.revision, delete=True)])
    store.close()
    before = (tmp_path / "home" / "pycmbs.db").stat().st_size
    code, said, _ = run("compact")
    assert (code, "181 marks" in said) == (0, True), said
    assert (tmp_path / "home" / "pycmbs.db").stat().st_size < before / 2
    assert f"{filled - 180} documents, 0 faults" in run("check")[1]


def test_compact_on_couchdb(run: Run, couchdb_url: str, filled: int) -> None:
    """The server is told to compact, and everything is still there."""
    assert run("copy", "sqlite:", couchdb_url)[0] == 0
    assert run("compact", "--store", couchdb_url)[0] == 0
    assert f"{filled} documents, 0 faults" in run("check", "--store", couchdb_url)[1]


def test_stats_say_how_much(run: Run, filled: int) -> None:
    """By type: documents and bytes; and how many marks of deleted ones."""
    code, said, _ = run("stats")
    assert code == 0
    lines = {line.split()[0]: line.split() for line in said.splitlines()}
    assert (lines["thing"][1], lines["other"][1], lines["deleted"][1]) == ("230", "1", "1")


def test_a_lost_key_is_found(run: Run, filled: int, tmp_path: Path) -> None:
    """A document that its keys do not lead to is named, and the code is 1."""
    with sqlite3.connect(tmp_path / "home" / "pycmbs.db") as connection:
        connection.execute("DELETE FROM keys WHERE value = '3'")
    connection.close()
    code, said, _ = run("check")
    assert code == 1
    assert "is not found by its keys" in said


def test_a_running_broker_is_left_alone(run: Run, filled: int, tmp_path: Path) -> None:
    """Copy and compact refuse while a broker has the home."""
    lock = lock_home(Settings(home=tmp_path / "home"))
    for arguments in (("copy", "sqlite:", "sqlite:x.db"), ("compact",)):
        code, _, said = run(*arguments)
        assert (code, "another broker" in said) == (2, True)
    release_home(lock)


def test_a_store_that_forgets_is_refused(run: Run, filled: int) -> None:
    """``memory:`` is empty when it is opened: nothing can be copied from or to it."""
    assert run("copy", "sqlite:", "memory:")[0] == 2
