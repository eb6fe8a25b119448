"""CloudEvents in, as messages; and messages read as CloudEvents. The other side is the library of those who define them."""

from __future__ import annotations

import base64
import datetime as dt
import json

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft
from tests.services.world import OWN, add_member, add_own

MESSAGES = cmbs.MESSAGE_LOCATION
EVENT, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
TIME = dt.datetime(2026, 11, 30, 9, 0, tzinfo=dt.UTC)


@pytest.fixture
def site(front):
    """A broker with a member, and another one that is interested in a topic."""
    add_own(front.broker)
    add_member(front.broker, "other", 1, topics=["com.example.>"])
    return front


def event(data=None, **attributes):
    """An event as the library makes it."""
    said = {"id": "e 1/a", "source": "/sensors/1", "type": "com.example.link", "time": TIME, "specversion": "1.0"}
    return CloudEvent({**said, **attributes}, data)


def post(site, message, query=""):
    """Send what the library made; returns the path of the message."""
    headers = {name.replace("-", "_"): value for name, value in message.headers.items()}
    headers.setdefault("content_type", None)
    headers["Content_Type"] = headers.pop("content_type")
    answer = site.request("POST", MESSAGES + query, message.body, **headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"].removeprefix("http://localhost")


def read(site, path):
    """The message as the library reads it."""
    answer = site.request("GET", path, Accept=EVENT)
    assert (answer.status_code, answer.content_type) == (200, EVENT), answer.text
    assert answer.headers["ETag"]
    return from_http_event(HTTPMessage({"content-type": answer.content_type}, answer.body))


DATA = [
    (None, {}),
    ({"x": [1, "é", None]}, {"datacontenttype": "application/json"}),
    ("just text", {"datacontenttype": "text/plain"}),
    (b"\x00\xff\x01", {"datacontenttype": "application/octet-stream"}),
    ({"x": 1}, {"datacontenttype": "application/vnd.example+json", "subject": "port é 3", "mine": "yes"}),
]


@pytest.mark.parametrize(("data", "more"), DATA)
@pytest.mark.parametrize("mode", [to_structured_event, to_binary_event])
def test_an_event_becomes_a_message_and_is_read_as_it_was(site, mode, data, more):
    """In either mode; its type is the topic, its content the whole event."""
    sent = event(data, **more)
    path = post(site, mode(sent))
    message = site.request("GET", path).json["attributes"]["cmbs"]["message"]
    assert message["topics"] == ["com.example.link"]
    assert message["message_content"]["source"] == "/sensors/1"
    back = read(site, path)
    assert back.get_attributes() == sent.get_attributes()
    assert back.get_data() == data


def test_an_event_is_sent_with_one_call(site):
    """To who is interested in its type."""
    path = post(site, to_structured_event(event({"x": 1})), "?then=send_l32")
    (row,) = site.request("GET", path).json["attributes"]["cmbs"]["message"]["deliveries"]
    assert row["member"] == "other"


def test_the_same_event_is_one_message(site):
    """Source and id are what it is known by; a UUID is the message's id."""
    first = post(site, to_structured_event(event()))
    answer = site.request("POST", MESSAGES, to_structured_event(event()).body, Content_Type=EVENT)
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "duplicate-id")
    assert post(site, to_structured_event(event(source="/sensors/2"))) != first
    id = "01a22b7e-5c1b-7b8e-8a53-2f1d7c9f4d11"
    assert post(site, to_binary_event(event(id=id))) == MESSAGES + id


def test_a_batch_is_made_as_a_whole(site):
    """Or not at all."""
    one, two = (json.loads(to_structured_event(event(id=id)).body) for id in "12")
    answer = site.request("POST", MESSAGES, [one, two], Content_Type=BATCH)
    assert answer.status_code == 201
    assert len(answer.json["Location"]) == 2
    wrong = site.request("POST", MESSAGES, [{**one, "id": "3"}, {**two, "type": 7}], Content_Type=BATCH)
    assert wrong.status_code == 400
    assert len(site.broker.entities.find(MESSAGES)) == 2


