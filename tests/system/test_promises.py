"""What a ledger says is so, and what was accepted is what arrives: with real brokers, links that stall, clocks that differ, a
store that breaks off, and members that answer with what no one can store."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import Faults, Proxy
from tests.chaos.clock import Clock
from tests.chaos.proxy import BACK, THERE
from tests.conftest import brokers
from tests.couchdb_proxy import Ask, Said, UnkindServer, error, failing_at
from tests.couchdb_server import CouchServer
from tests.harness import Broker, free_socket, refusal, wait_until
from tests.peer import Peer

Start = Callable[..., Broker]
FAST = ("--workers", "1", "--retry-first", "0.05", "--retry-most", "0.3", "--poll", "0.2", "--probe-interval", "0.5")
CREATE = {"operation": "create", "target": "/cmbs/message/", "id": "made"}


@pytest.fixture
def unkind(couchdb_server: CouchServer) -> Iterator[UnkindServer]:
    """A CouchDB server that can be made unkind."""
    with UnkindServer(couchdb_server).running() as server:
        yield server


@pytest.fixture
def start_unkind(unkind: UnkindServer, short: Path) -> Iterator[Start]:
    """Starts brokers, each with a database there."""
    with ExitStack() as stack:
        yield from brokers(short, lambda: ("--store", stack.enter_context(unkind.database()), *FAST))


def joined(one: Broker, two: Broker, **sockets: str) -> None:
    """Both listen, and the first knows the second, and is connected to it."""
    one.become("l1", "l2")
    two.become("l1", "l2", neighbors=[one.socket("l1")], sockets=sockets)
    wait_until(lambda: two.member in one.known(), 20, "they know each other")
    assert one.send(one.message("l2", "first"), "l2", wait=20)["state"] == "delivered"


def send(broker: Broker, path: str) -> None:
    """Have it sent, and wait for nothing."""
    broker.ok("POST", f"{path}?action=send_l2", {})


@contextmanager
def stalled_way_back(start_broker: Start) -> Iterator[tuple[Broker, Broker, Proxy]]:
    """Two brokers, of which the second executes what the first sends on L2, and can tell it nothing until the proxy lets it."""
    target = free_socket()
    with Proxy(target) as proxy:
        one = start_broker(*FAST)
        two = start_broker(*FAST, "--listen-at", f"{proxy.url}={target}", "--allow", "* create message")
        joined(one, two, l2=proxy.url)
        proxy.faults = Faults(held=(BACK,))
        yield one, two, proxy


def told(broker: Broker, path: str) -> Any:
    """What a message says."""
    return broker.attributes(path, "message")


def ledger(broker: Broker, path: str, member: str) -> dict[str, Any]:
    """The row of one recipient."""
    return next(row for row in told(broker, path)["deliveries"] if row["member"] == member)


def holds(broker: Broker, path: str) -> bool:
    """Whether it has this message."""
    return broker.request("GET", path).status_code == 200


@pytest.mark.parametrize("sent_before", [False, True])
def test_a_send_that_broke_off_holds_up_nobody(
    unkind: UnkindServer, start_unkind: Start, start_broker: Start, *, sent_before: bool
) -> None:
    """P1: the rows of a send are written, and not its message: it is a 503. What is sent later arrives, and so does it itself
    when it is sent again; the ledger is of that."""
    one, two = start_unkind(), start_broker(*FAST)
    joined(one, two)
    path = one.message("l2", "again")
    if sent_before:
        assert one.send(path, "l2")["state"] == "delivered"

    def broken(ask: Ask, _on: Callable[[], Said]) -> Said | None:
        last = any(document["_id"] == f"entity:{path}" for document in ask.documents)
        return error(503, "timeout", "the request timed out") if last else None

    unkind.rules.append(broken)
    refusal(one.request("POST", f"{path}?action=send_l2", {}), 503, "store-unavailable")
    unkind.rules.clear()
    assert one.send(one.message("l2", "later"), "l2", wait=20)["state"] == "delivered"
    assert one.send(path, "l2", wait=20)["state"] == "delivered"
    assert [row["state"] for row in told(one, path)["deliveries"]] == ["delivered"]
    assert told(two, path)["message_content"] == "again"


@pytest.mark.parametrize("poison", ["what the store fails at: badarith", "x" * 1_500_000])
def test_an_answer_that_cannot_be_stored_stops_nobody(
    unkind: UnkindServer, start_unkind: Start, start_broker: Start, poison: str
) -> None:
    """P5: a member refuses with what the store fails at, or with what is far too long. Its row is settled, in bounds; the
    others' are delivered, of this message and of those after it."""
    unkind.rules.append(failing_at("badarith"))
    with Peer() as peer:
        one, two = start_unkind(), start_broker(*FAST)
        joined(one, two)
        said = {"error": {"code": "not-storable", "message": poison}, "final": True}
        peer.says["message"] = ("refusal", said)
        peer.greet(one.socket("l1"))
        wait_until(lambda: peer.id in one.known(), what="the peer is known")
        for number in range(3):
            path = one.message("l2", number)
            send(one, path)
            wait_until(lambda p=path: ledger(one, p, two.member)["state"] == "delivered", 20, "it is delivered")
            row = wait_until(
                lambda p=path: (row := ledger(one, p, peer.id))["state"] == "failed" and row, 20, "it is settled"
            )
            assert len(row["reason"]) < 1000


