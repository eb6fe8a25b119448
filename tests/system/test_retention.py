"""Retention on a running broker, on both stores: what is settled goes, what is pending stays, and the file gets smaller."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycmbs.runtime import ThreadRuntime
from pycmbs.store import open_store
from pycmbs.store.base import Query
from tests.conftest import brokers
from tests.couchdb_server import CouchServer
from tests.harness import Broker, free_socket, wait_until

MESSAGES = {"sqlite": 120, "couchdb": 30}
FAST = ("--workers", "1", "--poll", "0.1", "--retry-first", "0.1", "--retry-most", "0.5")


@pytest.fixture(params=["sqlite", "couchdb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store of this test's own."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'kept.db'}"
        return
    server: CouchServer = request.getfixturevalue("couchdb_server")
    name = f"pycmbs-test-{uuid.uuid4().hex}"
    yield server.store_url(name)
    server.request("DELETE", f"/{name}")


@pytest.fixture
def start(tmp_path: Path, url: str) -> Iterator[Callable[..., Broker]]:
    """Starts brokers on that store."""
    yield from brokers(tmp_path, lambda: (*FAST, "--store", url))


def contents(url: str, home: Path) -> tuple[set[str], dict[str, int], int | None]:
    """What the store holds: the paths of messages, how many rows each has, and its bytes."""
    store = open_store(url, home=home, runtime=ThreadRuntime())
    try:
        entities = {one.body["path"] for one in store.find(Query("entity")) if "/message/" in one.body["path"]}
        rows: dict[str, int] = {}
        for one in store.find(Query("delivery")):
            rows[one.body["message"]] = rows.get(one.body["message"], 0) + 1
        return entities, rows, store.size()
    finally:
        store.close()


def test_settled_messages_go(url: str, start: Callable[..., Broker], tmp_path: Path) -> None:
    """Of many settled messages and some pending ones only these are there in the end, though the broker is killed while it
    removes: at no moment is a message there without its ledger. SQLite's file gets smaller."""
    number = MESSAGES[url.partition(":")[0]]
    broker = start()
    broker.become("l1")
    own = {"l1_socket_receiver_member": broker.socket("l1")}
    pending = {broker.message("l1", "open", l1_socket_receiver_member=free_socket()) for _ in range(3)}
    draft = broker.message("l1", "never sent", **own)
    settled = {broker.message("l1", {"text": "x" * 8000, "n": n}, **own) for n in range(number)}
    for path in (*pending, *settled):
        broker.ok("POST", f"{path}?action=send_l1", {})
    wait_until(lambda: len(listed(broker, "delivered")) == number, 30, "all are delivered")
    broker.stop()
    before = contents(url, tmp_path)
    assert before[0] == {*pending, draft, *settled}

    killed = start("--retain-seconds", "0.5")
    wait_until(lambda: len(listed(killed, "delivered")) < number, 20, "the first ones are gone")
    killed.kill()
    entities, rows, _ = contents(url, tmp_path)
    assert {*pending, draft} <= entities
    assert all(rows[path] == 1 for path in entities - {draft})

    last = start("--retain-seconds", "0.5")
    wait_until(lambda: contents(url, tmp_path)[:2] == ({*pending, draft}, dict.fromkeys(pending, 1)), 20, "all is gone")
    assert {last.attributes(path, "message")["state"] for path in pending} == {"sending"}
    last.stop()
    if url.startswith("sqlite"):
        size = contents(url, tmp_path)[2]
        assert size is not None
        assert before[2] is not None
        assert size < before[2] / 2


def listed(broker: Broker, state: str) -> list[str]:
    """The messages of a state."""
    found = broker.get(f"/cmbs/message/?attribute=cmbs.message.state&value={state}")["X-OCCI-Location"]
    return list(found)
