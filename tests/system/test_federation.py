"""Brokers find each other and exchange messages."""

from __future__ import annotations

from collections.abc import Callable

from tests.harness import Broker, wait_until


def test_l1_reaches_the_other_broker_and_its_reply_lands_in_result(start_broker: Callable[..., Broker]) -> None:
    """An L1 message is stored by its receiver, and the sender's result holds the receiver's description and sockets."""
    one, two = start_broker("--workers", "1"), start_broker("--workers", "1")
    one.become("l1")
    two.become("l1")
    path = one.message("l1", {"n": 1}, l1_socket_receiver_member=two.socket("l1"))

    report = one.send(path, "l1")

    assert report["state"] == "delivered"
    assert one.attributes(path, "message")["result"]["member_description"]["id"] == two.member
    assert two.attributes(path, "message")["message_content"] == {"n": 1}
    assert two.attributes(path, "message")["origin"] == one.member


def test_a_third_broker_joins_through_one_and_all_three_know_all(start_broker: Callable[..., Broker]) -> None:
    """check_neighbors on any of three brokers makes all three know all three."""
    one, two, three = (start_broker("--workers", "1") for _ in range(3))
    one.become("l1")
    two.become("l1", neighbors=[one.socket("l1")])
    three.become("l1", neighbors=[two.socket("l1")])
    everybody = {one.member, two.member, three.member}

    report = one.ok("POST", f"/cmbs/member/{one.member}?action=check_neighbors", {})

    assert report["unreachable"] == []
    for broker in (one, two, three):
        assert wait_until(lambda b=broker: b.known() == everybody, what=f"{broker.url} knows all")
