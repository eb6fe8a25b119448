"""``Idempotency-Key``: a creation that is asked for again does nothing more, and is answered as the first was."""

from __future__ import annotations

import uuid

import pytest

from pycmbs.errors import DuplicateId
from pycmbs.occi import cmbs
from tests.services.world import add_member, add_own
from tests.wsgi.conftest import V12

MESSAGES = cmbs.MESSAGE_LOCATION
KEYS = ["01a22b7e-5c1b-7b8e-8a53-2f1d7c9f4d11", "order 66", '"quoted"', "x", "~" * 255]


@pytest.fixture
def site(front):
    """A broker with a member that knows another one."""
    add_own(front.broker)
    add_member(front.broker, "other", 1)
    return front


def body(content=1, **beside):
    """A message to all."""
    said = {"message_content": content}
    return {"kind": cmbs.MESSAGE, "mixins": [cmbs.mixin("l2")], "attributes": {"cmbs": {"message": said}}} | beside


def post(site, given, key, query="", path=MESSAGES, **headers):
    """A creation with a key."""
    return site.request("POST", path + query, given, Idempotency_Key=key, **headers)


def alike(one, other):
    """Whether two answers say the same; only one says that it is a repeated one."""
    assert (one.status_code, other.status_code) == (201, 201), other.text
    assert (one.body, one.headers["Location"]) == (other.body, other.headers["Location"])
    assert "Idempotent-Replayed" not in one.headers
    assert other.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("accept", ["application/occi+json", V12, "text/plain", "text/occi", "text/uri-list"])
def test_a_repeated_creation_answers_what_the_first_did(site, key, accept):
    """201, the same Location, and one entity."""
    alike(*(post(site, body(), key, Accept=accept) for _ in range(2)))
    assert len(site.broker.entities.find(MESSAGES)) == 1


@pytest.mark.parametrize("key", KEYS)
def test_a_repeated_call_that_sends_does_not_send_again(site, key):
    """It tells how far the message is by now."""
    one, other = (post(site, body(), key, "?then=send_l2") for _ in range(2))
    alike(one, other)
    rows = site.broker.outbox.pending(after=0, limit=10)
    assert len(rows) == 1
    site.broker.outbox.settle([row.settled("delivered", 1.0) for row in rows])
    assert post(site, body(), key, "?then=send_l2").json["state"] == "delivered"
    assert site.broker.outbox.pending(after=0, limit=10) == []


def test_a_key_that_is_a_uuid_is_the_id(site):
    """In any spelling; so who lost the answer knows where the entity is. An id in the body counts before it."""
    key = str(uuid.uuid4())
    assert post(site, body(), key.upper()).headers["Location"].endswith("/cmbs/message/" + key)
    assert post(site, body(id="mine"), "k").headers["Location"].endswith("/cmbs/message/mine")
    alike(*(post(site, body(id="own"), "l") for _ in range(2)))


def test_a_batch_is_repeated_as_a_whole(site):
    """Its locations are in the same order."""
    given = {"resources": [body(1), body(2), body(3)]}
    alike(*(post(site, given, "batch") for _ in range(2)))
    assert len(site.broker.entities.find(MESSAGES)) == 3


@pytest.mark.parametrize(
    ("given", "query", "path"),
    [
        (body(2), "", MESSAGES),
        (body(1, id="another"), "", MESSAGES),
        (body(1), "?then=send_l2", MESSAGES),
        (body(1), "", "/"),
        ({"resources": [body(1), body(2)]}, "", MESSAGES),
    ],
)
def test_the_key_of_another_request_is_an_error(site, given, query, path):
    """422, and nothing is made or sent."""
    post(site, body(1), "k")
    answer = post(site, given, "k", query, path)
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "key-reused")
    assert len(site.broker.entities.find(MESSAGES)) == 1
    assert site.broker.outbox.pending(after=0, limit=10) == []


def test_an_id_that_is_taken_is_a_duplicate_as_ever(site):
    """The key is not what made it."""
    site.request("POST", MESSAGES, body(id="x"))
    assert post(site, body(id="x"), "k").json["error"]["code"] == "duplicate-id"


