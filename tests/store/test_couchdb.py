"""The CouchDB store keeps the contract on a real server, and its own promises: indexed, shared, and back when that is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pycmbs.runtime import ThreadRuntime
from pycmbs.store import open_store
from pycmbs.store.base import Store, Write
from pycmbs.store.couchdb import CouchStore
from tests.couchdb_server import CouchServer
from tests.store.contract import StoreContract, create


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
