"""A store is one broker's at a time, whichever store it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycmbs.errors import ConfigurationError
from pycmbs.runtime import ThreadRuntime
from pycmbs.services.records import node as module
from pycmbs.services.records.node import Node, NodeService
from pycmbs.store import open_store
from pycmbs.store.base import Store


@pytest.fixture(params=["memory:", "sqlite:", "couchdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """One of each kind."""
    url = request.getfixturevalue("couchdb_url") if request.param == "couchdb" else request.param
    opened = open_store(url, home=tmp_path, runtime=ThreadRuntime())
    yield opened
    opened.close()


def node(home: str, life: str = "", identity: str = "") -> Node:
    """A broker with this home, which has its name for an identity."""
    return Node(identity or home, life or home, f"/{home}", "host", 7)


def start_keeping(service: NodeService, lost: Callable[[ConfigurationError], object]) -> threading.Thread:
    """Has a thread renew."""
    keeper = threading.Thread(target=service.keep, args=(lost,))
    keeper.start()
    return keeper


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes parts of them."""
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(module, "DEAD_SECONDS", 1.5)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.02)


def test_a_second_broker_is_refused_while_the_first_runs(store: Store) -> None:
    """The sentence names the first one's home, machine and process."""
    first = NodeService(store, node("first"))
    first.take()
    keeper = start_keeping(first, pytest.fail)
    with pytest.raises(ConfigurationError, match=r"with the home /first on host \(pid 7\)"):
        NodeService(store, node("second")).take()
    first.stop()
    keeper.join()
    first.release()


def test_the_same_home_starts_at_once(store: Store) -> None:
    """No one waits for himself, however the last life ended."""
    NodeService(store, node("first")).take()

    def never(_seconds: float) -> None:
        raise AssertionError("it waited")

    NodeService(store, node("first", "2")).take(never)


def test_what_was_given_back_is_free_at_once(store: Store) -> None:
    """After a clean stop another home may have the store."""
    first = NodeService(store, node("first"))
    first.take()
    first.release()
    NodeService(store, node("second")).take(lambda _: pytest.fail("it waited"))


def test_one_that_stands_still_is_dead(store: Store) -> None:
    """A store that was moved after a kill carries the document of its broker: it is taken over once that was silent."""
    NodeService(store, node("first")).take()
    second = NodeService(store, node("second"))
    second.take()
    second.renew()


def test_who_lost_the_store_is_told_once(store: Store) -> None:
    """A broker that was held up for so long that another one has its store learns it with its next renewal."""
    told: list[ConfigurationError] = []
    first, second = NodeService(store, node("first")), NodeService(store, node("second"))
    first.take()
    second.take()
    start_keeping(first, told.append).join()
    second.renew()
    first.release()
    second.renew()
    assert "/second" in told[0].message


def test_two_of_one_identity_do_not_go_on_together(store: Store) -> None:
    """Of a home and its copy, the one that claimed first is told."""
    first, copy = NodeService(store, node("first")), NodeService(store, node("copy", "2", "first"))
    first.take()
    copy.take()
    with pytest.raises(ConfigurationError, match="/copy"):
        first.renew()
    copy.renew()


def test_processes_of_one_life_renew_for_each_other(store: Store) -> None:
    """The process that prepares the store, and the engine, are one broker."""
    one, other = NodeService(store, node("first")), NodeService(store, node("first"))
    one.take()
    other.take()
    one.renew()
    other.renew()
