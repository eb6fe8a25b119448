"""What goes wrong between two commits, at a peer, or for a moment: the outbox goes on, and ends where it should."""

import json
import resource
import socket
import threading
from contextlib import contextmanager, suppress
from os import close, dup, listdir

import pytest

from pycmbs.control.client import ControlClient
from pycmbs.control.fronts import Front
from pycmbs.engine import housekeeping as housekeeping_module
from pycmbs.engine import route as route_module
from pycmbs.engine.quotas import Verdict
from pycmbs.errors import StoreUnavailable, Unavailable
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft
from pycmbs.runtime import ThreadRuntime
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import ACK, MESSAGE, Envelope, encode
from tests.engine.test_engines import join, node, pair  # noqa: F401 - fixtures
from tests.harness import wait_until
from tests.store.faulty import Fault

MEMBER_A = cmbs.MEMBER_LOCATION + "a"


def deep(levels):
    """JSON text that nests so deep."""
    return '{"a":' * levels + "1" + "}" * levels


@contextmanager
def muted(inbound):
    """A receiver that takes nothing in."""
    keep, inbound.put = inbound.put, lambda _arrival: None
    yield
    inbound.put = keep


def calling(node):  # noqa: F811
    """The engine of a node as a front sees it."""
    return ControlClient(node.engine._control._path, ThreadRuntime())


def test_an_answer_too_deep_to_store_stops_nobody(pair):  # noqa: F811
    """An acknowledgement that cannot be stored is dropped; other messages are delivered."""
    a, b = pair
    inbound = b.engine._inbound
    answer = inbound._answer

    def poison(arrival, envelope, type, body):
        if type != ACK:
            answer(arrival, envelope, type, body)
            return
        head = f'{{"cmbs":1,"type":"ack","id":"{envelope.id}","from":"b","body":{{"status":"delivered","reply":'
        inbound._reply(arrival.peer, (head + deep(400) + "}}").encode())

    inbound._answer = poison
    path = a.message("l1", l1_socket_receiver_member="memory:b-l1")
    a.act(path, "send_l1")
    wait_until(lambda: a.attribute(path, cmbs.DELIVERIES)[0]["attempts"] > 0, what="an attempt")
    inbound._answer = answer
    other = a.message("l2", "m2")
    a.act(other, "send_l2")
    assert [a.settled(other), a.settled(path)] == ["delivered", "delivered"]


def test_a_bad_introduction_does_not_take_messages_with_it(pair):  # noqa: F811
    """What arrives in the same turn as an introduction that breaks something is taken in all the same."""
    _, b = pair
    b.broker.inbox.greet = lambda _body: 1 / 0
    message = {"kind": cmbs.MESSAGE, "id": "zz", "attributes": {}}
    body = {"layer": "l2", "round": 1, "deadline": 5, "message": message}
    envelopes = [Envelope("hello", "h", "x", {}), Envelope(MESSAGE, "i", "a", body)]
    b.engine._inbound._take([(Arrival("memory:b-l2", encode(one), None), Verdict.TAKEN) for one in envelopes])
    assert b.attribute(cmbs.MESSAGE_LOCATION + "zz", cmbs.STATE) == "received"


def test_a_member_that_listens_on_nothing_can_send(node):  # noqa: F811
    """Sending needs a member, not a layer of its own."""
    a, b = node("a"), node("b")
    a.become()
    b.become("l1")
    path = a.message("l1", l1_socket_receiver_member="memory:b-l1")
    a.act(path, "send_l1")
    assert a.settled(path) == "delivered"


def test_the_origin_is_the_member_there_is_now(pair):  # noqa: F811
    """After the own member was deleted and another made, messages come from that."""
    a, b = pair
    a.broker.entities.delete(MEMBER_A)
    a.name = "a2"
    a.become()
    path = a.message("l1", l1_socket_receiver_member="memory:b-l1")
    a.act(path, "send_l1")
    assert a.settled(path) == "delivered"
    assert b.attribute(path, cmbs.ORIGIN) == "a2"


