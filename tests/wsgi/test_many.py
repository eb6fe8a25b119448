"""Requests about many entities: their cost is known, no one else waits for them, and what is too much is said before."""

import pytest

from pycmbs.occi import cmbs
from pycmbs.services.entities import finding
from pycmbs.services.entities import service as entities
from tests.wsgi.conftest import V12, Front

LINK = "http://schemas.ogf.org/occi/core#link"


def filled(front, number):
    """Messages, made in requests of a thousand."""
    for first in range(0, number, 1000):
        some = [{"id": f"m{one:05}"} for one in range(first, min(number, first + 1000))]
        assert front.request("POST", "/cmbs/message/", {"resources": some}).status_code == 201
    return front


@pytest.fixture
def asked(front, monkeypatch):
    """The queries of a broker's store, as they are asked."""
    queries = []
    find = front.store.find
    monkeypatch.setattr(front.store, "find", lambda query: queries.append(query) or find(query))
    return queries


@pytest.mark.parametrize("path", ["/cmbs/message/", "/", "/cmbs/", "/cmbs/message/?page=2&number=10"])
@pytest.mark.parametrize("accept", ["text/plain", "application/occi+json", "text/uri-list"])
def test_a_listing_reads_no_bodies(front, asked, path, accept):
    """Where entities are is asked for without what is in them, in portions; the whole of them only for who shows it."""
    filled(front, 25)
    asked.clear()
    answer = front.request("GET", path, Accept=accept, Content_Type=None)
    assert answer.text.count("/cmbs/message/m") == (10 if "page" in path else 25)
    assert asked
    assert all(query.bare and query.limit is not None for query in asked if query.type == "entity")
    front.request("GET", "/cmbs/message/", Accept=V12, Content_Type=None)
    assert not all(query.bare for query in asked)


def test_a_filter_that_is_no_key_reads_in_portions(front, asked):
    """What has to be compared is read, a hundred at a time at most."""
    filled(front, 250)
    front.request("POST", "/cmbs/message/m00240", {"summary": "this one"})
    asked.clear()
    found = front.request("GET", "/cmbs/message/?attribute=occi.core.summary&value=this%20one").json["X-OCCI-Location"]
    assert found == ["http://localhost/cmbs/message/m00240"]
    assert max(query.limit for query in asked if query.type == "entity") <= finding._WHOLE


def test_a_deletion_reads_no_more_than_it_deletes(front, asked):
    """Which entities go is asked for without what is in them."""
    filled(front, 25)
    asked.clear()
    assert front.request("DELETE", "/cmbs/message/").json == {"deleted": 25}
    assert asked[0].bare


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/cmbs/message/", {"resources": [{"title": "x"}] * 5001}),
        ("/", {"resources": [{"kind": cmbs.MESSAGE}] * 5001}),
        ("/cmbs/message/", {"resources": [{"links": [{"kind": LINK, "target": "/x"}] * 2500}] * 2}),
        ("/cmbs/message/l1/", {"X-OCCI-Location": [f"/cmbs/message/{n}" for n in range(5001)]}),
    ],
)
def test_a_request_that_makes_too_many_is_refused(path, body):
    """More than 5,000 entities are a 413 that says how many may be, and none is made."""
    front = Front(max_body=2**22)
    answer = front.request("POST", path, body)
    assert (answer.status_code, answer.json["error"]["most"]) == (413, 5000)
    assert front.request("GET", "/").json["X-OCCI-Location"] == []


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_entity_with_too_many_links_is_refused(method):
    """The links of one entity count as well."""
    front = Front(max_body=2**22)
    front.request("PUT", "/cmbs/message/there", {"title": "x"})
    path = "/cmbs/message/there" if method == "POST" else "/cmbs/message/new"
    body = {"title": "y", "links": [{"kind": LINK, "target": "/x"}] * 5001}
    assert front.request(method, path, body).status_code == 413
    assert len(front.request("GET", "/").json["X-OCCI-Location"]) == 1


def test_others_have_their_turn():
    """What is made or shown one by one lets others run in between."""
    front = Front()
    turns = []
    front.broker.entities._give_way = front.broker.entities._finder._give_way = lambda: turns.append(1)
    filled(front, 1000)
    assert len(turns) >= 2 * (1000 // entities._BEFORE_GIVING_WAY) - 2
    turns.clear()
    front.request("GET", "/cmbs/message/", Accept=V12, Content_Type=None)
    assert len(turns) >= 1000 // entities._BEFORE_GIVING_WAY - 1
    turns.clear()
    filled(front, 0)
    front.request("GET", "/cmbs/message/", Content_Type=None)
    assert turns
