"""The store that fails on demand is a store like any other while no fault is armed, and fails as it says when one is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycmbs.errors import RevisionConflict, StoreUnavailable
from pycmbs.runtime import ThreadRuntime
from pycmbs.store.base import Query, Store
from pycmbs.store.sqlite.store import SqliteStore
from tests.store.contract import StoreContract, create
from tests.store.faulty import Fault, FaultyStore


class TestFaultyStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = FaultyStore(SqliteStore.open("", home=tmp_path, runtime=ThreadRuntime()))
        yield store
        store.close()


@pytest.fixture
def store() -> FaultyStore:
    """One that is not atomic, so that every fault can be armed; it holds the document a."""
    store = FaultyStore(atomic=False)
    store.write([create("a", x="1")])
    return store


def reads(store: Store) -> list[object]:
    """Every way to read, with what comes of it."""
    return [
        store.get("a"),
        *store.get_many(["a"]).values(),
        *store.find(Query("thing", {"x": "1"})),
        *store.lowest_by_key("thing", "x", "2", 1),
        *store.changes("")[0],
    ]


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.CORRUPT])
def test_what_cannot_be_read_is_unavailable(store: FaultyStore, fault: Fault) -> None:
    """Each read fails, as often as was said, and works again."""
    store.arm(fault, times=6)
    for read in (
        lambda: store.get("a"), lambda: store.get_many(["a"]), lambda: store.find(Query("thing")),
        lambda: store.count(Query("thing")), lambda: store.change_token("thing"), lambda: store.changes(""),
    ):  # fmt: skip
        with pytest.raises(StoreUnavailable):
            read()
    assert len(reads(store)) == 5
    assert store.failures == 6


@pytest.mark.parametrize(
    ("fault", "there"), [(Fault.UNAVAILABLE, ""), (Fault.FULL, ""), (Fault.NOT_DURABLE, "bc"), (Fault.PARTIAL, "b")]
)
def test_what_a_failed_write_leaves(store: FaultyStore, fault: Fault, there: str) -> None:
    """Nothing, everything, or all but the last document, and the caller is told that it failed."""
    store.arm(fault)
    with pytest.raises(StoreUnavailable):
        store.write([create("b"), create("c")])
    store.disarm()
    assert sorted(store.get_many(["b", "c"])) == list(there)


def test_a_full_disk_can_be_read(store: FaultyStore) -> None:
    """Only writes fail."""
    store.arm(Fault.FULL)
    assert len(reads(store)) == 5


def test_a_conflict_without_end(store: FaultyStore) -> None:
    """Every batch is refused, and nothing is written."""
    store.arm(Fault.CONFLICT)
    with pytest.raises(RevisionConflict):
        store.write([create("b")])
    assert store.get("b") is None


def test_slow_is_slow(store: FaultyStore) -> None:
    """It takes as long as was said, and works."""
    store.arm(Fault.SLOW, seconds=0.05)
    begin = time.monotonic()
    assert store.get("a") is not None
    assert time.monotonic() - begin >= 0.05


def test_an_atomic_store_writes_no_part() -> None:
    """That fault cannot be armed where it cannot be."""
    with pytest.raises(AssertionError, match="atomic"):
        FaultyStore().arm(Fault.PARTIAL)
