"""The CouchDB store keeps the contract on a real server, and its own promises: indexed, shared, and back when that is."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pycmbs.errors import ConfigurationError, RevisionConflict, StoreUnavailable
from pycmbs.runtime import ThreadRuntime, asked
from pycmbs.store import open_store
from pycmbs.store.base import Query, Store, Write
from pycmbs.store.change_tokens import ChangeTokens
from pycmbs.store.couchdb import seeking
from pycmbs.store.couchdb.store import CouchStore
from tests.couchdb_server import CouchServer, stand_in
from tests.store.contract import StoreContract, create, ids


def open_one(url: str) -> CouchStore:
    """The store, as one more process would open it."""
    store = open_store(url, home=Path(), runtime=ThreadRuntime())
    assert isinstance(store, CouchStore)
    return store


@pytest.fixture
def store(couchdb_url: str) -> Iterator[CouchStore]:
    """An open store in a database of its own."""
    store = open_one(couchdb_url)
    yield store
    store.close()


class TestCouchStore(StoreContract):
    """The contract."""

    oracle = (25, 45)

    @pytest.fixture
    def store(self, couchdb_url: str) -> Iterator[Store]:
        store = open_one(couchdb_url)
        yield store
        store.close()

    def test_compact_forgets_the_oldest_marks(self, store: Store, couchdb_server: CouchServer) -> None:  # type: ignore[override]
        """As the contract says where the server can purge; where it cannot, nothing goes and nothing breaks."""
        if not couchdb_server.is_stand_in:
            super().test_compact_forgets_the_oldest_marks(store)
            return
        (made,) = store.write([create("a")])
        store.write([Write("a", "thing", revision=made.revision, delete=True)])
        assert store.compact(keep=0) == 0
        assert [one.id for one in store.changes("")[0]] == ["a"]


def test_what_is_purged(store: CouchStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that can purge is told of the oldest marks beyond those that stay, each with its revision, and of no document
    that is there. (The stand-in neither purges nor counts marks: both are put in its mouth here.)"""
    made = store.write([create(f"thing:{n}") for n in range(6)])
    revisions = {}
    for one in made[:5]:
        (gone,) = store.write([Write(one.id, one.type, revision=one.revision, delete=True)])
        revisions[one.id] = [gone.revision.partition(" ")[0]]
    call, purged = store._client.call, {}

    def caught(method: str, *path: str, **options: Any) -> Any:
        if path == ("_purge",):
            purged.update(options["body"])
            return 201, {"purged": {}}
        status, answer = call(method, *path, **options)
        return (status, {**answer, "doc_del_count": 5}) if (method, path) == ("GET", ()) else (status, answer)

    monkeypatch.setattr(store._client, "call", caught)
    assert store.compact(keep=2) == 3
    assert purged == {f"thing:{n}": revisions[f"thing:{n}"] for n in range(3)}


# How it asks