def test_a_writer_whose_clock_is_behind_is_heard(couchdb_url: str, start_broker: Start, tmp_path: Path) -> None:
    """P9: a front on CouchDB whose clock is minutes behind that of another before it, and of the engine, writes rows: they are
    sent at once, and not found too late."""
    (tmp_path / "modules").mkdir()
    clock = Clock(tmp_path / "modules", only="pycmbs.processes.front")
    one = start_broker(*FAST, "--store", couchdb_url, environ={"PYTHONPATH": str(tmp_path / "modules")})
    two = start_broker(*FAST)
    joined(one, two)
    engine, front = one.pid("engine"), one.pid("front")
    clock.step(-300)
    os.kill(front, signal.SIGKILL)
    wait_until(lambda: _other(one, "front", front), 20, "there is another front")
    path = one.message("l2", "behind", deadline=20)
    assert one.send(path, "l2", wait=20)["state"] == "delivered"
    assert (one.pid("engine"), told(two, path)["message_content"]) == (engine, "behind")


def _other(broker: Broker, role: str, pid: int) -> bool:
    ready = [one["pid"] for one in broker.state()["children"] if one["role"] == role and one["ready"]]
    return bool(ready) and pid not in ready


def test_an_older_round_does_not_come_over_a_newer_one(start_broker: Start) -> None:
    """P16: a round is stalled on its way, and its sender ends; the next one brings another content, over another connection.
    Then the first goes on: the receiver keeps what the ledger says that it has."""
    target, stalled = free_socket(), set[int]()
    with Proxy(target, lambda session: Faults(held=(THERE,) if session in stalled else ())) as proxy:
        one, two = start_broker(*FAST), start_broker(*FAST, "--listen-at", f"{proxy.url}={target}")
        joined(one, two, l2=proxy.url)
        assert one.process is not None
        first = one.process.pid
        stalled.add(first)
        path = one.message("l2", "old", deadline=1)
        send(one, path)
        wait_until(lambda: proxy.done["held"] > 0, what="it is on its way")
        wait_until(lambda: told(one, path)["state"] != "sending", 20, "it is given up")
        assert ledger(one, path, two.member)["state"] == "unknown"
        one.kill()
        one.start()
        one.ok("POST", path, {"attributes": {"cmbs.message.message_content": "new", "cmbs.message.deadline": 60}})
        assert one.send(path, "l2", wait=20)["state"] == "delivered"
        assert told(two, path)["message_content"] == "new"
        stalled.clear()
        wait_until(lambda: first not in proxy.sessions, 20, "what was stalled has arrived")
        for number in range(2):
            assert one.send(one.message("l2", number), "l2")["state"] == "delivered"
        assert told(two, path)["message_content"] == "new"
        assert told(one, path)["message_content"] == "new"


@pytest.mark.parametrize("killed", ["", "engine", "all"])
def test_what_was_accepted_is_what_arrives(start_broker: Start, killed: str) -> None:
    """P17: while a message is on its way its content cannot be changed, whatever is killed meanwhile; the receiver that comes
    back gets what was accepted, and both say so."""
    one, two = start_broker(*FAST), start_broker(*FAST)
    joined(one, two)
    two.kill()
    path = one.message("l2", "accepted")
    send(one, path)
    if killed == "engine":
        engine = one.pid("engine")
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: _other(one, "engine", engine), 20, "there is another engine")
    if killed == "all":
        one.kill()
        one.start()
    changed = {"cmbs.message.message_content": "changed"}
    entity = {
        "kind": "http://houssem.org/cmbs#message",
        "mixins": ["http://houssem.org/cmbs#l2"],
        "attributes": changed,
    }
    for method, body in (("POST", {"attributes": changed}), ("PUT", entity)):
        refusal(one.request(method, path, body), 409, "being-sent")
    two.start()
    wait_until(lambda: told(one, path)["state"] == "delivered", 30, "it is delivered")
    assert [told(broker, path)["message_content"] for broker in (one, two)] == ["accepted"] * 2
    assert one.request("POST", path, {"attributes": changed}).status_code == 200


def test_what_a_killed_sender_has_sent_is_not_denied(start_broker: Start) -> None:
    """P18: a sender is killed before any answer reached it, and the deadline passes: its ledger does not say that what the
    receiver has executed expired."""
    with stalled_way_back(start_broker) as (one, two, _proxy):
        path = one.message("l2", CREATE, deadline=3)
        send(one, path)
        wait_until(lambda: holds(two, "/cmbs/message/made"), 20, "it is executed")
        one.kill()
        one.start()
        wait_until(lambda: told(one, path)["state"] != "sending", 20, "it is given up")
        assert ledger(one, path, two.member)["state"] == "unknown"


@pytest.mark.parametrize(("content", "state"), [("plain", "delivered"), (CREATE, "executed")])
def test_an_answer_that_comes_late_corrects_the_ledger(start_broker: Start, content: Any, state: str) -> None:
    """P18: the way back is stalled until after the deadline. Until then it is not known whether it is there; then it is."""
    with stalled_way_back(start_broker) as (one, two, proxy):
        path = one.message("l2", content, deadline=2)
        send(one, path)
        wait_until(lambda: holds(two, path), 20, "it is there")
        wait_until(lambda: told(one, path)["state"] != "sending", 20, "it is given up")
        assert ledger(one, path, two.member)["state"] == "unknown"
        proxy.faults = Faults()
        wait_until(lambda: ledger(one, path, two.member)["state"] == state, 20, "the ledger knows")
