"""The key for connections is changed while messages go to and fro."""

from __future__ import annotations

from collections.abc import Callable

from pycmbs.services.federation.keys import own_keys
from tests.harness import Broker, wait_until
from tests.keyed import command
from tests.system.test_vouching import CLOSED, alive, invited

Start = Callable[..., Broker]
COUNT = 1000


def test_a_key_is_changed_during_a_stream(start_broker: Start) -> None:
    """Of a thousand messages all are delivered, and none twice; then the new key is in use at both ends."""
    one, other = start_broker(*CLOSED), start_broker(*CLOSED)
    for broker in (one, other):
        broker.become("l1", "l2")
    invited(one, other)
    wait_until(lambda: alive(one, other) and alive(other, one), 30, "they reach each other")
    before = own_keys(other.home).curve.public
    target = {"cmbs_layer": "l1", "l1_socket_receiver_member": other.socket("l1")}
    paths: list[str] = []
    for batch in range(10):
        entities = [
            {
                "kind": "http://houssem.org/cmbs#message",
                "mixins": ["http://houssem.org/cmbs#l1"],
                "id": f"m{batch}-{number}",
                "attributes": {"cmbs": {"message": {**target, "message_content": number}}},
            }
            for number in range(COUNT // 10)
        ]
        one.ok("POST", "/cmbs/message/?then=send_l1", {"resources": entities})
        paths += [f"/cmbs/message/{entity['id']}" for entity in entities]
        if batch == 2:
            assert "the next key is" in command(other.home, "key", "rotate")
    assert "being changed already" in command(other.home, "key", "rotate", code=1)
    wait_until(lambda: own_keys(other.home).curve.public != before, 30, "the new key is in use")
    assert "old, valid until" in command(other.home, "key", "show")

    wait_until(
        lambda: {one.attributes(path, "message")["state"] for path in paths} == {"delivered"}, 120, "all delivered"
    )
    received = other.get("/cmbs/message/")["X-OCCI-Location"]
    assert len(received) == len({url.rpartition("/")[2] for url in received}) == COUNT
    report = other.send(other.message("l2", "back"), "l2", 20)
    assert [row["state"] for row in report["deliveries"]] == ["delivered"]