Calls = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture
def calls(store: CouchStore, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What the store asks its server, from now on: method, path, parameters."""
    assert store.get("never") is None  # it is ready after this
    monkeypatch.setattr(store._database, "_look_again", math.inf)
    seen: Calls = []
    call = store._client.call

    def noted(method: str, *path: str, **options: Any) -> Any:
        seen.append((method, "/".join(path), options))
        return call(method, *path, **options)

    monkeypatch.setattr(store._client, "call", noted)
    return seen


VIEW = "_design/pycmbs/_view/keys"


@pytest.mark.parametrize(
    "query",
    [
        Query("thing", limit=2),
        Query("thing", {"x": "1"}),
        Query("thing", {"x": "1", "y": "2"}, limit=1),
        Query("thing", {"x": "1"}, after=7),
    ],
)
def test_no_query_scans(store: CouchStore, calls: Calls, query: Query) -> None:
    """Every shape of a query reads ranges of the view that begin and end with its type and name, and documents by id."""
    store.write([create(f"{n}", x=str(n % 2), y=str(n % 3), due=str(n)) for n in range(9)])
    calls.clear()
    store.find(query)
    store.count(query)
    store.lowest_by_key("thing", "due", "5", 3)
    assert calls
    for method, path, options in calls:
        if path == VIEW:
            start, end = options["startkey"], options["endkey"]
            assert start[:2] == end[:2]
            assert start[0] == "thing"
            assert len(end) > 2
        else:
            assert (method, path) == ("POST", "_all_docs")
            assert options["body"]["keys"]


def test_mango_would_scan(couchdb_server: CouchServer, store: CouchStore, couchdb_url: str) -> None:
    """Why the store has a view of its own: no Mango index serves a question for one of several values (``_explain``)."""
    store.write([create("a", mixin=("l1", "l2"))])
    database = "/" + couchdb_url.rpartition("/")[2].partition("?")[0]
    index = {"index": {"fields": ["type", "keys.mixin"]}, "name": "mixin", "type": "json"}
    assert couchdb_server.request("POST", f"{database}/_index", index).ok
    selector = {"type": "thing", "keys.mixin": {"$elemMatch": {"$eq": "l1"}}}
    plan = couchdb_server.request("POST", f"{database}/_explain", {"selector": selector}).json()
    bounds = str(plan["range"] if plan.get("range") else plan)
    assert "l1" not in bounds.replace(str(plan["selector"]), "")


def test_the_rarest_key_drives(store: CouchStore, calls: Calls) -> None:
    """Of two names the one that fewer documents have is read, whatever their order."""
    store.write([create(f"{n}", many="1", few="1" if n == 7 else "0") for n in range(80)])
    for names in (("many", "few"), ("few", "many")):
        calls.clear()
        assert ids(store.find(Query("thing", dict.fromkeys(names, "1")))) == ["7"]
        read = [options["startkey"][1] for _, path, options in calls if path == VIEW and options.get("include_docs")]
        assert read[-1] == "few"


def test_a_group_is_one_request(store: CouchStore, calls: Calls) -> None:
    """However many single documents are written together, one ``_bulk_docs`` takes them; batches of several take one more,
    and one look before."""
    store.write_batches([[create(f"{n}")] for n in range(50)])
    assert [path for _, path, _ in calls] == ["_bulk_docs"]
    calls.clear()
    store.write_batches([[create(f"{n}a"), create(f"{n}b")] for n in range(50)])
    assert [path for _, path, _ in calls] == ["_all_docs", "_bulk_docs", "_bulk_docs"]
    assert [one["_id"][-1] for one in calls[-1][2]["body"]["docs"]] == ["b"] * 50
    calls.clear()
    store.write([replace(create(f"d{number}"), drawn=True) for number in range(100)])
    assert [path for _, path, _ in calls] == ["_bulk_docs"]


def test_a_document_is_readable(store: CouchStore, couchdb_server: CouchServer, couchdb_url: str) -> None:
    """Who looks at the database sees type, keys and body as they are, under the document's own id."""
    store.write([create("thing:1", body={"text": "ü"}, colour="red")])
    database = couchdb_url.rpartition("/")[2].partition("?")[0]
    found = couchdb_server.request("GET", f"/{database}/thing:1").json()
    assert (found["type"], found["keys"], found["body"]) == ("thing", {"colour": ["red"]}, {"text": "ü"})


# Conflicts that no one saw coming


def _interfered(store: CouchStore, monkeypatch: pytest.MonkeyPatch, step: int, work: Callable[[], Any]) -> None:
    """Have ``work`` done just before the step-th ``_bulk_docs`` from now."""
    call, count = store._client.call, itertools.count(1)

    def meddled(method: str, *path: str, **options: Any) -> Any:
        if path == ("_bulk_docs",) and next(count) == step:
            work()
        return call(method, *path, **options)

    monkeypatch.setattr(store._client, "call", meddled)


@pytest.mark.parametrize(("step", "taken"), [(1, "new"), (2, "last")])
def test_a_race_is_undone(
    store: CouchStore, couchdb_url: str, monkeypatch: pytest.MonkeyPatch, step: int, taken: str
) -> None:
    """When someone writes between look and write, the batch is refused, and all that it had written is as before."""
    old, gone = store.write([create("old", body={"n": 1}, x="1"), create("gone", x="1")])
    other = open_one(couchdb_url)
    _interfered(store, monkeypatch, step, lambda: other.write([create(taken, body={"by": "other"})]))
    batch = [
        create("new"),
        Write("old", "thing", {"n": 2}, revision=old.revision),
        Write("gone", "thing", revision=gone.revision, delete=True),
        create("last"),
    ]
    with pytest.raises(RevisionConflict) as caught:
        store.write(batch)
    assert caught.value.data["id"] == taken
    there = store.get_many(["new", "old", "gone", "last"])
    assert there.keys() == {"old", "gone", taken}
    assert (there["old"].body, there["old"].number, there[taken].body) == ({"n": 1}, old.number, {"by": "other"})
    assert ids(store.find(Query("thing", {"x": "1"}))) == ["old", "gone"]
    other.close()


def test_what_counts_is_last(store: CouchStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that goes in the middle of a batch leaves its first documents at most, never its last."""

    def fail() -> None:
        raise StoreUnavailable("the test says so")

    _interfered(store, monkeypatch, 2, fail)
    with pytest.raises(StoreUnavailable):
        store.write([create("row"), create("message")])
    assert store.get_many(["row", "message"]).keys() == {"row"}


def test_a_202_is_not_durable(store: CouchStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What too few nodes of a cluster have written is not reported as written, and the sentence says why."""
    call = store._client.call
    monkeypatch.setattr(store._client, "call", lambda *path, **options: (202, call(*path, **options)[1]))
    with pytest.raises(StoreUnavailable, match="202"):
        store.write([create("a")])


def test_an_id_begins_with_its_type(store: CouchStore) -> None:
    """One that begins with another is the caller's mistake: the feed would tell the wrong type."""
    with pytest.raises(ValueError, match="thing"):
        store.write([create("other:1")])


# Several processes


def test_numbers_of_two_stores_differ(store: CouchStore, couchdb_url: str) -> None:
    """Numbers are unique, whoever makes them, and later ones are greater."""
    other = open_one(couchdb_url)
    made = [one for n in range(20) for one in (store, other)[n % 2].write([create(f"{n}")])]
    numbers = [one.number for one in made]
    assert numbers == sorted(set(numbers))
    other.close()


def test_a_head_sees_what_another_store_wrote(store: CouchStore, couchdb_url: str) -> None:
    """As soon as a write returned, every process's token is a new one."""
    other = open_one(couchdb_url)
    for n in range(5):
        before = other.change_token("thing")
        store.write([create(f"{n}")])
        assert other.change_token("thing") != before
    other.close()


# Trouble


def test_a_server_that_is_not_there_is_said_so_at_once(tmp_path: Path) -> None:
    """The sentence names the server, without the password; who asks next hears it without another try."""
    server = stand_in(tmp_path)
    store = open_one(server.store_url("x", None).replace("//", "//me:s3cret@"))
    for _ in range(2):
        begin = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1") as caught:
            store.get("a")
        assert time.monotonic() - begin < 5
        assert "s3cret" not in str(caught.value) + store.url
    store.close()


def test_another_programs_database_is_refused(couchdb_server: CouchServer, couchdb_url: str) -> None:
    """A database that holds something else is not written to."""
    database = "/" + couchdb_url.rpartition("/")[2].partition("?")[0]
    couchdb_server.request("PUT", database)
    couchdb_server.request("PUT", f"{database}/theirs", {"a": 1})
    store = open_one(couchdb_url)
    with pytest.raises(ConfigurationError, match="theirs"):
        store.write([create("a")])
    assert couchdb_server.request("GET", f"{database}/a").status_code == 404
    store.close()


def test_a_newer_layout_is_refused(couchdb_server: CouchServer, couchdb_url: str, store: CouchStore) -> None:
    """A database of a newer pyCMBS is left alone."""
    store.write([create("a")])
    mark = f"/{couchdb_url.rpartition('/')[2].partition('?')[0]}/pycmbs"
    couchdb_server.request("PUT", mark, {**couchdb_server.request("GET", mark).json(), "layout": 99})
    newer = open_one(couchdb_url)
    with pytest.raises(ConfigurationError, match="newer"):
        newer.get("a")
    newer.close()


def test_an_older_view_is_brought_up_to_date(couchdb_server: CouchServer, couchdb_url: str, store: CouchStore) -> None:
    """A view that is missing or of another version is recreated at the next start."""
    store.write([create("a", x="1")])
    design = f"/{couchdb_url.rpartition('/')[2].partition('?')[0]}/_design/pycmbs"
    rev = couchdb_server.request("GET", design).json()["_rev"]
    couchdb_server.request("PUT", design, {"_rev": rev, "views": {"keys": {"map": "function () {}"}}})
    again = open_one(couchdb_url)
    assert ids(again.find(Query("thing", {"x": "1"}))) == ["a"]
    again.close()


@pytest.mark.parametrize("url", ["couchdb:", "couchdb://", "couchdb://h", "couchdb://h:x/d", "couchdb://h/d?timeout=x"])
def test_a_url_that_is_none_is_a_sentence(url: str) -> None:
    """What is wrong is said, with an example of a right one."""
    with pytest.raises(ConfigurationError) as caught:
        open_one(url)
    assert "couchdb://user:password@" in caught.value.hint


def test_tls_is_its_own_scheme() -> None:
    """``couchdb+https:`` asks on port 443, and its URL shows no credentials."""
    store = open_one("couchdb+https://me:p%40ss@example.org/db")
    assert store.url == "couchdb+https://example.org:443/db"
    assert store._client._address.credentials == ("me", "p@ss")
    store.close()


# What is watched


def test_one_question_serves_a_whole_request(store: CouchStore, calls: Calls) -> None:
    """What was read after a request came is new enough for all that it needs to know; what it wrote itself it sees."""
    front = ChangeTokens(store, ThreadRuntime())
    query = Query("thing", {"x": "1"})
    front.version(query)
    calls.clear()
    with asked():
        before = [(front.change_token("thing"), front.change_token("other"), front.version(query)) for _ in range(20)]
        assert [path for _, path, _ in calls] == ["_changes"]
        front.write([create("thing:a", x="1")])
        after = [(front.change_token("thing"), front.change_token("other"), front.version(query)) for _ in range(20)]
    assert [path for _, path, _ in calls] == ["_changes", "_bulk_docs", "_changes"]
    ((token, other, version),), ((token_after, other_after, version_after),) = set(before), set(after)
    assert (token != token_after, other == other_after, version != version_after) == (True, True, True)


def test_what_came_before_a_request_is_seen_by_it(store: CouchStore, couchdb_url: str) -> None:
    """However many requests share their questions: each sees all that was acknowledged before it came."""
    other = open_one(couchdb_url)
    with asked():
        seen = store.change_token("thing")
        for n in range(5):
            other.write([create(f"thing:{n}")])
            with asked():
                assert store.change_token("thing") != seen
                seen = store.change_token("thing")
    other.close()


def test_others_documents_are_looked_at_once(store: CouchStore, couchdb_url: str, calls: Calls) -> None:
    """What another process wrote is read to see whether a question finds it; what this one wrote is not."""
    other, query = open_one(couchdb_url), Query("thing", {"x": "1"})
    versions = [store.version(query)]
    (mine,) = store.write([create("thing:mine", x="1")])
    versions.append(store.version(query))
    calls.clear()
    (theirs,) = other.write([create("thing:theirs", x="1")])
    versions.append(store.version(query))
    assert [path for _, path, _ in calls] == ["_changes", "_all_docs"]
    other.write([Write("thing:mine", "thing", {}, {}, mine.revision)])
    versions.append(store.version(query))
    store.write([Write("thing:theirs", "thing", revision=theirs.revision, delete=True)])
    versions.append(store.version(query))
    other.write([create("thing:third", x="2")])
    versions.append(store.version(query))
    assert len(set(versions[:5])) == 5
    assert versions[5] == versions[4]
    other.close()


def test_who_was_idle_does_not_read_what_others_wrote(store: CouchStore, couchdb_url: str, calls: Calls) -> None:
    """After thousands of changes the next question costs a few calls, and every token is another one."""
    other, query = open_one(couchdb_url), Query("thing", {"x": "1"})
    before = (store.change_token("thing"), store.change_token("other"), store.version(query))
    for start in range(0, 2400, 200):
        other.write_batches([[create(f"thing:{start + n}")] for n in range(200)])
    other.write([create("thing:a", x="1")])
    calls.clear()
    assert store.change_token("thing") != before[0]
    assert [path for _, path, _ in calls] == ["_changes", "_changes"]
    assert store.change_token("other") != before[1]
    assert store.version(query) != before[2]
    assert ids(store.find(query)) == ["thing:a"]
    other.close()


def test_a_version_reads_no_view(store: CouchStore, calls: Calls) -> None:
    """Once a question is known, whether its answer changed is told by the feed: other documents make no server index them."""
    query = Query("thing", {"kind": "rare"})
    store.write([create("thing:a", kind="rare")])
    before = store.version(query)
    calls.clear()
    store.write_batches([[create(f"thing:{n}", kind="usual")] for n in range(250)])
    assert store.version(query) == before
    store.write([create("thing:b", kind="rare")])
    assert store.version(query) != before
    assert {path for _, path, _ in calls} == {"_bulk_docs", "_changes"}


def test_a_head_is_told_of_changes_that_could_not_be_read(store: CouchStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server that goes in the middle had told of is counted when it is back."""
    token = store.change_token("thing")
    store.write([create("a")])
    call = store._client.call

    def failing(method: str, *path: str, **options: Any) -> Any:
        if path == ("_all_docs",):
            raise StoreUnavailable("the test says so")
        return call(method, *path, **options)

    monkeypatch.setattr(store._client, "call", failing)
    with pytest.raises(StoreUnavailable):
        store.change_token("thing")
    monkeypatch.setattr(store._client, "call", call)
    assert store.change_token("thing") != token


def test_of_many_questions_the_first_are_watched(store: CouchStore) -> None:
    """However many questions are asked, every version is right; those beyond the bound ask their question."""
    queries = [Query("thing", {"n": str(n)}) for n in range(12)]
    before = [store.version(query) for query in queries]
    store.write([create("a", n=[str(n) for n in range(12)])])
    assert all(store.version(query) != version for query, version in zip(queries, before, strict=True))
    assert len(store._tokens._watches) == 8


def test_a_far_page_is_found_by_counts(
    store: CouchStore, calls: Calls, couchdb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However documents came in time, evenly or at once, the place of each is the right one; a few questions find it, none of
    which has the server skip much."""
    real, ago = time.time_ns, 0
    monkeypatch.setattr(time, "time_ns", lambda: real() - ago)
    for ago in (10**17, 10**14, 10**14 - 10**9, 10**9, 0):  # bursts: seconds, days and years apart
        other = open_store(couchdb_url, home=Path(), runtime=ThreadRuntime())
        other.write_batches([[create(f"{ago}-{number}", x="y")] for number in range(20)])
        other.close()
    query = Query("thing", {"x": "y"})
    numbers = [one.number for one in store.find(query)]
    assert len(numbers) == 100
    assert [store.nth(query, past) for past in (1, 37, 100, 101)] == [numbers[0], numbers[36], numbers[99], None]
    monkeypatch.setattr(seeking, "_MOST_SKIPPED", 3)
    for past in (*range(1, 102, 7), 2, 20, 21, 40, 41, 99, 100, 101):
        calls.clear()
        assert store.nth(query, past) == (numbers[past - 1] if past <= 100 else None), past
        assert len(calls) <= 30
        assert all(options.get("skip", 0) < 3 for _, _, options in calls)
    after = replace(query, after=numbers[49])
    assert [store.nth(after, past) for past in (1, 30, 50, 51)] == [numbers[50], numbers[79], numbers[99], None]
