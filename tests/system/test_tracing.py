"""One request is found in the logs of all members that had to do with it, by what its client called it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

from tests.harness import Broker, wait_until

Start = Callable[..., Broker]
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MESSAGE = "http://houssem.org/cmbs#message"


def lines(broker: Broker) -> list[dict[str, Any]]:
    """All that it logged."""
    return [json.loads(line) for line in broker.log().splitlines()]


def about(broker: Broker, **fields: str) -> list[dict[str, Any]]:
    """The lines with these members."""
    return [one for one in lines(broker) if fields.items() <= one.items()]


def test_a_request_is_found_by_its_id_at_every_member(start_broker: Start) -> None:
    """Refused or not: in the log of the broker that was asked, in the ledger, in the log of the receiver; the trace reaches the
    handler as it was sent; and every line is JSON, whatever dies meanwhile."""
    handlers = ("--handlers", "tests.example_handlers", "--allow", "* traced")
    rome = start_broker("--log-format", "json", *handlers)
    paris = start_broker("--log-format", "json")
    rome.become("l1", "l2")
    paris.become("l1", "l2", neighbors=[rome.socket("l1")])
    paris.ok("POST", f"/cmbs/member/{paris.member}?action=check_neighbors", {})

    assert paris.request("GET", "/cmbs/message/none", headers={"X-Request-Id": "q0"}).status_code == 404
    content = {"operation": "traced"}
    entity = {
        "kind": MESSAGE,
        "id": "m1",
        "mixins": ["http://houssem.org/cmbs#l2"],
        "attributes": {"cmbs": {"message": {"message_content": content, "executable": "true"}}},
    }
    traced = {"X-Request-Id": "q1", "traceparent": PARENT, "tracestate": "vendor=1"}
    made = paris.request("POST", "/cmbs/message/", {"resources": [entity]}, headers=traced)
    assert made.status_code == 201
    ledger = paris.send("/cmbs/message/m1", "l2")["deliveries"]
    assert [row["result"] for row in ledger] == [PARENT]
    ledger = paris.attributes("/cmbs/message/m1", "message")["deliveries"]
    assert [row["request_id"] for row in ledger] == ["q1"]

    wait_until(lambda: about(paris, request_id="q0"))
    trace = {"request_id": "q1", "message": "m1", "layer": "l2", "trace_id": PARENT[3:35]}
    wait_until(lambda: about(paris, **trace))
    wait_until(lambda: about(rome, **trace, member=paris.member))

    os.kill(rome.pid("engine"), signal.SIGKILL)
    wait_until(lambda: about(rome, process="supervisor", level="ERROR"))
    assert {one["level"] for one in [*lines(rome), *lines(paris)]} >= {"INFO", "ERROR"}


def test_what_is_logged_of_requests_is_as_one_likes(start_broker: Start) -> None:
    """None, errors, or all; the client's id is in a line of text, too."""
    for setting, found in (("off", []), ("errors", ["404"]), ("all", ["200", "404"])):
        broker = start_broker("--access-log", setting, "--workers", "1")
        broker.request("GET", "/cmbs/message/", headers={"X-Request-Id": "here"})
        broker.request("GET", "/cmbs/message/x", headers={"X-Request-Id": "not-there"})
        broker.stop()
        logged = [line.split('" ')[1].split()[0] for line in broker.log().splitlines() if "pycmbs.access" in line]
        assert logged == found
        assert ("(request not-there)" in broker.log()) == bool(found)
