"""Links on a store whose index follows its documents late: CouchDB."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pycmbs.errors import StoreUnavailable
from pycmbs.occi import cmbs
from pycmbs.occi.category import LINK
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.runtime import ThreadRuntime, asked
from pycmbs.store import open_store
from pycmbs.store.turns import HeadsByTurn
from tests.services.world import add_member, add_message, add_own, make_broker


@pytest.fixture
def couch(couchdb_url):
    """A store there."""
    couch = open_store(couchdb_url, home=Path(), runtime=ThreadRuntime())
    yield couch
    couch.close()


@pytest.fixture
def broker(couch):
    """A broker on it, with a member to send to."""
    broker = make_broker(HeadsByTurn(couch, ThreadRuntime()))
    add_own(broker)
    add_member(broker, "p", 1)
    return broker


@pytest.fixture
def full(couch, monkeypatch):
    """Makes the server's disk full: it answers what it need not write for, and no question of the view."""
    call = couch._client.call

    def answered(method, *path, **options):
        if method == "PUT" or "_view" in path or "_bulk_docs" in path:
            raise StoreUnavailable("enospc")
        return call(method, *path, **options)

    def fill():
        monkeypatch.setattr(couch._database, "_look_again", math.inf)
        monkeypatch.setattr(couch._client, "call", answered)

    return fill


def test_a_full_server_tells_of_entities_that_have_no_links(broker, full):
    """A message with its ledger, and a member: by their ids, also what was written since the index was asked last."""
    broker.entities.get(add_message(broker, "l2", "m0").path)
    message = add_message(broker, "l2", "m1")
    broker.entities.act(message.path, Invocation("send_l2"))
    full()
    with asked():
        found = broker.entities.get(message.path)
    assert found.links == []
    assert found.attributes[cmbs.STATE] == "sending"
    assert len(found.attributes[cmbs.DELIVERIES]) == 1
    assert broker.entities.get(f"{cmbs.MEMBER_LOCATION}p").id == "p"


def test_a_link_is_seen_by_all_as_soon_as_it_is_there(broker, couchdb_url, couch):
    """Whoever knows that there are none learns that there is one, made by another process or in the same request."""
    path, end = add_message(broker, "l2", "m1").path, f"{cmbs.MEMBER_LOCATION}p"
    assert broker.entities.get(path).links == []
    elsewhere = open_store(couchdb_url, home=Path(), runtime=ThreadRuntime())
    other = make_broker(HeadsByTurn(elsewhere, ThreadRuntime()))
    assert other.entities.get(path).links == []
    with asked():
        before = broker.entities.get(path).links
        link = broker.entities.create("/link/", [_link(path, end)])[0].path
        after = broker.entities.get(path).links
    assert (before, [one.path for one in after]) == ([], [link])
    with asked():
        assert [one.path for one in other.entities.get(path).links] == [link]
    assert [one.path for one in other.entities.links_at(end)] == [link]
    other.entities.delete(path)
    assert broker.entities.find("/link/") == []
    assert broker.entities.links_at(end) == []
    elsewhere.close()


def _link(source, target):
    return Draft(LINK.identifier, attributes={"occi": {"core": {"source": source, "target": target}}})
