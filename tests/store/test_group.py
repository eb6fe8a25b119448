"""Group commit keeps the contract in front of the embedded store; writers share commits, not each other's errors."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pycmbs.errors import QueueFull, RevisionConflict, StoreUnavailable
from pycmbs.runtime import ThreadRuntime
from pycmbs.store import group
from pycmbs.store.base import Batch, Query, Store
from pycmbs.store.group import GroupCommit, Outcome
from pycmbs.store.memory import MemoryStore
from pycmbs.store.sqlite.store import SqliteStore
from tests.harness import wait_until
from tests.store.contract import StoreContract, create
from tests.store.faulty import Fault, FaultyStore


class TestGroupCommit(StoreContract):
    """The contract."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        runtime = ThreadRuntime()
        store = GroupCommit(SqliteStore.open("", home=tmp_path, runtime=runtime), runtime)
        yield store
        store.close()


class GateStore(FaultyStore):
    """A store whose writes wait while the gate is shut, and note how many batches came together."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.gate = threading.Event()
        self.groups: list[int] = []

    def write_batches(self, batches: Sequence[Batch]) -> Outcome:
        self.groups.append(len(batches))
        assert self.gate.wait(10)
        if any(write.id == "poison" for batch in batches for write in batch):
            raise TypeError("poison cannot be encoded")
        return super().write_batches(batches)


@pytest.fixture
def inner() -> GateStore:
    """The store behind the group commit; its gate is shut."""
    return GateStore()


@pytest.fixture
def store(inner: GateStore) -> GroupCommit:
    """Group commit in front of it, with a low bound."""
    return GroupCommit(inner, ThreadRuntime(), bound=40)


class Callers:
    """Concurrent callers of ``write`` and what each came to."""

    def __init__(self, store: GroupCommit) -> None:
        self._store = store
        self._threads: list[threading.Thread] = []
        self.outcomes: dict[str, object] = {}

    def start(self, *ids: str) -> None:
        """One thread each, waiting for the commit when this returns."""
        for id in ids:
            before = len(self._store._pending)
            self._threads.append(threading.Thread(target=self._write, args=(id,)))
            self._threads[-1].start()
            wait_until(lambda before=before: len(self._store._pending) > before or not self._store._flushing)

    def _write(self, id: str) -> None:
        try:
            self.outcomes[id] = self._store.write([create(id)])[0].id
        except Exception as exc:  # noqa: BLE001 - an outcome, for the test to judge
            self.outcomes[id] = exc

    def join(self) -> dict[str, object]:
        """All outcomes."""
        for thread in self._threads:
            thread.join(20)
        return self.outcomes


@pytest.fixture
def callers(store: GroupCommit, inner: GateStore) -> Callers:
    """Callers of it, of which ``first`` is in a commit of its own that waits at the gate."""
    made = Callers(store)
    thread = threading.Thread(target=made._write, args=("first",))
    thread.start()
    made._threads.append(thread)
    wait_until(lambda: inner.groups == [1])
    return made


class Loop(ThreadRuntime):
    """A runtime with turns: in each, those come that the test says."""

    cooperative = True

    def __init__(self) -> None:
        self.arrivals: list[Callable[[], None]] = []
        self.turns = 0

    def turn(self) -> int | None:
        return self.turns

    def sleep(self, seconds: float) -> None:
        self.turns += 1
        if self.arrivals:
            self.arrivals.pop(0)()


def test_who_comes_in_the_next_turns_writes_along(inner: GateStore) -> None:
    """A commit waits for as long as each turn of the loop brings another writer, and not longer."""
    runtime = Loop()
    store = GroupCommit(inner, runtime)
    callers = Callers(store)
    inner.gate.set()
    runtime.arrivals = [lambda: callers.start("b"), lambda: callers.start("c", "d"), lambda: None]
    runtime.arrivals += [lambda: callers.start("e")]  # in the turn after the commit
    callers.start("a")
    wait_until(lambda: len(callers.outcomes) == 5)
    callers.join()
    assert inner.groups == [4, 1]


def test_a_large_write_waits_for_nobody(inner: GateStore) -> None:
    """What uses a commit well is written in the turn in which it came."""
    runtime = Loop()
    store = GroupCommit(inner, runtime)
    inner.gate.set()
    turns: list[int] = []
    real = inner.write_batches
    inner.write_batches = lambda batches: (turns.append(runtime.turns), real(batches))[1]  # type: ignore[method-assign]
    store.write([create(f"{n}") for n in range(100)])
    store.write([create("small")])
    assert turns[0] == 0
    assert turns[1] > 0


def test_concurrent_writers_share_a_commit(callers: Callers, inner: GateStore) -> None:
    """All 32 that came during one commit are in the next."""
    ids = [f"{n}" for n in range(32)]
    callers.start(*ids)
    inner.gate.set()
    assert callers.join() == {id: id for id in ["first", *ids]}
    assert inner.groups == [1, 32]


def test_a_group_is_bounded(inner: GateStore) -> None:
    """No more callers than ``most`` are in one commit."""
    callers = Callers(GroupCommit(inner, ThreadRuntime(), most=4))
    thread = threading.Thread(target=callers._write, args=("first",))
    thread.start()
    wait_until(lambda: inner.groups == [1])
    callers.start(*[f"{n}" for n in range(10)])
    inner.gate.set()
    thread.join(10)
    assert len(callers.join()) == 11
    assert inner.groups == [1, 4, 4, 2]


def test_a_conflict_reaches_only_its_caller(callers: Callers, inner: GateStore) -> None:
    """The others of the group are written."""
    inner._store.write([create("taken")])
    callers.start("a", "taken", "b")
    inner.gate.set()
    outcomes = callers.join()
    assert isinstance(outcomes.pop("taken"), RevisionConflict)
    assert outcomes == {id: id for id in ("first", "a", "b")}
    assert inner.groups == [1, 3]


def test_a_poison_batch_reaches_only_its_caller(callers: Callers, inner: GateStore) -> None:
    """What cannot be written at all is found by halving; everyone else is written."""
    ids = [f"{n}" for n in range(15)]
    callers.start(*ids[:7], "poison", *ids[7:])
    inner.gate.set()
    outcomes = callers.join()
    assert isinstance(outcomes.pop("poison"), TypeError)
    assert outcomes == {id: id for id in ["first", *ids]}
    assert len(inner.groups) <= 2 + 2 * 4


def test_a_failure_reaches_all_of_the_group_and_nobody_else(callers: Callers, inner: GateStore) -> None:
    """Each caller raises an exception of its own; who comes later is written."""
    inner.arm(Fault.UNAVAILABLE, times=2)
    callers.start("a", "b", "c")
    inner.gate.set()
    outcomes = callers.join()
    assert [type(one) for one in outcomes.values()] == [StoreUnavailable] * 4
    assert len({id(one) for one in outcomes.values()}) == 4
    assert len({str(one) for one in outcomes.values()}) == 1
    callers.start("later")
    assert callers.join()["later"] == "later"


def test_who_has_waited_long_fails_with_the_store(store: GroupCommit, callers: Callers, inner: GateStore) -> None:
    """Behind a store that does not answer no one waits for a try of his own, one second after the other."""
    callers.start("old", "new")
    store._pending[0].since -= 10
    inner.arm(Fault.UNAVAILABLE, times=1)
    inner.gate.set()
    outcomes = callers.join()
    assert isinstance(outcomes["old"], StoreUnavailable)
    assert outcomes["new"] == "new"


def test_at_the_bound_the_queue_is_full(store: GroupCommit, callers: Callers, inner: GateStore) -> None:
    """One more than may wait is refused at once, and the others are written."""
    ids = [f"{n}" for n in range(40)]
    callers.start(*ids)
    with pytest.raises(QueueFull):
        store.write([create("one too many")])
    inner.gate.set()
    assert callers.join() == {id: id for id in ["first", *ids]}
    assert inner.get("one too many") is None


def test_closing_waits_for_what_is_being_written(store: GroupCommit, callers: Callers, inner: GateStore) -> None:
    """Callers that wait are served; new ones are refused."""
    callers.start("a")
    closing = threading.Thread(target=store.close)
    closing.start()
    wait_until(lambda: store._closed)
    with pytest.raises(StoreUnavailable, match="closed"):
        store.write([create("late")])
    inner.gate.set()
    closing.join(10)
    assert callers.join() == {"first": "first", "a": "a"}


class StingyRuntime(ThreadRuntime):
    """A runtime that has no more threads, or whose sleep is interrupted."""

    def __init__(self, *, threads: bool = True, sleeps: bool = True) -> None:
        self._threads = threads
        self._sleeps = sleeps

    def spawn(self, name: str, work: Callable[[], None], *, vital: bool = False) -> None:
        if not self._threads:
            raise RuntimeError("can't start new thread")

        def until_interrupted() -> None:
            with contextlib.suppress(SystemExit):
                work()

        super().spawn(name, until_interrupted, vital=vital)

    def sleep(self, seconds: float) -> None:
        if not self._sleeps:
            self._sleeps = True
            raise SystemExit
        time.sleep(seconds)


def test_without_another_thread_it_commits_all_the_same() -> None:
    """A caller that cannot spawn the commit does it itself."""
    store = GroupCommit(MemoryStore(), StingyRuntime(threads=False))
    assert [one.id for one in store.write([create("a")])] == ["a"]
    assert [one.id for one in store.write([create("b")])] == ["b"]


def test_what_another_lane_took_is_not_committed_twice() -> None:
    """Who comes to lead a commit and finds that another lane has taken all leads none; the next one does, and closing ends."""

    class Overtaken(ThreadRuntime):
        @property
        def cooperative(self) -> bool:  # type: ignore[override] # asked just before the lead takes what is there
            store._commit(store._take(1))
            return False

    inner = MemoryStore()
    store = GroupCommit(inner, Overtaken())
    assert [store.write([create(id)])[0].id for id in ("a", "b")] == ["a", "b"]
    assert len(inner.changes("")[0]) == 2
    assert store._flushing == 0
    store.close()


def test_an_interrupted_commit_leaves_nobody_waiting(inner: GateStore) -> None:
    """Who waited gets StoreUnavailable, and the next write starts a new round."""
    callers = Callers(GroupCommit(inner, StingyRuntime(sleeps=False), most=1))
    thread = threading.Thread(target=callers._write, args=("first",))
    thread.start()
    wait_until(lambda: inner.groups == [1])
    callers.start("a", "b", "c")
    inner.gate.set()
    thread.join(10)
    outcomes = callers.join()
    assert (outcomes["first"], outcomes["a"]) == ("first", "a")
    assert [type(outcomes[id]) for id in ("b", "c")] == [StoreUnavailable] * 2
    callers.start("d")
    assert callers.join()["d"] == "d"


def test_documents_that_wait_are_bounded(inner: GateStore, store: GroupCommit, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few callers bring them: beyond the bound one more is refused, and what waits is written."""
    monkeypatch.setattr(group, "_DOCUMENTS", 10)
    writing = [
        threading.Thread(target=lambda n=n: store.write_batches([[create(f"{n}-{i}") for i in range(8)]]))
        for n in range(2)
    ]
    writing[0].start()
    wait_until(lambda: inner.groups, what="the first to be written")
    writing[1].start()
    wait_until(lambda: store._documents == 8, what="the second to wait")
    with pytest.raises(QueueFull):
        store.write([create("x"), create("y"), create("z")])
    inner.gate.set()
    for one in writing:
        one.join(10)
    assert store._documents == 0
    store.write([create("x"), create("y"), create("z")])
    assert store.count(Query("thing", {})) == 19