def test_two_at_the_same_time_make_one(site):
    """Both pass the first look; the second finds what the first one wrote."""
    site.store.before_write = lambda: post(site, body(), "k", "?then=send_l2")
    answer = post(site, body(), "k", "?then=send_l2")
    assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (201, "true"), answer.text
    assert len(site.broker.entities.find(MESSAGES)) == 1
    assert len(site.broker.outbox.pending(after=0, limit=10)) == 1


@pytest.mark.parametrize("query", ["", "?then=send_l2"])
def test_two_different_ones_at_the_same_time_make_one(site, query):
    """Each with an id of its own, so that nothing else keeps the second from being made."""
    site.store.before_write = lambda: post(site, body(id="first"), "k", query)
    answer = post(site, body(id="second"), "k", query)
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "key-reused"), answer.text
    assert site.broker.entities.find(MESSAGES) == [MESSAGES + "first"]
    assert len(site.broker.outbox.pending(after=0, limit=10)) == len(query and [1])


def test_keys_leave_nothing_that_grows(site):
    """Besides what they make: however many there are, they share some documents."""
    from pycmbs.services.entities.idempotency import RequestKey

    assert len({RequestKey(str(number), b"").guard("anna") for number in range(20_000)}) <= 4096
    post(site, body(), "k")
    post(site, body(), "k")
    site.broker.entities.delete_all(MESSAGES)
    assert post(site, body(), "k").status_code == 201


def test_what_could_not_be_made_twice_anyway_is_repeated_too(front):
    """A second own member is refused, the same one again is not."""
    given = {"kind": cmbs.MEMBER, "id": "rome"}
    alike(*(post(front, given, "k", path=cmbs.MEMBER_LOCATION) for _ in range(2)))


def test_a_refused_request_leaves_no_key(site):
    """It may come again, mended."""
    wrong = body()
    wrong["attributes"] = {"nothing.like": 1}
    assert post(site, wrong, "k").status_code == 400
    assert post(site, body(), "k").status_code == 201


def test_a_key_is_forgotten_with_what_it_made(site):
    """After a DELETE the same request makes it again."""
    post(site, body(), "k")
    site.broker.entities.delete_all(MESSAGES)
    answer = post(site, body(), "k")
    assert answer.status_code == 201
    assert "Idempotent-Replayed" not in answer.headers


def test_a_changed_entity_is_still_what_the_key_made(site):
    """The record stays with it through updates and replacements."""
    where = post(site, body(), "k").headers["Location"].removeprefix("http://localhost")
    site.request("POST", where, {"attributes": {"cmbs.message.message_content": 5}})
    site.request("PUT", where, body(7))
    assert post(site, body(), "k").headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "é", "a\tb"])
def test_what_is_no_key_is_refused(site, key):
    """Rather than taken for none."""
    answer = post(site, body(), key.encode().decode("latin-1"))
    assert answer.status_code == 400
    assert answer.json["error"]["field"] == "Idempotency-Key"


@pytest.mark.parametrize("path", [MESSAGES + "?action=send_l2", MESSAGES + "x?action=send_l2"])
def test_a_key_is_not_ignored_where_it_would_not_help(site, path):
    """An action on what is there may be done twice: that the key does not prevent is said."""
    site.request("POST", MESSAGES, body(id="x"))
    answer = post(site, {}, "k", path=path)
    assert (answer.status_code, answer.json["error"]["field"]) == (400, "Idempotency-Key")


def test_keys_of_other_users_are_other_keys(site):
    """What one calls a request says nothing to another."""
    from pycmbs.occi.entity import Draft
    from pycmbs.services.access.access import asking
    from pycmbs.services.access.principal import Principal
    from pycmbs.services.entities.idempotency import RequestKey

    key = RequestKey("k", b"same")
    paths = set()
    for name in ("one", "other"):
        with asking(Principal(name, ("operator",), via="password")):
            made = site.broker.entities.make(MESSAGES, [Draft(cmbs.MESSAGE)], key=key)
            assert not made.repeated
            assert site.broker.entities.make(MESSAGES, [Draft(cmbs.MESSAGE)], key=key).repeated
            paths |= {one.path for one in made.entities}
    assert len(paths) == 2
    with pytest.raises(DuplicateId):
        site.broker.entities.create(MESSAGES, [Draft(cmbs.MESSAGE, id=paths.pop().rpartition("/")[2])])