def test_a_state_left_behind_its_rows_is_brought_up_to_date(node, pair, monkeypatch):  # noqa: F811
    """A kill, or a store that fails, between the commit of the rows and that of the message leaves nothing `sending`."""
    monkeypatch.setattr(housekeeping_module, "_SECONDS", 0.5)
    a, b = pair
    c = node("c")
    c.become("l1", "l2", neighbors=["memory:a-l1"])
    c.act(cmbs.MEMBER_LOCATION + "c", "check_neighbors")
    b.engine.close()
    c.engine.close()
    outbox, failed = a.broker.outbox, []
    concluded = outbox._concluded

    def fails_once(paths):
        if paths and not failed:
            failed.extend(paths)
            raise StoreUnavailable("gone for a moment")
        return concluded(paths)

    outbox._concluded = fails_once
    path = a.message("l2", deadline=0.3)
    a.act(path, "send_l2")
    assert a.settled(path) == "unknown"
    assert failed == [path]


def test_waiting_for_an_answer_costs_nothing(pair, monkeypatch):  # noqa: F811
    """While a silent recipient is tried, and rows wait behind that, the outbox rests."""
    monkeypatch.setattr(route_module, "_ANSWER_SECONDS", 2.0)
    a, _ = pair
    queue = a.engine._outbound
    for number in range(3):
        a.act(a.message("l1", f"m{number}", l1_socket_receiver_member="memory:nobody"), "send_l1")
    wait_until(
        lambda: any(one.failures and one.flights and one.more for one in list(queue._traffic._routes.values())),
        10,
        "a probe",
    )
    assert queue._pause() > 0


def test_a_slow_receiver_gets_to_answer(pair):  # noqa: F811
    """A receiver that takes longer than the first patience is waited for longer the next time."""
    a, b = pair
    receive, slow = b.broker.inbox.receive, threading.Event()
    b.broker.inbox.receive = lambda incoming: slow.wait(0.25) or receive(incoming)
    path = a.message("l1", l1_socket_receiver_member="memory:b-l1")
    a.act(path, "send_l1")
    assert a.settled(path) == "delivered"


def test_rows_survive_that_the_own_member_is_deleted(pair):  # noqa: F811
    """Rows whose sender is gone wait for one, and the ledger says so; the outbox does not stumble."""
    a, b = pair
    with muted(b.engine._inbound):
        path = a.message("l1", l1_socket_receiver_member="memory:b-l1")
        a.act(path, "send_l1")
        a.broker.entities.delete(MEMBER_A)
        a.engine._outbound._traffic._body_cache._made.clear()
        routes = a.engine._outbound._traffic._routes
        wait_until(lambda: any(one.failures > 2 for one in list(routes.values())), what="three pauses")
    a.name = "a2"
    a.become()
    assert a.settled(path) == "delivered"


def test_a_lost_settle_is_made_good(pair):  # noqa: F811
    """A member whose socket changed listens there, also when the engine was not told."""
    a, _ = pair
    a.engine._calls.operations["apply_sockets"] = lambda _parameters: {}
    change = {"cmbs": {"member": {"l2_socket": "memory:a-new"}}}
    a.broker.entities.update(MEMBER_A, Draft(attributes=change))
    wait_until(lambda: a.engine._listening.bound["l2"] == "memory:a-new", what="the new socket")


def test_a_refusal_leaves_the_connection_alone(pair):  # noqa: F811
    """A recipient that answers, if only with no, is not disconnected: other layers may share the connection."""
    a, _ = pair
    forgotten = []
    a.transport.forget = lambda url, **_: forgotten.append(url)
    path = a.message("l1", l1_socket_receiver_member="memory:b-l2", deadline=0.5)
    a.act(path, "send_l1")
    assert a.settled(path) in ("expired", "unknown")  # one may be under way at the deadline
    assert forgotten == []