@pytest.mark.parametrize(
    ("attributes", "title", "type", "subject"),
    [
        (
            {cmbs.TOPICS: ["net.link", "net.x"], cmbs.LAYER: "l32", cmbs.CONTENT: {"port": 3}},
            "a port",
            "net.link",
            "a port",
        ),
        ({cmbs.LAYER: "l2", cmbs.CONTENT: "text"}, "", "cmbs.message.l2", None),
        ({}, "", "cmbs.message.new", None),
    ],
)
def test_any_message_is_read_as_an_event(site, attributes, title, type, subject):
    """From the member that sent it first, with its content as the data."""
    layers = [cmbs.mixin(attributes[cmbs.LAYER])] if attributes else []
    (made,) = site.broker.entities.create(MESSAGES, [Draft(cmbs.MESSAGE, "m", tuple(layers), attributes, title)])
    found = read(site, made.path)
    assert (found.get_id(), found.get_type(), found.get_subject()) == ("m", type, subject)
    assert found.get_source() == f"urn:uuid:{OWN}"
    assert found.get_data() == attributes.get(cmbs.CONTENT)


def test_when_it_was_accepted_is_the_time_of_the_event(site):
    """As the ledger says."""
    answer = site.request(
        "POST",
        MESSAGES + "?then=send_l32",
        {"mixins": [cmbs.mixin("l32")], "attributes": {cmbs.TOPICS: ["com.example.x"]}},
    )
    found = read(site, answer.headers["Location"].removeprefix("http://localhost"))
    assert found.get_time() == dt.datetime.fromisoformat(answer.json["deliveries"][0]["accepted"])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", MESSAGES), ("GET", "/cmbs/member/" + OWN), ("GET", "/-/"), ("POST", MESSAGES), ("GET", MESSAGES + "none")],
)
def test_what_is_no_message_is_json(site, method, path):
    """Lists, members, categories, errors, and what changes answer."""
    answer = site.request(method, path, {"kind": cmbs.MESSAGE} if method == "POST" else None, Accept=EVENT)
    assert answer.content_type == "application/occi+json"
    assert answer.json


def test_nobody_gets_events_who_did_not_ask(site):
    """Not even with a wildcard."""
    path = post(site, to_structured_event(event()))
    for accept in ("*/*", "application/*", None):
        assert site.request("GET", path, Accept=accept).content_type != EVENT


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([1], None),
        (7, None),
        ({}, "specversion"),
        ({"specversion": "0.3", "id": "1", "source": "s", "type": "t"}, "specversion"),
        ({"specversion": "1.0", "id": "", "source": "s", "type": "t"}, "id"),
        ({"specversion": "1.0", "id": 1, "source": "s", "type": "t"}, "id"),
        ({"specversion": "1.0", "id": "1", "source": "s"}, "type"),
        ({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": 1, "data_base64": "AA=="}, "data"),
        ({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "Mine": 1}, "Mine"),
        ([], None),
    ],
)
def test_what_is_no_event_is_refused(site, given, field):
    """With what is wrong with it."""
    answer = site.request("POST", MESSAGES, json.dumps(given).encode(), Content_Type=EVENT)
    assert answer.status_code == 400
    assert answer.json["error"].get("field") == field
    assert site.broker.entities.find(MESSAGES) == []


def test_a_type_that_is_no_topic_is_refused(site):
    """A topic has no wildcards."""
    answer = site.request("POST", MESSAGES, to_structured_event(event(type="a.*")).body, Content_Type=EVENT)
    assert (answer.status_code, answer.json["error"]["attribute"]) == (400, cmbs.TOPICS)


def test_binary_data_keeps_its_bytes(site):
    """What is neither JSON nor text goes as base64, also a text in another charset."""
    headers = {"ce_id": "1", "ce_source": "s", "ce_type": "t", "ce_specversion": "1.0"}
    for type in ("text/plain; charset=iso-8859-1", "image/png"):
        answer = site.request("POST", MESSAGES, b"\xe9", Content_Type=type, **headers | {"ce_id": type[:5]})
        path = answer.headers["Location"].removeprefix("http://localhost")
        content = site.request("GET", path).json["attributes"]["cmbs"]["message"]["message_content"]
        assert base64.b64decode(content["data_base64"]) == b"\xe9"
        assert content["datacontenttype"] == type
    answer = site.request("POST", MESSAGES, b"\xe9", Content_Type="text/plain", **headers)
    assert answer.status_code == 400
