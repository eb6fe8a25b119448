"""``POST …?then=ACTION``: entities are made and acted on with one call, and one commit."""

from __future__ import annotations

import pytest

from pycmbs.occi import cmbs
from tests.services.world import add_member, add_own
from tests.wsgi.conftest import V12

MESSAGES = cmbs.MESSAGE_LOCATION


@pytest.fixture
def site(front):
    """A broker with a member, and another one that is interested in a topic."""
    add_own(front.broker)
    add_member(front.broker, "other", 1, topics=["net.>"])
    return front


def body(layer="l32", **attributes):
    """A message."""
    said = ({"topics": ["net.link"]} if layer == "l32" else {}) | {"message_content": 1} | attributes
    return {"kind": cmbs.MESSAGE, "mixins": [cmbs.mixin(layer)], "attributes": {"cmbs": {"message": said}}}


def test_one_call_makes_and_sends(site):
    """201, where it is, and the ledger as the send has it."""
    answer = site.request("POST", MESSAGES + "?then=send_l32", body())
    assert answer.status_code == 201
    assert (answer.json["state"], answer.json["recipients"]) == ("sending", 1)
    assert answer.json["deliveries"][0]["member"] == "other"
    path = answer.headers["Location"].removeprefix("http://localhost")
    shown = site.request("GET", path).json["attributes"]["cmbs"]["message"]
    assert (shown["state"], shown["deliveries"]) == ("sending", answer.json["deliveries"])


@pytest.mark.parametrize("accept", ["application/occi+json", V12, "text/plain", "text/occi", "text/uri-list"])
def test_the_answer_is_that_of_the_send_in_every_rendering(site, accept):
    """Only the status and Location tell them apart."""
    one = site.request("POST", MESSAGES + "?then=send_l32", body(), Accept=accept)
    path = one.headers["Location"].removeprefix("http://localhost")
    two = site.request("POST", path + "?action=send_l32", {}, Accept=accept)
    assert (one.status_code, two.status_code) == (201, 200)
    assert (one.body, one.content_type) == (two.body, two.content_type)


def test_both_spellings_of_the_layer_and_all_ways_to_say_an_entity(site):
    """2012's names, a text body, a body of headers."""
    assert site.request("POST", MESSAGES + "?then=send_l3.2", body()).status_code == 201
    text = (
        'Category: message; scheme="http://houssem.org/cmbs#"; class="kind"\n'
        'Category: l2; scheme="http://houssem.org/cmbs#"; class="mixin"\n'
    )
    for query in ("?then=send_l2", "?wait=0&then=send_l2"):
        answer = site.request("POST", MESSAGES + query, text.encode(), Content_Type="text/plain", Accept="text/plain")
        assert answer.status_code == 201
    field = 'message; scheme="http://houssem.org/cmbs#", l2; scheme="http://houssem.org/cmbs#"'
    assert site.request("POST", MESSAGES + "?then=send_l2", Content_Type="text/occi", Category=field).status_code == 201


def test_a_collection_body_is_sent_as_a_whole(site):
    """A report for each, by its URL; Location is the first."""
    answer = site.request("POST", "/?then=send_l2", {"resources": [body("l2"), body("l2")]})
    assert answer.status_code == 201
    first, second = answer.json
    assert answer.headers["Location"] == first != second
    assert {one["state"] for one in answer.json.values()} == {"sending"}


def test_the_attributes_of_the_action_are_in_the_query(site):
    """As with ?action=, and a preference counts as wait."""
    plan = site.request("POST", MESSAGES + "?then=send_l32&dry_run=true", body())
    assert (plan.status_code, plan.json["dry_run"], "Location" in plan.headers) == (200, True, False)
    assert site.request("POST", MESSAGES + "?then=send_l32&wait=0.01", body()).status_code == 201
    assert site.engine.calls[-1][1]["seconds"] <= 0.01
    site.request("POST", MESSAGES + "?then=send_l32", body(), Prefer="wait=3")
    assert 1 < site.engine.calls[-1][1]["seconds"] <= 3


@pytest.mark.parametrize(
    ("method", "path", "given", "status", "about"),
    [
        ("POST", MESSAGES + "?then=send_l2", body(), 400, "does not apply"),
        ("POST", MESSAGES + "?then=send_l9", body(), 400, "does not apply"),
        ("POST", MESSAGES + "?then=execute", body(), 400, "one step"),
        ("POST", MESSAGES + "?then=", body(), 400, "does not apply"),
        ("POST", MESSAGES + "?then=send_l32&then=send_l2", body(), 400, "no use for 'then'"),
        ("POST", MESSAGES + "?then=send_l32&action=send_l2", body(), 400, "both action and then"),
        ("POST", MESSAGES + "?then=send_l32&wait=61", body(), 400, "wait"),
        ("POST", MESSAGES + "?then=send_l32&hurry=1", body(), 400, "hurry"),
        ("POST", MESSAGES + "?then=send_l32&page=1&number=2", body(), 400, "pages"),
        ("POST", MESSAGES + "?then=send_l32&category=l2", body(), 400, "nothing to filter"),
        ("POST", MESSAGES + "?then=send_l32&attribute=a&value=b", body(), 400, "nothing to filter"),
        ("POST", MESSAGES + "?then=send_l32", body(topics=[]), 400, "topics"),
        ("POST", MESSAGES + "?then=send_l32", {"resources": [body(), body(topics=[])]}, 400, "topics"),
        ("POST", MESSAGES + "?then=send_l32", body(sendable="false"), 409, "not sendable"),
        ("POST", MESSAGES + "?then=send_l32", b"{", 400, ""),
        ("POST", MESSAGES + "?then=send_l32", b"", 400, ""),
        ("POST", MESSAGES + "l32/?then=send_l32", {"X-OCCI-Location": []}, 400, "then goes with"),
        ("POST", MESSAGES + "x?then=send_l32", body(), 404, "no entity"),
        ("PUT", MESSAGES + "x?then=send_l32", body(), 400, "then goes with"),
        ("GET", MESSAGES + "?then=send_l32", None, 400, "then goes with"),
        ("DELETE", MESSAGES + "?then=send_l32", None, 400, "then goes with"),
        ("POST", "/nowhere/?then=send_l32", body(), 404, ""),
        ("POST", cmbs.MEMBER_LOCATION + "?then=start_l1", {"kind": cmbs.MEMBER}, 409, ""),
    ],
)
def test_what_is_refused_creates_nothing(site, method, path, given, status, about):
    """Whatever is wrong with it."""
    before = site.request("GET", "/").json
    answer = site.request(method, path, given)
    assert answer.status_code == status, answer.text
    assert about in answer.json["error"]["message"]
    assert site.request("GET", "/").json == before
    assert site.broker.outbox.pending(after=0, limit=10) == []