def test_walks_do_not_keep_layers_from_starting(pair):  # noqa: F811
    """However many walk the federation, the other operations are answered at once."""
    a, _ = pair
    a.engine._discovery._seconds = 3.0
    a.broker.entities.update(MEMBER_A, Draft(attributes={"cmbs": {"member": {"neighbors_socket": ["memory:dead"]}}}))
    client = calling(a)
    walks = [threading.Thread(target=client.call, args=("discover", {}), kwargs={"seconds": 30}) for _ in range(8)]
    for walk in walks:
        walk.start()
    assert "listening" in client.call("apply_sockets", {}, seconds=2)
    for walk in walks:
        walk.join()


def test_the_control_socket_survives_a_want_of_descriptors(pair):  # noqa: F811
    """When descriptors are free again, new fronts are answered again."""
    a, _ = pair
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    with socket.socket(socket.AF_UNIX) as waiting:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, listdir("/proc/self/fd"))) + 1, hard))  # noqa: PTH208
        try:
            with suppress(OSError):
                while True:
                    taken.append(dup(0))
            waiting.connect(str(a.engine._control._path))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                close(descriptor)
    assert "listening" in calling(a).call("apply_sockets", {}, seconds=5)


def test_stopping_does_not_wait_for_sockets_heard_of(pair):  # noqa: F811
    """An engine that has heard of more sockets than it can visit stops at once."""
    a, _ = pair
    a.engine._discovery.hint(f"memory:dead{number}" for number in range(12_000))
    closing = threading.Thread(target=a.engine.close)
    closing.start()
    closing.join(3.5)
    assert not closing.is_alive()


def test_a_walk_ends_when_the_engine_stops(pair):  # noqa: F811
    """With a sentence, whether it is about to visit someone or waits for those whose turn does not come any more."""
    a, _ = pair
    a.broker.entities.update(
        MEMBER_A, Draft(attributes={"cmbs": {"member": {"neighbors_socket": [f"memory:dead{n}" for n in range(80)]}}})
    )
    discovery = a.engine._discovery
    discovery._seconds = 2.0
    ends = []

    def walk():
        try:
            discovery.walk()
        except Unavailable as exc:
            ends.append(exc.message)

    walking = threading.Thread(target=walk, daemon=True)
    walking.start()
    wait_until(lambda: discovery._pool._threads._work_queue.qsize() > 0, what="some wait for their turn")
    discovery.close()
    walking.join(10)
    walk()
    assert ends == ["the engine stops"] * 2


def test_sentences_of_others_are_cut(pair):  # noqa: F811
    """What a recipient says for a reason is shown, in so many characters, and nothing else of it is stored."""
    a, b = pair
    inbound = b.engine._inbound

    def refuse(arrival, envelope, _type, _body):
        error = {"code": "forbidden", "message": "x" * 100_000, "hint": "y" * 100_000, "why": {"deep": ["z" * 100_000]}}
        inbound._reply(arrival.peer, encode(Envelope("refusal", envelope.id, "b", {"error": error, "final": True})))

    inbound._answer = refuse
    path = a.message("l2")
    a.act(path, "send_l2")
    assert a.settled(path) == "failed"
    reason = a.attribute(path, cmbs.DELIVERIES)[0]["reason"]
    assert reason.startswith("forbidden: xxx")
    assert len(reason) < 600


@pytest.mark.parametrize(
    ("said", "result", "state"),
    [
        ({"reply": {"a": "x" * 65_000}}, {"a": "x" * 65_000}, "delivered"),
        ({"reply": {"a": "x" * 70_000}}, {}, "delivered"),
        ({"outcome": {"result": "x" * 90_000}}, {"outcome": {"result": "x" * 90_000}}, "executed"),
        ({"outcome": {"result": "x" * 200_000}}, "too-large", "failed"),
        ({"outcome": {"result": json.loads(deep(150))}}, "too-large", "failed"),
        ({"outcome": {"error": {"code": "c", "message": "x" * 90_000}}}, "c", "failed"),
    ],
)
def test_what_an_answer_brings_is_bounded(node, said, result, state):  # noqa: F811
    """A reply to 64 KiB, an outcome to max_content; what is larger is not kept, and the delivery counts all the same."""
    a, b = join(node("a", max_content=100_000), node("b"))
    inbound = b.engine._inbound
    body = {"status": "delivered", **said}
    inbound._answer = lambda arrival, envelope, _type, _body: inbound._reply(
        arrival.peer, encode(Envelope(ACK, envelope.id, "b", body))
    )
    path = a.message("l1", l1_socket_receiver_member="memory:b-l1")
    a.act(path, "send_l1")
    assert a.settled(path) == state
    shown = a.attribute(path, cmbs.RESULT)
    assert (shown["outcome"]["error"]["code"] if isinstance(result, str) else shown or {}) == result
    assert len(a.attribute(path, cmbs.DELIVERIES)[0].get("reason", "")) <= 500


