"""What is measured: the requests of each scenario, and the data they need."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bench.broker import Broker
from bench.load import Request

_MESSAGE = "http://houssem.org/cmbs#message"
_CONTENT = {"event": "link-down", "device": "switch-17", "port": 3, "since": "2026-01-31T09:30:00Z", "note": "x" * 120}
BATCH = 100
_BATCH_CONNECTIONS = 4
"""With more, the first answer takes longer than a run."""
HELLO = "hello\n"
GREETING = Request("GET", "/", contains=HELLO)
"""What the bare server is asked."""
_LISTED = 20
_AT_ONCE = 100
"""Messages that one request creates while a run is prepared."""


@dataclass(frozen=True)
class Scenario:
    """One kind of request."""

    name: str
    request: Request
    messages: int = 1
    """How many messages one request is about."""
    connections: int | None = None
    """If it is not the number of the others."""


def message(layer: str = "l1", **attributes: Any) -> dict[str, Any]:
    """A message entity without an id: the broker makes one."""
    return {
        "kind": _MESSAGE,
        "mixins": [f"http://houssem.org/cmbs#{layer}"],
        "attributes": {"cmbs": {"message": {"cmbs_layer": layer, "message_content": _CONTENT, **attributes}}},
        "title": "a message",
    }


def posted(number: int = 1) -> Request:
    """The creation of so many messages with one request."""
    body = {"resources": [message() for _ in range(number)]}
    return Request("POST", "/cmbs/message/", json.dumps(body), 201, "/cmbs/message/")


def http_scenarios(broker: Broker) -> list[Scenario]:
    """The scenarios of one broker, which gets the entities that are read and listed."""
    topic = "bench.twenty"
    listed = broker.create([message("l32", topics=[topic])] * _LISTED)
    listing = Request("GET", f"/cmbs/message/?attribute=cmbs.message.topics&value={topic}", contains=listed[-1])
    return [
        Scenario("durable POST of one message", posted()),
        Scenario(f"durable POST of {BATCH} messages", posted(BATCH), BATCH, _BATCH_CONNECTIONS),
        Scenario("read of one message", Request("GET", listed[0], contains=listed[0])),
        Scenario(f"list of {_LISTED} by attribute", listing),
    ]


def round_trips(sender: Broker, receiver: Broker, number: int) -> list[Request]:
    """Calls that send a message over L1 and wait for its answer; each has a message of its own, created here."""
    entity = message(l1_socket_receiver_member=receiver.socket_l1)
    paths = [path for _ in range(-(-number // _AT_ONCE)) for path in sender.create([entity] * _AT_ONCE)]
    body = json.dumps({"attributes": {"wait": 5}})
    return [Request("POST", f"{path}?action=send_l1", body, contains='"delivered":1') for path in paths]
