"""Pages of a collection: the newest first, how many there are in all, and links to the others."""

from __future__ import annotations

import re

import pytest

from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft
from tests.services.world import add_own
from tests.wsgi.conftest import V12, Front

MESSAGES = cmbs.MESSAGE_LOCATION
NAMES = [f"m{number:02}" for number in range(25)]


@pytest.fixture(scope="module")
def site():
    """A broker with 25 messages, of which each fifth is titled, and a member."""
    front = Front()
    add_own(front.broker)
    for number, name in enumerate(NAMES):
        front.broker.entities.create(
            MESSAGES, [Draft(cmbs.MESSAGE, name, title="fifth" if number % 5 == 0 else "other")]
        )
    return front


def get(site, query, path=MESSAGES, **headers):
    """The ids on a page, its total, and its links by their relation."""
    answer = site.request("GET", path + query, **headers)
    assert answer.status_code == 200, answer.text
    if headers.get("Accept") == V12:
        ids = [one["id"].rpartition(":")[2].rpartition("/")[2] for one in answer.json["resources"]]
    else:
        ids = [url.rpartition("/")[2] for url in answer.json["X-OCCI-Location"]]
    pairs = [re.fullmatch('<(.*)>; rel="(.*)"', one).groups() for one in answer.headers.getall("Link")]
    links = {name: url.removeprefix("http://localhost") for url, name in pairs}
    total = answer.headers.get("X-Total-Count")
    return ids, None if total is None else int(total), links


@pytest.mark.parametrize("accept", ["application/occi+json", V12])
@pytest.mark.parametrize(
    "query", ["", "&category=message", "&attribute=occi.core.title&value=fifth", "&attribute=occi.core.summary&value="]
)
@pytest.mark.parametrize("number", [1, 4, 5, 10, 1000])
def test_who_follows_next_sees_all_of_them_from_either_end(site, accept, query, number):
    """Newest first is the reverse of oldest first, page by page; last is where next ends; and prev leads back."""
    everything, total, _ = get(site, "?" + query[1:], Accept=accept)
    assert total == len(everything)
    for order in ("asc", "desc"):
        seen, url = [], f"?page=1&number={number}&order={order}{query}"
        while url:
            ids, total, links = get(site, url.removeprefix(MESSAGES), Accept=accept)
            assert total in (len(everything), None)
            assert total is not None or "summary" in query, "only what must be read is not counted"
            assert ("last" in links) == (total is not None)
            if seen:
                assert get(site, links["prev"].removeprefix(MESSAGES), Accept=accept)[0] == seen[-number:]
            seen += ids
            last, url = url, links.get("next", "")
            assert url or total is None or get(site, links["last"].removeprefix(MESSAGES), Accept=accept)[0] == ids, (
                last
            )
        assert seen == (everything if order == "asc" else everything[::-1])


def test_the_order_alone_is_of_all(site):
    """Without pages, the whole collection is turned round."""
    assert get(site, "?order=desc")[0] == NAMES[::-1]
    assert get(site, "?order=asc")[0] == get(site, "")[0] == NAMES
    assert get(site, "?order=desc", path="/")[0][:-1] == NAMES[::-1]


def test_past_the_end_is_an_empty_page(site):
    """From which prev leads to the last one that has something."""
    for order in ("asc", "desc"):
        ids, total, links = get(site, f"?page=9&number=10&order={order}")
        assert (ids, total, sorted(links)) == ([], 25, ["first", "last", "prev"])
        assert "page=3&" in links["prev"]
        assert "page=3&" in links["last"]


def test_what_is_new_is_on_the_first_page(site):
    """As soon as it is there."""
    site.broker.entities.create(MESSAGES, [Draft(cmbs.MESSAGE, "new")])
    ids, total, _ = get(site, "?page=1&number=2&order=desc")
    site.broker.entities.delete(MESSAGES + "new")
    assert (ids, total) == (["new", "m24"], 26)
    assert get(site, "?page=1&number=2&order=desc")[:2] == (["m24", "m23"], 25)


def test_the_filter_is_kept_in_the_links(site):
    """As it was written, but for what no header takes."""
    query = "?attribute=occi.core.title&value=fifth&number=2&page=1&order=desc"
    _, total, links = get(site, query)
    assert total == 5
    assert links["next"] == MESSAGES + query.replace("page=1", "page=2")
    assert links["last"] == MESSAGES + query.replace("page=1", "page=3")


def test_links_of_occi_are_not_mixed_with_those_to_pages(site):
    """In text/occi the header Link describes a resource."""
    answer = site.request("GET", MESSAGES + "?page=1&number=2", Accept="text/occi")
    assert "Link" not in answer.headers
    assert answer.headers["X-Total-Count"] == "25"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", MESSAGES + "?order=up"),
        ("GET", MESSAGES + "?order="),
        ("GET", MESSAGES + "?order=desc&order=desc"),
        ("GET", MESSAGES + "m01?order=desc"),
        ("DELETE", MESSAGES + "?order=desc"),
        ("POST", MESSAGES + "?order=desc"),
        ("GET", MESSAGES + "?watch&order=desc"),
    ],
)
def test_an_order_where_there_is_none_is_refused(site, method, path):
    """A mistake is not taken for something else."""
    answer = site.request(method, path, {} if method == "POST" else None)
    assert answer.status_code == 400
    assert answer.json["error"]["parameter"] == "order"
