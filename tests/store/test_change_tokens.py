"""What is asked once for all requests of a turn is never older than what each of them would have been told."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable

import pytest
import requests

from pycmbs.runtime import ThreadRuntime
from pycmbs.store.base import Query, Store
from pycmbs.store.change_tokens import ChangeTokens
from pycmbs.store.memory import MemoryStore
from tests.harness import JSON, Broker
from tests.store.contract import StoreContract, create


class Turns(ThreadRuntime):
    """A runtime whose turns the test begins."""

    number = 0

    def turn(self) -> int | None:
        return self.number


class Asked(MemoryStore):
    """A store that counts how often it was asked for a token."""

    asked = 0

    def change_token(self, type: str) -> str:
        self.asked += 1
        return super().change_token(type)


class Telling(MemoryStore):
    """A store whose versions tell what was found."""

    def version(self, query: Query) -> str:
        return Store.version(self, query)


class TestHeadsByTurn(StoreContract):
    """The contract, with a turn for every question."""

    @pytest.fixture
    def store(self) -> Store:
        runtime = Turns()
        numbers = itertools.count()
        runtime.turn = lambda: next(numbers)  # type: ignore[method-assign]
        return ChangeTokens(MemoryStore(), runtime)


class TestOneTurn(StoreContract):
    """The contract, all in one turn: own writes are seen at once."""

    @pytest.fixture
    def store(self) -> Store:
        return ChangeTokens(MemoryStore(), Turns())


def test_asks_once_a_turn() -> None:
    """However often a token is wanted in a turn, the store is asked once for each type; in the next turn it is asked again."""
    asked, runtime = Asked(), Turns()
    store = ChangeTokens(asked, runtime)
    for _ in range(3):
        store.change_token("category")
        store.change_token("claim")
    assert asked.asked == 2
    asked.write([create("category:a", type="category")])  # someone else's
    before = store.change_token("category")
    runtime.number += 1
    assert store.change_token("category") != before
    assert asked.asked == 3


def test_versions_of_different_questions_are_different_answers() -> None:
    """A version is shared by those who ask the same, and by no one else."""
    store = ChangeTokens(Telling(), Turns())
    store.write([create("thing:a", kind="one")])
    asked = [store.version(Query("thing", {"kind": kind})) for kind in ("one", "two", "one")]
    assert asked[0] == asked[2] != asked[1]


def test_own_writes_are_seen_in_the_same_turn() -> None:
    """After a write of its own the store is asked again, also when the write was refused."""
    asked = Asked()
    store = ChangeTokens(asked, Turns())
    before = store.change_token("category")
    store.write([create("category:a", type="category")])
    assert store.change_token("category") != before


def test_an_answer_that_took_turns_is_nobody_elses() -> None:
    """What was asked in one turn and answered in a later one is not the later one's: it may be older than that."""
    runtime = Turns()

    class Slow(Asked):
        def change_token(self, type: str) -> str:
            found = super().change_token(type)
            if self.asked == 1:
                runtime.number += 1
                self.write([create("category:a", type="category")])  # while the answer is on its way
            return found

    store = ChangeTokens(Slow(), runtime)
    old = store.change_token("category")
    assert store.change_token("category") != old


def test_threads_always_ask() -> None:
    """Where there are no turns, every question goes through."""
    asked = Asked()
    store = ChangeTokens(asked, ThreadRuntime())
    store.change_token("category")
    store.change_token("category")
    assert asked.asked == 2


GREEN = """
import eventlet.hubs
from pycmbs.processes import front
eventlet.hubs.use_hub(front._Hub)
runtime, seen = front.GreenRuntime(), []
def look():
    seen.append(runtime.turn())
runtime.spawn("look", look)
runtime.spawn("look", look)
runtime.sleep(0.01)
look()
print(seen[0] == seen[1], seen[1] < seen[2])
"""


def test_the_loops_turns() -> None:
    """In a front, those who are ready together are in one turn, and who is woken later is in another."""
    command = [sys.executable, "-W", "ignore", "-c", GREEN]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["True", "True"]


def test_a_category_is_known_to_all_fronts_at_once(start_broker: Callable[..., Broker]) -> None:
    """What one front process has answered, every other knows from then on: a kind, and that it is gone."""
    broker = start_broker("--workers", "2")
    sessions = [requests.Session() for _ in range(8)]
    for session in sessions:  # the kernel has spread them by their ports
        assert session.get(f"{broker.url}/-/?category=message", headers=JSON).status_code == 200
    for number in range(12):
        kind = {"term": f"t{number}", "scheme": "http://example.org/x#", "location": f"/t{number}/"}
        maker = sessions[number % 8]
        assert maker.post(f"{broker.url}/-/", json={"kinds": [kind]}, headers=JSON).status_code == 200
        for session in sessions:
            assert session.get(f"{broker.url}/t{number}/", headers=JSON).status_code == 200
        assert maker.delete(f"{broker.url}/-/", json={"kinds": [kind]}, headers=JSON).status_code == 200
        for session in sessions:
            assert session.get(f"{broker.url}/t{number}/", headers=JSON).status_code == 404
