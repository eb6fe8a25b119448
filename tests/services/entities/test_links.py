"""Links: on a store whose index follows its documents late (CouchDB), and without asking an index at all."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pycmbs.errors import StoreUnavailable
from pycmbs.occi import cmbs
from pycmbs.occi.category import LINK
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.runtime import ThreadRuntime, asked
from pycmbs.services.entities.drafts import SOURCE, TARGET
from pycmbs.services.records.entities import LINKS
from pycmbs.store import open_store
from pycmbs.store.change_tokens import ChangeTokens
from tests.services.world import FaultyStore, add_member, add_message, add_own, make_broker


@pytest.fixture
def couch(couchdb_url):
    """A store there."""
    couch = open_store(couchdb_url, home=Path(), runtime=ThreadRuntime())
    yield couch
    couch.close()


@pytest.fixture
def broker(couch):
    """A broker on it, with a member to send to."""
    broker = make_broker(ChangeTokens(couch, ThreadRuntime()))
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
    other = make_broker(ChangeTokens(elsewhere, ThreadRuntime()))
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


# Which links start at an entity is noted with it


def asking(broker, path):
    """The paths of an entity's links as it is shown, and whether an index was asked."""
    before = broker.faulty.asked["find"]
    found = [one.path for one in broker.entities.get(path).links]
    return found, broker.faulty.asked["find"] > before


@pytest.fixture(params=[True, False], ids=["atomic", "apart"])
def noting(request):
    """A broker with a message."""
    store = FaultyStore(atomic=request.param)
    broker = make_broker(store)
    broker.faulty = store
    add_message(broker, "l2", "m1")
    return broker


MESSAGE = cmbs.MESSAGE_LOCATION + "m1"


def link_to(number, source=MESSAGE):
    """A link of this number."""
    return Draft(LINK.identifier, f"c{number}", attributes={SOURCE: source, TARGET: f"/other/{number}"})


def test_an_entity_is_shown_with_its_links_and_no_index_is_asked(noting):
    """However a link came to it: made by itself, with its source, with a change of it, with others; and when it is gone."""
    entities = noting.entities
    assert asking(noting, MESSAGE) == ([], False)
    entities.create("/link/", [link_to(1)])
    entities.create("/link/", [link_to(2), link_to(3)])
    entities.update(MESSAGE, Draft(links=[link_to(4), link_to(4 + 1)]))
    assert asking(noting, MESSAGE) == ([f"/link/c{number}" for number in range(1, 6)], False)
    entities.update(MESSAGE, Draft(title="changed", links=[link_to(5)]))
    entities.delete("/link/c2")
    assert asking(noting, MESSAGE) == ([f"/link/c{number}" for number in (1, 3, 4, 5)], False)
    entities.put(MESSAGE, Draft(cmbs.MESSAGE, mixins=(cmbs.mixin("l2"),), title="whole"))
    assert asking(noting, MESSAGE) == ([f"/link/c{number}" for number in (1, 3, 4, 5)], False)
    together = [link_to(7, "/cmbs/message/m2"), Draft(cmbs.MESSAGE, "m2", links=[link_to(8)])]
    entities.create("/", together)
    assert sorted(asking(noting, "/cmbs/message/m2")[0]) == ["/link/c7", "/link/c8"]
    assert asking(noting, "/cmbs/message/m2")[1] is False
    entities.delete("/cmbs/message/m2")
    entities.delete("/link/c1")
    entities.create("/link/", [link_to(1, "/cmbs/message/m1")])
    assert asking(noting, MESSAGE) == ([f"/link/c{number}" for number in (3, 4, 5, 1)], False)


def test_of_very_many_links_the_index_is_asked(noting):
    """What an entity notes is bounded, whether they come one by one or with it; those that are gone do not count."""
    for number in range(100):
        noting.entities.create("/link/", [link_to(number)])
        if number % 2:
            noting.entities.delete(f"/link/c{number}")
    assert asking(noting, MESSAGE) == ([f"/link/c{number}" for number in range(0, 100, 2)], False)
    noting.entities.create("/link/", [link_to(number) for number in range(100, 150)])
    assert (len(asking(noting, MESSAGE)[0]), asking(noting, MESSAGE)[1]) == (100, True)
    noting.entities.create("/", [Draft(cmbs.MESSAGE, "m3", links=[link_to(number) for number in range(200, 270)])])
    assert (len(asking(noting, "/cmbs/message/m3")[0]), asking(noting, "/cmbs/message/m3")[1]) == (70, True)


def test_of_what_an_earlier_version_made_the_index_is_asked(noting):
    """An entity without a note has its links, and those that come to it."""
    noting.entities.create("/link/", [link_to(1)])

    def forget(message):
        del message.private[LINKS]
        return True

    noting.entities.modify(MESSAGE, forget)
    assert asking(noting, MESSAGE) == (["/link/c1"], True)
    noting.entities.create("/link/", [link_to(2)])
    assert asking(noting, MESSAGE) == (["/link/c1", "/link/c2"], True)


def test_a_full_server_tells_of_entities_that_have_links(broker, full):
    """By their ids, as all that is read so."""
    add_message(broker, "l2", "m1")
    broker.entities.create("/link/", [link_to(1)])
    full()
    with asked():
        assert [one.path for one in broker.entities.get(MESSAGE).links] == ["/link/c1"]
