"""Whose answer counts: of the member that was asked, over the link it was asked on. With a real broker and raw sockets."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.harness import Broker, wait_until
from tests.peer import Peer

Start = Callable[..., Broker]
FAST = ("--workers", "1", "--retry-first", "0.1", "--retry-most", "0.3", "--probe-interval", "0.3")


def rows(broker: Broker, path: str) -> dict[str, dict[str, object]]:
    """The rows of a message by member."""
    return {row["member"]: row for row in broker.attributes(path, "message")["deliveries"]}


def test_nobody_acknowledges_for_another(start_broker: Start) -> None:
    """A member that says what another was asked, under its name, or that answers what came to another, settles nothing: neither
    the delivery nor the outcome. The member itself does."""
    one = start_broker(*FAST)
    one.become("l1")
    with Peer() as honest, Peer() as hostile:
        for peer in (honest, hostile):
            assert peer.greet(one.socket("l1"))["type"] == "welcome"
        path = one.message("l2", "x")
        one.ok("POST", f"{path}?action=send_l2", {})
        (to, asked), (door, other) = honest.next("message"), hostile.next("message")
        assert asked["id"] != other["id"]
        hostile.answer(door, asked, "ack", {"status": "delivered"}, **{"from": honest.id})
        hostile.answer(door, other, "ack", {"status": "delivered"})
        wait_until(lambda: rows(one, path)[hostile.id]["state"] == "delivered", what="its own answer counts")
        assert rows(one, path)[honest.id]["state"] != "delivered"
        honest.answer(to, asked, "ack", {"status": "delivered", "executing": True})
        wait_until(lambda: rows(one, path)[honest.id]["state"] == "delivered", what="the right answer counts")
        forged = {"outcome": {"result": "forged"}}
        hostile.answer(door, asked, "outcome", forged, **{"from": honest.id})
        honest.answer(to, asked, "outcome", forged, **{"from": hostile.id})
        to, inquiry = honest.next("inquiry")
        honest.answer(to, inquiry, "outcome", {"outcome": {"result": "true"}})
        wait_until(lambda: rows(one, path)[honest.id]["state"] == "executed", what="the outcome of the right one")
        assert rows(one, path)[honest.id]["result"] == "true"


def test_who_is_not_meant_is_named(start_broker: Start) -> None:
    """While someone else answers at a member's address the message waits, its row names the address and who answered, and the
    member is not alive; when it is the member again, it is delivered."""
    one = start_broker(*FAST)
    one.become("l1")
    with Peer() as peer:
        assert peer.greet(one.socket("l1"))["type"] == "welcome"
        path = one.message("l2", "x")
        one.ok("POST", f"{path}?action=send_l2", {})
        mine = peer.id
        to, asked = peer.next("message")
        peer.id = "somebody-else"
        peer.answer(to, asked, "ack", {"status": "delivered"})
        row = wait_until(lambda: (found := rows(one, path)[mine]).get("reason") and found, what="a reason")
        assert re.search(rf"somebody-else answers at {re.escape(peer.url)}, not {mine}", str(row["reason"]))
        assert row["state"] == "sent"
        where = f"/cmbs/member/{mine}"
        health = lambda: one.attributes(where, "member").get("health", {})  # noqa: E731 - short
        wait_until(lambda: "somebody-else answers" in health().get("reason", ""), what="its health says so, too")
        peer.id = mine
        peer.says["message"] = ("ack", {"status": "delivered"})
        wait_until(lambda: rows(one, path)[mine]["state"] == "delivered", 15, "it is delivered")
