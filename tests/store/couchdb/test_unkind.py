"""The CouchDB store at a server that is as unkind as Apache CouchDB: behind a proxy of the tests."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pycmbs.errors import ConfigurationError, RevisionConflict, StoreUnavailable
from pycmbs.runtime import ThreadRuntime
from pycmbs.store.base import Query, SomeUnwritten, Write
from pycmbs.store.couchdb import store as couchdb
from pycmbs.store.couchdb.store import CouchStore
from pycmbs.store.group import GroupCommit
from tests.couchdb_proxy import (
    Ask,
    Said,
    UnkindServer,
    answering,
    clustered,
    compacting,
    error,
    failing_at,
    say,
    with_slow_views,
    with_users,
)
from tests.couchdb_server import CouchServer
from tests.harness import wait_until
from tests.store.contract import create
from tests.store.couchdb.test_store import open_one


@pytest.fixture
def server(couchdb_server: CouchServer) -> Iterator[UnkindServer]:
    """The proxy."""
    with UnkindServer(couchdb_server).running() as server:
        yield server


@pytest.fixture
def url(server: UnkindServer) -> Iterator[str]:
    """A database behind it."""
    with server.database() as url:
        yield url
        server.rules.clear()


@pytest.fixture
def store(url: str) -> Iterator[CouchStore]:
    """A store in that, ready."""
    store = open_one(url)
    assert store.get("never") is None
    yield store
    store.close()


def _at_bulk(step: int, work: Callable[[], Any]) -> Callable[[Ask, Callable[[], Said]], Said | None]:
    count = itertools.count(1)

    def rule(ask: Ask, on: Callable[[], Said]) -> Said | None:
        del on
        if ask.path == "_bulk_docs" and next(count) == step:
            work()
        return None

    return rule


def test_what_a_refused_batch_deleted_is_there_again(store: CouchStore, server: UnkindServer, url: str) -> None:
    """A batch that deletes and then loses a race has changed nothing: the deleted documents are as they were, each with its
    number, its body and its keys."""
    row, message = store.write([create("row", body={"n": 1}, x="1"), create("message")])
    other = open_one(url)
    change = Write("message", "thing", {"by": "other"}, revision=message.revision)
    server.rules.append(_at_bulk(2, lambda: (server.rules.clear(), other.write([change]))))
    with pytest.raises(RevisionConflict):
        store.write(
            [
                Write("row", "thing", revision=row.revision, delete=True),
                Write("message", "thing", {"by": "me"}, revision=message.revision),
            ]
        )
    there = store.get_many(["row", "message"])
    assert (there["row"].body, there["row"].keys, there["row"].number) == ({"n": 1}, {"x": ("1",)}, row.number)
    assert there["message"].body == {"by": "other"}
    assert [one.id for one in store.find(Query("thing", {"x": "1"}))] == ["row"]
    other.close()


def test_a_document_that_cannot_be_written_harms_no_other(store: CouchStore, server: UnkindServer) -> None:
    """A group in which the server fails at one batch is written but for that, which leaves nothing behind."""
    server.rules.append(failing_at("poison"))
    batches = [[create(f"{n}a"), create(f"{n}b", body={"text": "poison" if n == 13 else ""})] for n in range(40)]
    with pytest.raises(SomeUnwritten) as caught:
        store.write_batches(batches)
    failed = [n for n, one in enumerate(caught.value.outcomes) if isinstance(one, StoreUnavailable)]
    assert failed == [13]
    there = store.get_many([write.id for batch in batches for write in batch])
    assert there.keys() == {write.id for n, batch in enumerate(batches) if n != 13 for write in batch}


def test_who_shares_a_commit_with_it_notices_nothing(store: CouchStore, server: UnkindServer) -> None:
    """Of callers whose writes share a commit only the one that wrote what the server fails at is refused."""
    server.rules.append(failing_at("poison"))
    group = GroupCommit(store, ThreadRuntime())
    outcomes: dict[int, object] = {}

    def write(n: int) -> None:
        try:
            outcomes[n] = group.write([create(f"{n}", body={"text": "poison" if n == 7 else ""})])
        except StoreUnavailable as exc:
            outcomes[n] = exc

    threads = [threading.Thread(target=write, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [n for n, one in outcomes.items() if isinstance(one, StoreUnavailable)] == [7]
    assert len(outcomes) == 30


def test_a_server_that_fails_at_all_is_not_asked_for_each(store: CouchStore, server: UnkindServer) -> None:
    """Where nothing can be written, a group finds that out with a few requests."""
    server.rules.append(answering(error(500, "badmatch", "enospc"), "_bulk_docs"))
    before = len(server.asked)
    with pytest.raises(StoreUnavailable, match="enospc"):
        store.write_batches([[create(f"{n}")] for n in range(150)])
    assert len(server.asked) - before < 20


SHAPES = {
    "412 nodedown": error(412, "nodedown", "progress not possible"),
    "500 as a list": say(500, ["badmatch", "enospc"]),
    "500 as text": Said(500, b"Internal Server Error", (("Content-Type", "text/plain"),)),
    "500 without a type": Said(500, b"", ()),
    "503": error(503, "service_unavailable", "try again"),
    "404 of a proxy": Said(404, b"<html>no such host</html>", (("Content-Type", "text/html"),)),
    "400": error(400, "bad_request", "invalid UTF-8 JSON"),
    "409 to a read": error(409, "conflict", "Document update conflict."),
    "429": error(429, "too_many_requests", "slow down"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_error_answer_is_a_store_that_cannot_be_used_now(
    store: CouchStore, server: UnkindServer, shape: str
) -> None:
    """Whatever form it has: a sentence with the server's own words, nothing else; and the next answer counts again."""
    said = SHAPES[shape]
    server.rules.append(answering(said))
    for call in (
        lambda: store.get("a"),
        lambda: store.find(Query("thing")),
        lambda: store.write([create("a")]),
        lambda: store.write([create("a"), create("b")]),
        lambda: store.change_token("thing"),
        lambda: store.changes(""),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            call()
        if said.data.startswith(b"{"):
            assert said.json()["reason"] in caught.value.message
    server.rules.clear()
    assert store.write([create("a")])


STRANGE = {
    "an object of something else": say(200, {"ok": True}),
    "a list": say(200, []),
    "a list of lists": say(200, [["a"]]),
    "rows of something else": say(200, {"rows": ["a"], "results": ["a"], "last_seq": None}),
    "rows that are empty": say(200, {"rows": [{}], "results": [{}]}),
    "invalid rows": say(200, {"rows": 7, "results": "7"}),
    "null": say(200, None),
    "a page": Said(200, b"<html>welcome</html>", (("Content-Type", "text/html"),)),
}


@pytest.mark.parametrize("shape", STRANGE)
def test_an_answer_of_another_shape_is_a_store_that_cannot_be_used_now(
    store: CouchStore, server: UnkindServer, shape: str
) -> None:
    """What works, and answers otherwise than CouchDB does, has told nothing: least of all that there is nothing."""
    server.rules.append(answering(STRANGE[shape]))
    for call in (
        lambda: store.get("a"),
        lambda: store.find(Query("thing")),
        lambda: store.find(Query("thing", bare=True)),
        lambda: store.write([create("a")]),
        lambda: store.write([create("a"), create("b")]),
        lambda: store.changes(""),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    server.rules.clear()
    wait_until(lambda: _reads(store), what="it reads again")
    assert store.write([create("a")])


def _reads(store: CouchStore) -> bool:
    try:
        return store.get("a") is None
    except StoreUnavailable:
        return False


@pytest.mark.parametrize("told", ["text", ["list"], {}, None, 7])
def test_what_a_server_does_not_tell_of_itself_is_not_known(
    store: CouchStore, server: UnkindServer, told: object
) -> None:
    """Sizes, copies, marks and compactions are told in many shapes; nothing is waited for that cannot be seen."""

    def rule(ask: Ask, on: Callable[[], Said]) -> Said | None:
        if (ask.method, ask.path) == ("GET", ""):
            return say(200, {**on().json(), "sizes": told, "cluster": told, "doc_del_count": "many"})
        if ask.path.endswith("/_info"):
            return say(200, {"view_index": told} if told is not None else [])
        return None

    server.rules.append(rule)
    store.write([create("a")])
    assert store.size() is None
    assert store.compact(0) == 0
    store.shrink()
    assert store.get("a") is not None


def test_a_cluster_with_copies_is_refused_and_can_be_read(store: CouchStore, server: UnkindServer, url: str) -> None:
    """A database of which several nodes take writes, each on its own, is not written to, so that no acknowledged change is
    lost; it can be copied away. The broker makes its own with one copy."""
    store.write([create("a")])
    made = next(one for one in server.asked if (one.method, one.path) == ("PUT", ""))
    assert sorted(made.query.split("&")) == ["n=1", "q=1"]
    server.rules.append(clustered(3))
    other = open_one(url)
    assert other.get("a") is not None
    assert [change.id for change in other.changes("")[0]] == ["a"]
    with pytest.raises(ConfigurationError, match="3 copies") as caught:
        other.write([create("b")])
    assert "store copy" in caught.value.hint
    other.close()


def test_who_may_not_purge_goes_on(store: CouchStore, server: UnkindServer, caplog: pytest.LogCaptureFixture) -> None:
    """An administrator of the database only may not ``_purge``: that is said once, and hinders nothing else."""

    def rule(ask: Ask, on: Callable[[], Said]) -> Said | None:
        if (ask.method, ask.path) == ("GET", ""):
            return say(200, {**on().json(), "doc_del_count": 1})
        if ask.path == "_purge":
            return error(401, "unauthorized", "You are not a server admin.")
        return None

    (made,) = store.write([create("a")])
    store.write([Write("a", "thing", revision=made.revision, delete=True)])
    server.rules.append(rule)
    with caplog.at_level(logging.WARNING):
        assert [store.compact(keep=0) for _ in range(3)] == [0, 0, 0]
    assert [record.message for record in caplog.records if "purge" in record.message] != []
    assert len([record for record in caplog.records if "purge" in record.message]) == 1
    assert store.write([create("b")])


def test_a_session_outlives_a_locked_account(server: UnkindServer, url: str) -> None:
    """Someone's wrong passwords lock the account for minutes: who is logged in goes on, and who is not is told the server's
    own words."""
    lock = threading.Event()
    server.rules.append(with_users(lock))
    url = url.replace("//", "//admin:right@")
    store = open_one(url)
    assert store.write([create("a")])
    lock.set()
    assert store.write([create("b")])
    other = open_one(url)
    with pytest.raises(StoreUnavailable, match="temporarily locked"):
        other.get("a")
    other.close()
    store.close()


def test_a_session_that_is_over_is_begun_anew(server: UnkindServer, url: str) -> None:
    """A 401 within a session, as after a restart of the server, costs one more login."""
    lock, over = threading.Event(), threading.Event()
    server.rules.append(with_users(lock))
    store = open_one(url.replace("//", "//admin:right@"))
    assert store.write([create("a")])

    def rule(ask: Ask, on: Callable[[], Said]) -> Said | None:
        del on
        if ask.cookie and not over.is_set():
            over.set()
            return error(401, "unauthorized", "You are not authorized to access this db.")
        return None

    server.rules.insert(0, rule)
    assert store.write([create("b")])
    assert over.is_set()
    store.close()


def test_wrong_credentials_are_told_in_the_servers_words(server: UnkindServer, url: str) -> None:
    """At the start they end the broker."""
    server.rules.append(with_users(threading.Event()))
    store = open_one(url.replace("//", "//admin:wrong@"))
    with pytest.raises(ConfigurationError, match="refuses the user or the password: Name or password is incorrect"):
        store.get("a")
    store.close()


def test_a_store_that_builds_its_index_is_not_ready(server: UnkindServer, url: str) -> None:
    """Questions are not answered in time until the index is built, and those for documents are; then all are."""
    built = threading.Event()
    server.rules.append(with_slow_views(built))
    store = open_one(url.replace("timeout=10", "timeout=0.4"))
    for call in (store.ready, lambda: store.find(Query("thing"))):
        with pytest.raises(StoreUnavailable, match="did not answer within"):
            call()
    assert store.write([create("a")])
    assert store.get("a") is not None
    built.set()
    store.ready()
    assert [one.id for one in store.find(Query("thing"))] == ["a"]
    store.close()


def test_a_command_for_people_waits_for_the_index(
    server: UnkindServer, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However long the server takes for it; now and then it says so."""
    built = threading.Event()
    server.rules.append(with_slow_views(built))
    monkeypatch.setattr(couchdb, "_LONG", 0.2)
    store = open_one(url.replace("timeout=10", "timeout=0.2"))
    store.take_time()
    store.write([create("a")])
    threading.Timer(0.7, built.set).start()
    with caplog.at_level(logging.WARNING):
        assert [one.id for one in store.find(Query("thing"))] == ["a"]
    assert "builds its index" in caplog.text
    store.close()


def test_shrinking_is_over_when_the_server_has_compacted(store: CouchStore, server: UnkindServer) -> None:
    """The database and the view's index; what is asked for and not done yet is waited for."""
    asked: list[str] = []

    def running(what: str) -> bool:
        asked.append(what)
        return asked.count(what) < 3

    server.rules.append(compacting(running))
    store.shrink()
    compacted = [one.path for one in server.asked if one.path.startswith("_compact")]
    assert compacted == ["_compact", "_compact/pycmbs"]
    assert (asked.count("database"), asked.count("view")) >= (3, 3)
