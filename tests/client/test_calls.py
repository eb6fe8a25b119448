"""How the client reads answers, and what it dares to ask twice: without a network."""

import asyncio
import json

import httpx2
import pytest

from pycmbs.client import AsyncClient, Client, Place
from pycmbs.client.calls import JSON, Call, curl, path_of
from pycmbs.errors import CmbsError, DuplicateId, QueueFull, RemoteError, TooLarge, Unavailable, UnknownEntity

HERE = Place("http://broker.example")
BUSY = (503, {"retry-after": "0"}, {"error": {"code": "queue-full", "message": "full", "status": 503}})
TWICE = (409, {}, {"error": {"code": "duplicate-id", "message": "it is there", "status": 409}})
MADE = (201, {}, {"Location": ["/cmbs/message/m"]})
CREATE = Call("POST", "/cmbs/message/", {"resources": []}, repeatable=True)


def answering(*answers):
    """A transport that gives these answers, one after the other; what was asked is in the list that comes with it."""
    left, asked = list(answers), []

    def answer(request):
        asked.append(request)
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        status, headers, body = one
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx2.Response(status, headers=headers, content=content)

    return httpx2.MockTransport(answer), asked


def called(call, *answers):
    """What the client makes of a call that is answered so, and how often it asked; both clients must agree."""
    outcomes = []
    transport, asked = answering(*answers)
    with Client(place=HERE, transport=transport) as client:
        try:
            outcomes.append(client.call(call))
        except CmbsError as exc:
            outcomes.append(exc)
    transport, others = answering(*answers)

    async def ask():
        async with AsyncClient(place=HERE, transport=transport) as client:
            return await client.call(call)

    try:
        outcomes.append(asyncio.run(ask()))
    except CmbsError as exc:
        outcomes.append(exc)
    assert repr(outcomes[0]) == repr(outcomes[1])
    assert len(asked) == len(others)
    return outcomes[0], len(asked)


def test_a_refusal_is_the_error_of_its_code():
    """With what the broker said beside the sentence."""
    body = {"error": {"code": "unknown-entity", "message": "no", "status": 404, "location": "/a"}}
    error, times = called(Call("GET", "/a"), (404, {}, body))
    assert type(error) is UnknownEntity
    assert (error.message, error.data["location"], times) == ("no", "/a", 1)
    error, _ = called(Call("POST", "/a", {}), (413, {}, {"error": {"code": "too-large", "message": "no"}}))
    assert type(error) is TooLarge


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [(200, b"<html>", RemoteError), (502, b"<html>", Unavailable), (404, b"", RemoteError), (500, b"[]", RemoteError)],
)
def test_an_answer_of_something_else_is_an_error_too(status, content, kind):
    """A proxy's page is no traceback."""
    error, _ = called(Call("GET", "/a"), (status, {}, content))
    assert type(error) is kind


def test_what_the_broker_did_not_do_is_asked_again():
    """503 with Retry-After: up to three times, and not if the pause would be long."""
    assert called(CREATE, BUSY, MADE) == (MADE[2], 2)
    assert called(Call("POST", "/a", {}), BUSY, MADE) == (MADE[2], 2)
    error, times = called(CREATE, BUSY, BUSY, BUSY)
    assert (type(error), times) == (QueueFull, 3)
    assert called(CREATE, (503, {"retry-after": "60"}, BUSY[2]))[1] == 1
    assert called(CREATE, (503, {}, BUSY[2]))[1] == 1


def test_a_creation_that_may_have_arrived_is_sent_again():
    """Its id is the client's own, so that "it is there" says that it did arrive; but only then."""
    broken = httpx2.RemoteProtocolError("it hung up")
    assert called(CREATE, broken, MADE) == (MADE[2], 2)
    assert called(CREATE, broken, TWICE) == (None, 2)
    assert type(called(CREATE, TWICE)[0]) is DuplicateId
    error, times = called(Call("POST", "/a?action=send_l2", {}), broken)
    assert (type(error), times) == (Unavailable, 1)


def test_a_message_that_was_sent_by_a_lost_call_is_not_sent_again():
    """What became of it is read instead."""
    row = {"member": "rome", "state": "delivered"}
    said = {"cmbs.message.state": "delivered", "cmbs.message.cmbs_layer": "l32", "cmbs.message.deliveries": [row]}
    shown = (200, {}, {"id": "urn:uuid:m", "attributes": said})
    transport, asked = answering(httpx2.RemoteProtocolError("it hung up"), TWICE, shown)
    with Client(place=HERE, transport=transport) as client:
        sent = client.publish("net.link", 1)
    assert (sent.state, sent.layer, [one.member for one in sent.ledger]) == ("delivered", "l32", ["rome"])
    assert [one.method for one in asked] == ["POST", "POST", "GET"]
    assert asked[0].url.params["then"] == "send_l32"


def test_a_broker_that_is_down_is_asked_once():
    """Who asks decides whether to wait for it."""
    error, times = called(CREATE, httpx2.ConnectError("refused"))
    assert (type(error), times) == (Unavailable, 1)
    assert "http://broker.example" in error.message


def test_who_asks_is_told_by_a_header_and_never_by_the_curl_line():
    """The line has the name of the variable instead."""
    transport, asked = answering((200, {}, {}), (200, {}, {}))
    with Client(place=Place(HERE.url, token="s3cret"), transport=transport) as client:
        client.call(Call("GET", "/a"))
    with Client(place=Place(HERE.url, user="me", password="s3cret"), transport=transport) as client:
        client.call(Call("GET", "/a"))
    assert asked[0].headers["authorization"] == "Bearer s3cret"
    assert asked[1].headers["authorization"].startswith("Basic ")
    assert asked[0].headers["accept"] == JSON
    line = curl(Place(HERE.url, token="s3cret"), Call("POST", "/a b", {"it's": "a $1 `x`"}))
    assert "s3cret" not in line
    assert "$PYCMBS_TOKEN" in line


def test_an_id_may_be_a_path_or_a_url():
    """As answers show them; what a path has no room for is quoted."""
    assert path_of("/cmbs/message/", "a/b ?") == "/cmbs/message/a%2Fb%20%3F"
    assert path_of("/cmbs/message/", "/other/a") == "/other/a"
    assert path_of("/cmbs/message/", "http://h:1/cmbs/message/a") == "/cmbs/message/a"