@pytest.mark.parametrize("error", [StoreUnavailable("HTTP 413 of a document"), TypeError("too deep")])
def test_an_answer_that_cannot_be_stored_holds_up_no_other(pair, error):  # noqa: F811
    """Whatever of it the store does not take, and however the store says that: the delivery is noted without it."""
    a, _ = pair
    write = a.store.write_batches

    def picky(batches):
        if any("b-l1" in str(one.body.get("answer")) for batch in batches for one in batch):
            raise error
        return write(batches)

    a.store.write_batches = picky
    poison = a.message("l1", l1_socket_receiver_member="memory:b-l1")
    a.act(poison, "send_l1")
    others = [a.message("l2", f"m{number}") for number in range(2, 5)]
    for other in others:
        a.act(other, "send_l2")
    assert [a.settled(path) for path in (*others, poison)] == ["delivered"] * 4
    assert not a.attribute(poison, cmbs.RESULT)


def test_an_answer_survives_a_store_that_is_away(pair):  # noqa: F811
    """It is not taken for one that cannot be stored, however long that takes."""
    a, b = pair
    b.act(cmbs.MEMBER_LOCATION + "b", "stop_l1")
    path = a.message("l1", l1_socket_receiver_member="memory:b-l1")
    a.act(path, "send_l1")
    wait_until(lambda: a.attribute(path, cmbs.DELIVERIES)[0]["attempts"] > 0, what="an attempt")
    a.store.arm(Fault.FULL)
    b.act(cmbs.MEMBER_LOCATION + "b", "start_l1")
    wait_until(lambda: a.store.failures > 20, what="writes that fail")
    a.store.disarm()
    assert a.settled(path) == "delivered"
    assert a.attribute(path, cmbs.RESULT)["member_description"]["id"] == "b"


def test_a_member_that_cannot_be_deleted_goes_on_listening(pair):  # noqa: F811
    """Its layers end when its deletion is written, and not before."""
    a, _ = pair
    a.store.arm(Fault.FULL)
    with pytest.raises(StoreUnavailable):
        a.broker.entities.delete(MEMBER_A)
    a.store.disarm()
    assert a.engine._listening.bound.keys() == {"l1", "l2"}
    assert a.attribute(MEMBER_A, cmbs.LISTENING) == ["l1", "l2"]
    a.broker.entities.delete(MEMBER_A)
    assert a.engine._listening.bound == {}


def test_an_engine_stops_the_other_way_round(pair):  # noqa: F811
    """What takes in work from others stops first, and the transports last; one that fails in that keeps no other from it."""
    a, _ = pair
    assert a.engine.started.names == [
        "transports", "requests", "inbound", "executor", "listening", "outbound", "discovery", "probes", "calls", "control",
        "housekeeping",
    ]  # fmt: skip
    closed, close = [], a.transport.close
    a.transport.close = lambda: closed.append("transport") or close()
    a.engine._outbound.close = lambda: 1 / 0
    a.engine.close()
    assert closed == ["transport"]
    a.engine._outbound._closing = True
    a.engine._outbound.wake()


def test_a_front_whose_answers_cannot_be_written_connects_anew():
    """An error in the thread that writes them ends the connection, and not only that thread."""
    here, there = socket.socketpair()
    with here, there:
        front = Front(here)
        front._next_piece = lambda: 1 / 0
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        front.answer({"answer": "x" * 1_000_000})
        there.settimeout(10)
        while there.recv(65_536):
            pass
