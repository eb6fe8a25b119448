"""What is kept aside for a full disk: made where there is room, given back once, made again."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from pycmbs.errors import StoreUnavailable
from pycmbs.runtime import ThreadRuntime
from pycmbs.store.base import Query, SomeUnwritten, Write
from pycmbs.store.sqlite import reserve as sqlite_reserve
from pycmbs.store.sqlite.reserve import Reserve, adds
from pycmbs.store.sqlite.store import SqliteStore
from tests.harness import wait_until
from tests.store.contract import create

SIZE = 100_000


def test_it_is_there_and_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its size on the disk; given back, it is made again only where it leaves as much room as it takes."""
    monkeypatch.setattr(sqlite_reserve, "_LOOK_SECONDS", 0)
    reserve = Reserve(tmp_path / "x.db", SIZE)
    assert reserve.is_whole()
    file = tmp_path / "x.db-reserve"
    assert file.stat().st_blocks * 512 >= SIZE
    assert reserve.release()
    assert not reserve.release()
    assert not file.exists()
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=2 * SIZE - 1, f_frsize=1))
    assert not reserve.is_whole()
    monkeypatch.undo()
    assert wait_until(reserve.is_whole)


def test_none_is_always_enough(tmp_path: Path) -> None:
    """Without a size there is no file, and nothing is ever refused for it."""
    reserve = Reserve(tmp_path / "x.db", 0)
    assert not reserve.release()
    assert reserve.is_whole()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("batch", "new"),
    [
        ([create("a")], True),
        ([create("a"), Write("b", "thing", revision="1")], True),
        ([Write("b", "thing", revision="1")], False),
        ([create("left:a", type="left"), Write("b", "thing", revision="1", delete=True)], False),
        ([create("node:broker", type="node")], False),
    ],
)
def test_what_is_new_is_what_makes_and_deletes_nothing(batch: list[Write], new: bool) -> None:
    """Settling changes, deleting may leave a note, and who uses the store says so."""
    assert adds(batch) is new


def test_while_it_is_gone_only_what_frees_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one commit with others each batch is judged by itself; when there is room, all is."""
    store = SqliteStore.open("", home=tmp_path, runtime=ThreadRuntime(), least_free=SIZE)
    (old,) = store.write([create("old")])
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=1))
    store._reserve.release()
    gone = [Write("old", "thing", revision=old.revision, delete=True)]
    with pytest.raises(SomeUnwritten) as caught:
        store.write_batches([[create("new")], gone])
    assert isinstance(caught.value.outcomes[0], StoreUnavailable)
    assert isinstance(caught.value.outcomes[1], list)
    with pytest.raises(StoreUnavailable, match="disk is full"):
        store.write([create("new")])
    assert store.find(Query("thing")) == []
    monkeypatch.undo()
    wait_until(store._reserve.is_whole)
    store.write([create("new")])
    store.close()
