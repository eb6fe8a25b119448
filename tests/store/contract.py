"""What every store promises. Each implementation's test module runs this suite with a ``store`` fixture of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from pycmbs.errors import RevisionConflict
from pycmbs.store.base import Batch, Document, Query, Store, Write
from tests.store import oracle


def create(id: str, *, type: str = "thing", body: dict[str, Any] | None = None, **keys: str | Sequence[str]) -> Write:
    """The write that creates a document; a key is one value or several."""
    several = {name: (value,) if isinstance(value, str) else tuple(value) for name, value in keys.items()}
    return Write(id, type, {"id": id} if body is None else body, several)


def ids(documents: Sequence[Document]) -> list[str]:
    """Their ids, in their order."""
    return [one.id for one in documents]


class StoreContract:
    """Derive, give it a fixture ``store``, and every promise of :class:`~pycmbs.store.base.Store` is checked."""

    oracle: ClassVar[tuple[int, int]] = (40, 1)
    """How many random sequences, and of how many questions one is asked: a store behind a network takes longer."""

    def test_a_created_document_is_read_as_it_was_written(self, store: Store) -> None:
        """Body and keys come back as they were given, with a revision and a number."""
        body = {"text": "ünïcode\0 €", "deep": {"list": [1, 2.5, None, True]}}
        (written,) = store.write([create("a", body=body, colour=("red", "blue"), empty=())])
        assert written == store.get("a")
        assert (written.body, written.keys, written.type) == (body, {"colour": ("red", "blue")}, "thing")
        assert written.revision
        assert written.number > 0

    def test_numbers_come_back_as_they_were(self, store: Store) -> None:
        """Of any size that JSON can say and Python reads, and with their signs: as written, as read, and in the feed."""
        numbers = [0, -1, 2**53, 2**53 + 1, -(2**63) - 1, 10**309, -(10**310), int("9" * 4300)]
        floats = [0.1, -0.0, 5e-324, -2.2e-308, 1.7976931348623157e308]
        body = {"numbers": numbers, "floats": floats, "deep": [{"x": [10**400]}, "10"], "few": 1}
        (written,) = store.write([create("a", body=body)])
        (changed,) = store.write([Write("a", "thing", {**body, "n": 1}, revision=written.revision)])
        found = store.get("a")
        assert found is not None
        for one, expected in ((written.body, body), (changed.body, {**body, "n": 1}), (found.body, {**body, "n": 1})):
            assert repr(one) == repr(expected)
        assert store.changes("")[0][0].document == found
        assert body["numbers"] == numbers

    def test_what_is_not_there_is_none(self, store: Store) -> None:
        """Neither an unknown nor a deleted id has a document."""
        (written,) = store.write([create("a")])
        (deleted,) = store.write([Write("a", "thing", revision=written.revision, delete=True)])
        assert (deleted.body, dict(deleted.keys)) == ({}, {})
        assert store.get("a") is None
        assert store.get("b") is None
        assert store.get_many(["a", "b"]) == {}

    def test_an_id_is_created_once(self, store: Store) -> None:
        """Creating what exists is a conflict that names the document, and changes nothing."""
        (first,) = store.write([create("a", body={"n": 1})])
        with pytest.raises(RevisionConflict) as caught:
            store.write([create("a", body={"n": 2})])
        assert caught.value.data["id"] == "a"
        assert store.get("a") == first

    def test_a_deleted_id_may_be_created_again(self, store: Store) -> None:
        """It is a new document then: with a revision and a number that were never used."""
        (first,) = store.write([create("a")])
        store.write([Write("a", "thing", revision=first.revision, delete=True)])
        (second,) = store.write([create("a")])
        assert second.number > first.number
        assert second.revision != first.revision
        assert store.get("a") == second

    def test_an_update_keeps_the_number_and_changes_the_revision(self, store: Store) -> None:
        """Order of creation survives updates."""
        first, other = store.write([create("a", colour="red"), create("b", colour="red")])
        (updated,) = store.write([Write("a", "thing", {"n": 2}, {"colour": ("red",)}, revision=first.revision)])
        assert updated.number == first.number
        assert updated.revision not in {first.revision, other.revision}
        assert ids(store.find(Query("thing", {"colour": "red"}))) == ["a", "b"]

    @pytest.mark.parametrize("delete", [False, True])
    def test_a_stale_revision_is_refused(self, store: Store, delete: bool) -> None:
        """Neither an update nor a deletion hits a document that was changed meanwhile, or is of another type."""
        (first,) = store.write([create("a")])
        (second,) = store.write([Write("a", "thing", {"n": 2}, revision=first.revision)])
        for type, revision in (("thing", first.revision), ("other", second.revision), ("thing", "")):
            with pytest.raises(RevisionConflict):
                store.write([Write("a", type, {"n": 3}, revision=revision, delete=delete)])
        assert store.get("a") == second

    def test_a_revision_of_nothing_is_refused(self, store: Store) -> None:
        """An update of what was deleted, or never was, is a conflict."""
        (first,) = store.write([create("a")])
        store.write([Write("a", "thing", revision=first.revision, delete=True)])
        for id in ("a", "never"):
            with pytest.raises(RevisionConflict):
                store.write([Write(id, "thing", revision=first.revision)])
        assert store.find(Query("thing")) == []

    def test_a_refused_batch_leaves_no_trace(self, store: Store) -> None:
        """Not a document, not a key, not a change, not a token; and the others of the call are written."""
        store.write([create("taken")])
        token, (_, cursor) = store.change_token("new"), store.changes("")
        refused = [create("a", type="new", colour="red"), create("taken"), create("b", type="new")]
        bad, good = store.write_batches([refused, [create("c", colour="red")]])
        assert isinstance(bad, RevisionConflict)
        assert bad.data["id"] == "taken"
        assert not isinstance(good, RevisionConflict)
        assert ids(good) == ["c"]
        assert store.get_many(["a", "b", "c"]).keys() == {"c"}
        assert (store.change_token("new"), store.count(Query("new"))) == (token, 0)
        assert [change.id for change in store.changes(cursor)[0]] == ["c"]

    def test_drawn_ids_make_no_difference_to_what_holds(self, store: Store) -> None:
        """A batch of new documents with drawn ids is written whole and in order, or refused without a trace where one of
        the ids is taken all the same; others of the call are not held up."""
        store.write([create("b")])
        drawn = [[replace(create(id), drawn=True) for id in some] for some in (("d", "c"), ("e", "b", "f"), ("g",))]
        first, refused, last = store.write_batches(drawn)
        assert isinstance(refused, RevisionConflict)
        assert refused.data["id"] == "b"
        assert [ids(one) for one in (first, last) if not isinstance(one, RevisionConflict)] == [["d", "c"], ["g"]]
        assert ids(store.find(Query("thing"))) == ["b", "d", "c", "g"]

    def test_later_batches_see_earlier_ones(self, store: Store) -> None:
        """Of two batches of one call that create the same document, the second is refused."""
        first, second, third = store.write_batches([[create("a")], [create("a")], [create("b")]])
        assert isinstance(second, RevisionConflict)
        assert [type(first), type(third)] == [list, list]

    def test_no_batches_are_no_writes(self, store: Store) -> None:
        """An empty call, and an empty batch, change nothing."""
        empty: list[Batch] = []
        assert store.write_batches(empty) == []
        assert store.write([]) == []
        assert store.changes("")[0] == []

    def test_find_is_in_order_of_creation_and_pages(self, store: Store) -> None:
        """Pages by number and limit are the whole list, each document once."""
        store.write([create(f"{9 - number}", colour="red" if number % 2 else "blue") for number in range(9)])
        query, found = Query("thing", {"colour": "blue"}, limit=2), []
        while page := store.find(query):
            found += page
            query = Query("thing", {"colour": "blue"}, after=page[-1].number, limit=2)
        assert ids(found) == ["9", "7", "5", "3", "1"]
        assert found == store.find(Query("thing", {"colour": "blue"}))
        assert store.find(Query("thing", limit=0)) == []

    @pytest.mark.parametrize("equals", [{}, {"color": "red"}, {"color": "red", "size": "1"}])
    def test_bare_documents_have_ids_and_numbers(self, store: Store, equals: dict[str, str]) -> None:
        """Who asks for no more than where documents are gets the same ones, in the same order and pages."""
        for number in range(7):
            keys = {"color": ("red" if number % 2 else "blue",), "size": (str(number % 3),)}
            store.write([Write(f"a:{number}", "a", {"large": "x" * 100}, keys)])
        for after, limit in ((0, None), (0, 2), (0, 1), (0, 0)):
            query = Query("a", equals, after=after, limit=limit)
            wanted = [(one.id, one.type, one.number) for one in store.find(query)]
            found = store.find(Query("a", equals, after=after, limit=limit, bare=True))
            assert [(one.id, one.type, one.number) for one in found] == wanted
        first = store.find(Query("a", equals, limit=1, bare=True))[0]
        rest = store.find(Query("a", equals, after=first.number, bare=True))
        assert [one.id for one in (first, *rest)] == [one.id for one in store.find(Query("a", equals))]

    def test_seek_finds_where_a_page_begins(self, store: Store) -> None:
        """The n-th match's number, as if all before it had been read; None past the end; limit does not count."""
        store.write_batches(
            [[create(f"d{index}", colour=("red", "blue"[: index % 2 * 4]), n=str(index % 3))] for index in range(12)]
        )
        queries = [
            Query("thing"),
            Query("thing", {"colour": "red"}, limit=1),
            Query("thing", {"colour": "blue"}),
            Query("thing", {"colour": "blue", "n": "1"}),
            Query("thing", {"colour": "green"}),
        ]
        for query in queries:
            found = store.find(replace(query, limit=None))
            for past in range(1, len(found) + 1):
                assert store.nth(query, past) == found[past - 1].number
                rest = store.find(replace(query, after=found[past - 1].number, limit=None))
                assert ids(rest) == ids(found[past:])
            assert store.nth(query, len(found) + 1) is None
            assert store.total(query) == store.count(query)

    def test_equals_are_all_required(self, store: Store) -> None:
        """A document matches when each name has the value among its values, and the type is right."""
        store.write([create("a", x=("1", "2"), y="1"), create("b", x="1", y="2"), create("c", x="1"), create("d")])
        store.write([create("e", type="other", x="1", y="1")])
        assert ids(store.find(Query("thing", {"x": "1"}))) == ["a", "b", "c"]
        assert ids(store.find(Query("thing", {"x": "2", "y": "1"}))) == ["a"]
        assert store.find(Query("thing", {"y": "1", "z": "1"})) == []
        assert store.count(Query("thing", {"x": "1"}, limit=1)) == 3
        assert store.count(Query("thing")) == 4

    def test_keys_follow_the_document(self, store: Store) -> None:
        """An update replaces the keys, a deletion removes them."""
        first, other = store.write([create("a", x=("1", "2")), create("b", x="2")])
        (second,) = store.write([Write("a", "thing", {}, {"x": ("2", "3")}, revision=first.revision)])
        assert store.find(Query("thing", {"x": "1"})) == []
        assert store.find(Query("thing", {"x": "3"})) == [second]
        store.write([Write("a", "thing", revision=second.revision, delete=True)])
        assert store.find(Query("thing", {"x": "2"})) == [other]
        assert store.count(Query("thing", {"x": "3"})) == 0

    def test_the_lowest_are_below_strictly_and_by_code_point(self, store: Store) -> None:
        """A value that sorts before the bound counts, the bound itself does not; the lowest come first, however created."""
        values = {"a": "2026-01-01", "b": "2026-01-02", "c": "\U0001f600", "d": "\uffff", "e": "long" * 99}
        store.write([create(id, due=value, x="1") for id, value in values.items()])
        store.write([create("f", due="2025", x="1"), create("g", due="2025"), create("h", type="other", due="1")])
        assert ids(store.lowest_by_key("thing", "due", "2026-01-02", 9)) == ["f", "g", "a"]
        assert ids(store.lowest_by_key("thing", "due", "\U0001f600", 9)) == ["f", "g", "a", "b", "e", "d"]
        assert ids(store.lowest_by_key("thing", "due", "longl", 3)) == ["f", "g", "a"]
        assert store.lowest_by_key("thing", "other", "z", 9) == []
        (gone,) = store.get_many(["f"]).values()
        store.write([Write("f", "thing", {}, {"due": ("3",)}, gone.revision)])
        assert ids(store.lowest_by_key("thing", "due", "3", 9)) == ["g", "a", "b"]

    def test_long_values_are_told_apart(self, store: Store) -> None:
        """Values of any length are equal only if they are, and one document may have many."""
        long = "x" * 5000
        store.write([create("a", x=long), create("b", x=long + "y"), create("c", x=[str(n) for n in range(500)])])
        assert ids(store.find(Query("thing", {"x": long}))) == ["a"]
        assert ids(store.find(Query("thing", {"x": long + "y"}))) == ["b"]
        assert ids(store.find(Query("thing", {"x": "499"}))) == ["c"]

    def test_the_feed_has_each_document_once_with_its_latest_state(self, store: Store) -> None:
        """Oldest change first; a deleted document is a change without a document."""
        a, b, _ = store.write([create("a"), create("b"), create("c")])
        _, cursor = store.changes("")
        (a2,) = store.write([Write("a", "thing", {"n": 2}, revision=a.revision)])
        store.write([Write("b", "thing", revision=b.revision, delete=True)])
        changes, end = store.changes(cursor)
        assert [(one.id, one.type, one.document) for one in changes] == [("a", "thing", a2), ("b", "thing", None)]
        assert [one.id for one in store.changes("")[0]] == ["c", "a", "b"]
        assert store.changes(end) == ([], end)

    def test_the_feed_says_what_is_new_and_what_a_deleted_document_was(self, store: Store) -> None:
        """From each change one can go on; what was made since then is new; a mark has the keys that its deletion named."""
        old, gone = store.write([create("a"), create("b", colour="red")])
        changes, cursor = store.changes("")
        assert [one.new for one in changes] == [True, True]
        assert [one.id for one in store.changes(changes[0].cursor)[0]] == [changes[1].id]
        store.write([Write("a", "thing", {"n": 2}, revision=old.revision)])
        store.write([create("c")])
        store.write([Write("b", "thing", keys={"colour": ("red",)}, revision=gone.revision, delete=True)])
        changes, end = store.changes(cursor, types=["thing"], marks=True)
        assert [(one.id, one.new) for one in changes] == [("a", False), ("c", True), ("b", False)]
        assert [dict(one.keys) for one in changes] == [{}, {}, {"colour": ("red",)}]
        assert store.find(Query("thing", {"colour": "red"})) == []
        assert store.changes(changes[-1].cursor)[0] == []
        assert store.reaches(end)
        with pytest.raises(ValueError, match=r"cursor|sequence"):
            store.reaches("yesterday")

    def test_the_feed_narrows_and_pages(self, store: Store) -> None:
        """Following with a limit gives the same as at once, also for some types only."""
        store.write([create(f"{n}", type=("x", "y", "z")[n % 3]) for n in range(12)])
        found, cursor = [], ""
        while True:
            changes, cursor = store.changes(cursor, types=["x", "z"], limit=3)
            if not changes:
                break
            assert len(changes) <= 3
            found += [one.id for one in changes]
        # Written together: a server that takes them in side by side numbers them as they come.
        assert sorted(found, key=int) == ["0", "2", "3", "5", "6", "8", "9", "11"]
        store.write([create("new", type="z")])
        assert [one.id for one in store.changes(cursor, types=["x", "z"])[0]] == ["new"]

    def test_the_latest_cursor_is_where_to_go_on(self, store: Store) -> None:
        """From there the feed tells what is written later, and of what was before it the last change at most."""
        for cursor in (store.latest(), ""):
            store.write([create(f"{cursor}-a", type="other"), create(f"{cursor}-b")])
            assert f"{cursor}-b" in [one.id for one in store.changes(cursor, types=["thing"])[0]]
        (first,) = store.write([create("a")])
        cursor = store.latest()
        store.write([Write("a", "thing", {"n": 2}, revision=first.revision)])
        store.write([create("b")])
        assert [one.id for one in store.changes(cursor)[0]] == ["a", "b"]

    def test_a_head_changes_with_its_type_only(self, store: Store) -> None:
        """Every creation, update and deletion gives a new token, which others' writes leave alone."""
        tokens = [store.change_token("thing")]
        (first,) = store.write([create("a")])
        tokens.append(store.change_token("thing"))
        (second,) = store.write([Write("a", "thing", {"n": 2}, revision=first.revision)])
        tokens.append(store.change_token("thing"))
        store.write([Write("a", "thing", revision=second.revision, delete=True)])
        tokens.append(store.change_token("thing"))
        store.write([create("b", type="other")])
        assert len(set(tokens)) == 4
        assert store.change_token("thing") == tokens[-1]

    @pytest.mark.parametrize("equals", [{}, {"colour": "red"}, {"colour": "red", "size": "s"}])
    def test_a_version_tells_whether_a_query_finds_the_same(self, store: Store, equals: dict[str, str]) -> None:
        """Creating, changing, gaining, losing and deleting a match gives another token; what other documents do gives none."""
        keys = {name: (value,) for name, value in equals.items()}
        query, seen = Query("thing", equals), []

        def note() -> None:
            seen.append((store.version(query), tuple((one.id, one.revision) for one in store.find(query))))

        note()
        first, second = store.write([create("a", **equals), create("b", **equals)])
        note()
        (first,) = store.write([Write("a", "thing", {"n": 2}, keys, first.revision)])
        note()
        store.write([Write("b", "thing", revision=second.revision, delete=True)])
        note()
        if equals:
            (first,) = store.write([Write("a", "thing", {"n": 2}, {}, first.revision)])
            note()
            (first,) = store.write([Write("a", "thing", {"n": 2}, keys, first.revision)])
            note()
        store.write([Write("a", "thing", revision=first.revision, delete=True), create("c", **equals)])
        note()
        store.write([create("d", type="other", **equals)])
        if equals:
            store.write([create("e", colour="blue")])
        assert store.version(query) == seen[-1][0]
        assert len({found for _, found in seen}) >= 5
        assert len(set(seen)) == len({token for token, _ in seen})  # a token stands for one answer

    def test_compact_forgets_the_oldest_marks(self, store: Store) -> None:
        """Documents and the newest marks stay, and so do revisions and tokens."""
        made = store.write([create(f"{n}") for n in range(6)])
        for one in made[:5]:
            store.write([Write(one.id, "thing", revision=one.revision, delete=True)])
        token = store.change_token("thing")
        assert store.compact(keep=2) == 3
        assert [one.id for one in store.changes("")[0]] == ["5", "3", "4"]
        assert (store.compact(keep=2), store.compact(keep=0)) == (0, 2)
        assert [one.id for one in store.changes("")[0]] == ["5"]
        assert store.change_token("thing") == token
        assert store.get("5") == made[5]

    def test_one_of_many_threads_wins(self, store: Store) -> None:
        """Of writers with the same revision exactly one succeeds, and no write is lost."""
        store.write([create("a", body={"n": 0})])

        def count_up() -> None:
            for _ in range(20):
                while True:
                    now = store.get("a")
                    assert now is not None
                    change = Write("a", "thing", {"n": now.body["n"] + 1}, revision=now.revision)
                    if not isinstance(store.write_batches([[change]])[0], RevisionConflict):
                        break

        threads = [threading.Thread(target=count_up) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        final = store.get("a")
        assert final is not None
        assert final.body == {"n": 80}

    def test_it_does_what_a_dictionary_would_do(self, store: Store) -> None:
        """Any sequence of writes leaves what a model of a few lines says, for every kind of question."""
        oracle.check(store, *self.oracle)

    def test_closing_twice_is_closing(self, store: Store) -> None:
        """Close is idempotent."""
        assert store.close() is None
        assert store.close() is None
