"""Bounds as clients meet them: an outbox that is full, and what is whose in a listing."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from tests.harness import Broker, free_socket, on_sqlite, refusal, wait_until

Start = Callable[..., Broker]


def test_a_full_outbox(start_broker: Start) -> None:
    """At outbox_bound a send is a 503 with Retry-After within a second, and accepted again once deliveries are settled."""
    broker = start_broker("--workers", "1", "--outbox-bound", "3", "--poll", "0.1")
    broker.become("l1")
    waiting = [broker.message("l1", n, l1_socket_receiver_member=free_socket(), deadline=4) for n in range(3)]
    for path in waiting:
        broker.ok("POST", f"{path}?action=send_l1", {})
    path = broker.message("l1", "more", l1_socket_receiver_member=broker.socket("l1"))
    began = time.monotonic()
    answer = broker.request("POST", f"{path}?action=send_l1", {})
    assert time.monotonic() - began < 5
    refusal(answer, 503, "queue-full", "outbox_bound")
    assert int(answer.headers["Retry-After"]) >= 1
    assert "state" not in broker.attributes(path, "message")
    wait_until(lambda: broker.request("POST", f"{path}?action=send_l1", {}).status_code == 200, 20, "room again")
    wait_until(lambda: broker.attributes(path, "message")["state"] == "delivered")


def test_own_and_received_messages_in_a_listing(start_broker: Start) -> None:
    """A filter by origin lists own messages, sent or not; one by the state received lists the others."""
    one, two = start_broker("--workers", "1"), start_broker("--workers", "1")
    one.become("l1")
    two.become("l1", "l2", neighbors=[one.socket("l1")])
    wait_until(lambda: two.member in one.known())
    own, received = two.message("l2", "own"), one.message("l2", "other")
    assert one.send(received, "l2")["state"] == "delivered"

    def listed(attribute: str, value: str) -> list[str]:
        found = two.get(f"/cmbs/message/?attribute=cmbs.message.{attribute}&value={value}")
        return [url.removeprefix(two.url) for url in found["X-OCCI-Location"]]

    assert listed("state", "received") == [received]
    assert listed("origin", two.member) == [own]
    assert listed("origin", one.member) == [received]


@on_sqlite  # elsewhere the store is a connection, too, and this leaves none for it
def test_idle_connections_give_way(start_broker: Start) -> None:
    """Where no descriptor is left for one more connection, those that are idle give way: the broker goes on answering, from
    the same process, and says so in one line."""
    broker = start_broker("--workers", "1")
    front = broker.pid("front")
    room = len(list(Path(f"/proc/{front}/fd").iterdir())) + 40
    resource.prlimit(front, resource.RLIMIT_NOFILE, (room, room))
    with contextlib.ExitStack() as idle:
        for _ in range(100):
            idle.enter_context(socket.create_connection(("127.0.0.1", broker.port), timeout=20))
        for _ in range(3):
            assert broker.request("GET", "/-/").status_code == 200
    assert broker.pid("front") == front
    assert broker.log().count("idle ones are closed") == 1
    assert "Traceback" not in broker.log()


def test_a_front_that_hangs_is_replaced(start_broker: Start) -> None:
    """A front that is there and does nothing is killed, and another one serves."""
    broker = start_broker("--workers", "1")
    front = broker.pid("front")
    os.kill(front, signal.SIGSTOP)
    again = wait_until(
        lambda: (
            next((one["pid"] for one in broker.state()["children"] if one["role"] == "front" and one["ready"]), front)
            != front
        ),
        40,
        "another front",
    )
    assert again
    assert broker.request("GET", "/-/").status_code == 200
