"""Two engines in one process, joined by the memory transport: what is accepted is delivered, in spite of everything."""

from concurrent.futures import Future

import pytest

from pycmbs.broker import assemble_engine
from pycmbs.config import Settings
from pycmbs.engine import route as route_module
from pycmbs.errors import EngineUnavailable, InvalidRequest, QueueFull, SocketUnavailable, StoreUnavailable
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.preparation import shipped_definitions
from pycmbs.services.federation.keys import own_keys
from pycmbs.services.federation.ring import Trust
from pycmbs.services.federation.trust import Trusted, with_member
from pycmbs.store.base import Query
from pycmbs.transport.memory import MemoryNetwork, MemoryTransport
from pycmbs.transport.transports import Transports
from tests.harness import wait_until
from tests.services.world import CATEGORIES, FaultyStore
from tests.store.faulty import Fault

LAYERS = ("l1", "l2", "l31", "l32", "l4")


class LossyTransport(MemoryTransport):
    """The memory transport, but ``lose`` says how many messages do not arrive, ``refuse`` what sending them raises, and
    ``blocked`` to which addresses nothing goes."""

    lose = 0
    refuse = None
    blocked = ()

    def send(self, url, data, *, apart=False, peer=""):
        message = b'"type":"message"' in data[:60]
        if message and self.refuse is not None:
            raise self.refuse
        if message and self.lose > 0:
            self.lose -= 1
        elif not url.startswith(tuple(self.blocked)):
            return super().send(url, data, apart=apart, peer=peer)
        return False


class Node:
    """One broker: store, services and engine, without processes. ``keyed``: it asks members for their keys."""

    def __init__(self, home, network, name, *, atomic=None, keyed=False, **changed):
        home.mkdir()
        quick = {"retry_first": 0.02, "retry_most": 0.05, "poll": 0.02, "neighbor_timeout": 0.5, "probe_interval": 0.2}
        settings = Settings(home=home, **{**quick, **changed})
        self.name = name
        self.store = FaultyStore(atomic=atomic)
        self.home, self.keys = home, own_keys(home) if keyed else None
        trust = Trust(home, self.keys, lambda: self.broker.members) if keyed else None
        self.transport = LossyTransport(network, trust)
        transports = Transports(["memory"], {"memory": lambda: self.transport})
        self.engine, self.broker = assemble_engine(settings, self.store, transports, home / "e.sock", trust=trust)
        self.broker.categories.ship(CATEGORIES)
        self.engine.start()

    def become(self, *layers, neighbors=(), topics=()):
        """Add the own member and start layers."""
        sockets = {f"{layer}_socket": f"memory:{self.name}-{layer}" for layer in LAYERS}
        given = {**sockets, "neighbors_socket": list(neighbors), "topics": list(topics)}
        self.broker.entities.create(cmbs.MEMBER_LOCATION, [Draft(id=self.name, attributes={"cmbs": {"member": given}})])
        for layer in layers:
            self.act(cmbs.MEMBER_LOCATION + self.name, f"start_{layer}")

    def trust(self, *others):
        """Trust these other keyed nodes."""
        for one in others:
            with_member(
                self.home,
                Trusted(one.name, one.keys.identity.public, one.keys.curve.public, f"memory:{one.name}-l1"),
            )

    def act(self, path, term, **attributes):
        """Perform an action."""
        return self.broker.entities.act(path, Invocation(term, "", attributes))

    def message(self, layer, id="m1", **attributes):
        """Create a message; returns its path."""
        given = {"cmbs": {"message": {"message_content": f"content of {id}", **attributes}}}
        draft = Draft(id=id, mixins=(cmbs.mixin(layer),), attributes=given)
        return self.broker.entities.create(cmbs.MESSAGE_LOCATION, [draft])[0].path

    def attribute(self, path, name):
        """One attribute of what is there, or None."""
        found = self.broker.entities.stored_many([path]).get(path)
        return found and self.broker.entities.get(path).attributes.get(name)

    def settled(self, path):
        """Wait until a message is settled; returns its state."""
        wait_until(lambda: self.attribute(path, cmbs.STATE) not in (None, "sending"), 10, "the message's end")
        return self.attribute(path, cmbs.STATE)


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Makes nodes on one network; patience is short, so that tests are."""
    monkeypatch.setattr(route_module, "_ANSWER_SECONDS", 0.1)
    network, nodes = MemoryNetwork(), []

    def make(name, **changed):
        nodes.append(Node(tmp_path / name, network, name, **changed))
        return nodes[-1]

    yield make
    for one in nodes:
        one.engine.close()


@pytest.fixture
def pair(node):
    """Two members that know each other and listen on L1 and L2."""
    return join(node("a"), node("b"))


def join(a, b):
    """Have two nodes listen on L1 and L2, and know each other."""
    a.become("l1", "l2")
    b.become("l1", "l2", neighbors=["memory:a-l1"], topics=["net.link"])
    report = b.act(cmbs.MEMBER_LOCATION + "b", "check_neighbors")
    assert [one["member"] for one in report["found"]] == ["a"]
    return a, b


def test_l1_is_request_and_reply(pair):
    """The receiver has the message, the sender the handshake as its result."""
    a, b = pair
    path = a.message("l1", l1_socket_receiver_member="memory:b-l1")
    assert a.act(path, "send_l1")["state"] in ("sending", "delivered")
    assert a.settled(path) == "delivered"
    assert b.attribute(path, cmbs.CONTENT) == "content of m1"
    assert a.attribute(path, cmbs.RESULT)["member_description"]["id"] == "b"


def test_l2_reaches_everybody(node, pair):
    """Every known member gets it and acknowledges it."""
    a, b = pair
    c = node("c")
    c.become("l1", "l2", neighbors=["memory:a-l1"])
    c.act(cmbs.MEMBER_LOCATION + "c", "check_neighbors")
    path = a.message("l2")
    a.act(path, "send_l2")
    assert a.settled(path) == "delivered"
    assert [one.attribute(path, cmbs.ORIGIN) for one in (b, c)] == ["a", "a"]


def test_a_message_and_its_ledger_tell_when(pair):
    """``accepted`` at the sender, ``received`` at the receiver, and what became of it step by step."""
    a, b = pair
    a.transport.lose = 1
    path = a.message("l2")
    a.act(path, "send_l2")
    assert a.settled(path) == "delivered"
    (row,) = a.attribute(path, cmbs.DELIVERIES)
    history = row["history"]
    assert [one["state"] for one in history] == ["pending", "sent", "sent", "delivered"]
    assert history[2]["reason"].startswith("no answer from memory:b-l2")
    assert [one["at"] for one in history] == sorted(one["at"] for one in history)
    assert [history[0]["at"], history[-1]["at"]] == [row["accepted"], row["updated"]]
    assert "via" not in row
    assert a.attribute(path, cmbs.ACCEPTED_AT) == row["accepted"]
    assert history[0]["at"] <= b.attribute(path, cmbs.RECEIVED_AT) <= history[-1]["at"]
    assert a.attribute(path, cmbs.RECEIVED_AT) is b.attribute(path, cmbs.ACCEPTED_AT) is None


def test_a_wake_up_is_never_waited_for(node):
    """What is accepted goes out at once: the poll is for wake-ups that were lost, also right after the start."""
    a, b = node("a", poll=60.0), node("b")
    a.become("l1", "l2")
    b.become("l1", "l2", neighbors=["memory:a-l1"])
    b.act(cmbs.MEMBER_LOCATION + "b", "check_neighbors")
    for number in range(3):
        path = a.message("l2", f"m{number}")
        assert a.act(path, "send_l2", wait=5)["state"] == "delivered"


def test_a_lost_datagram_is_sent_again(pair):
    """At least once: what does not arrive is tried again, and the ledger counts the attempts."""
    a, b = pair
    a.transport.lose = 3
    path = a.message("l1", l1_socket_receiver_member="memory:b-l1")
    a.act(path, "send_l1")
    assert a.settled(path) == "delivered"
    assert a.attribute(path, cmbs.DELIVERIES)[0]["attempts"] == 4
    assert b.attribute(path, cmbs.STATE) == "received"


def test_a_lost_answer_is_no_second_message(pair):
    """Effect once: the receiver acknowledges again and keeps one message."""
    a, b = pair
    reply = b.transport.reply
    lost = []
    b.transport.reply = lambda peer, data: reply(peer, data) if lost else lost.append(data)
    path = a.message("l2")
    a.act(path, "send_l2")
    assert a.settled(path) == "delivered"
    assert b.broker.entities.find(cmbs.MESSAGE_LOCATION) == [path]


def test_a_member_that_listens_later_gets_it_later(pair):
    """A member that does not listen on the layer is tried until it does."""
    a, b = pair
    b.act(cmbs.MEMBER_LOCATION + "b", "stop_l2")
    path = a.message("l2")
    a.act(path, "send_l2")
    wait_until(lambda: a.attribute(path, cmbs.DELIVERIES)[0]["attempts"] > 1, what="another attempt")
    b.act(cmbs.MEMBER_LOCATION + "b", "start_l2")
    assert a.settled(path) == "delivered"


def test_what_was_not_answered_is_unknown(pair):
    """After its deadline the ledger says why, and does not deny what may be: the recipient may have it."""
    a, _ = pair
    path = a.message("l1", l1_socket_receiver_member="memory:nobody", deadline=0.3)
    a.act(path, "send_l1")
    assert a.settled(path) == "unknown"
    (entry,) = a.attribute(path, cmbs.DELIVERIES)
    assert "no answer from memory:nobody" in entry["reason"]
    assert "gave up after" in entry["reason"]


def test_a_refusal_for_good_fails_at_once(pair):
    """A message that the receiver cannot ever take is failed with the receiver's reason, not tried until its deadline."""
    a, b = pair
    b.broker.categories.replace([one for one in shipped_definitions() if one.identifier == cmbs.mixin("l31")])
    kind = b.broker.categories.registry().kind(cmbs.MESSAGE)
    narrow = {name: one for name, one in kind.attributes.items() if name != "cmbs.message.executable"}
    b.broker.categories.replace([type(kind)(kind.scheme, kind.term, attributes=narrow, location=kind.location)])
    path = a.message("l2")
    a.act(path, "send_l2")
    assert a.settled(path) == "failed"
    assert a.attribute(path, cmbs.DELIVERIES)[0]["reason"].startswith("invalid-attribute")


def test_order_is_that_of_acceptance(pair):
    """Per sender and recipient, in the order of acceptance."""
    a, b = pair
    for number in range(30):
        a.act(a.message("l2", f"m{number:02}"), "send_l2")
    assert a.settled(cmbs.MESSAGE_LOCATION + "m29") == "delivered"
    assert b.broker.entities.find(cmbs.MESSAGE_LOCATION) == a.broker.entities.find(cmbs.MESSAGE_LOCATION)


def test_more_than_a_window_gets_through(pair):
    """What does not fit into memory is read from the store when there is room."""
    a, b = pair
    for number in range(200):
        a.act(a.message("l2", f"m{number:03}"), "send_l2")
    assert a.settled(cmbs.MESSAGE_LOCATION + "m199") == "delivered"
    wait_until(lambda: len(b.broker.entities.find(cmbs.MESSAGE_LOCATION)) == 200, what="200 messages")


@pytest.mark.parametrize(
    ("side", "fault"), [(0, "get"), (0, "write"), (0, "find"), (1, "get"), (1, "write"), (1, "find")]
)
def test_a_store_that_was_away_loses_nothing(pair, side, fault):
    """Accepted is accepted: a store that fails for a while, on either side, delays and does no more."""
    a, _ = pair
    path = a.message("l2")
    pair[1].act(cmbs.MEMBER_LOCATION + "b", "stop_l2")
    a.act(path, "send_l2")
    wait_until(lambda: a.attribute(path, cmbs.DELIVERIES)[0]["attempts"] > 0, what="an attempt")
    pair[1].act(cmbs.MEMBER_LOCATION + "b", "start_l2")
    pair[side].store.arm(Fault.UNAVAILABLE, *(("get", "get_many") if fault == "get" else (fault,)))
    store = pair[side].store
    unasked = {(1, "find"), (0, "get")}  # the receiver looks for nothing, the sender remembers what it sent
    wait_until(lambda: store.failures > 2 or (side, fault) in unasked, what="failing operations")
    store.disarm()
    assert a.settled(path) == "delivered"


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("fault", Fault)
def test_every_fault_of_a_store_only_delays(pair, side, fault):
    """Whatever goes wrong with the store of either side for a while: delivered once, and both sides say so."""
    a, b = pair
    path = a.message("l2")
    b.act(cmbs.MEMBER_LOCATION + "b", "stop_l2")
    a.act(path, "send_l2")
    wait_until(lambda: a.attribute(path, cmbs.DELIVERIES)[0]["attempts"] > 0, what="an attempt")
    b.act(cmbs.MEMBER_LOCATION + "b", "start_l2")
    store = pair[side].store
    store.atomic = False  # so that every fault can be armed
    store.arm(fault, seconds=0.02)
    enough = 0 if fault is Fault.NOT_DURABLE else 2  # what is there after all is not written again
    wait_until(lambda: store.failures > enough, what="failing operations")
    store.disarm()
    assert a.settled(path) == "delivered"
    assert [row["state"] for row in a.attribute(path, cmbs.DELIVERIES)] == ["delivered"]
    assert (b.attribute(path, cmbs.STATE), b.store.count(Query("receipt"))) == ("received", 1)


def test_a_full_queue_is_tried_again(pair):
    """A transport at its bound is no failure of the message."""
    a, _ = pair
    a.transport.refuse = QueueFull("full")
    path = a.message("l2")
    a.act(path, "send_l2")
    wait_until(lambda: a.attribute(path, cmbs.DELIVERIES)[0].get("reason") == "full", what="a failed attempt")
    a.transport.refuse = None
    assert a.settled(path) == "delivered"


def test_the_outbox_outlives_its_engine(pair, tmp_path):
    """What an earlier engine left unsettled is taken up by the next one."""
    a, b = pair
    a.engine.close()
    path = a.message("l2")
    a.act(path, "send_l2")
    transports = Transports(["memory"], {"memory": lambda: MemoryTransport(b.transport._network)})
    engine, _ = assemble_engine(Settings(home=tmp_path, poll=0.02), a.store, transports, tmp_path / "e2.sock")
    engine.start()
    try:
        assert a.settled(path) == "delivered"
    finally:
        engine.close()


def test_a_new_engine_listens_where_the_old_one_did(pair, tmp_path):
    """What was listening listens again after a restart."""
    _, b = pair
    b.engine.close()
    transports = Transports(["memory"], {"memory": lambda: MemoryTransport(b.transport._network)})
    engine, broker = assemble_engine(Settings(home=tmp_path), b.store, transports, tmp_path / "e2.sock")
    engine.start()
    listening = broker.members.local().attributes[cmbs.LISTENING]
    engine.close()
    assert listening == ["l1", "l2"]


def test_a_socket_in_use_is_an_error_answer(pair):
    """A socket that cannot be bound is an answer that names it; nothing is changed by it."""
    a, b = pair
    with pytest.raises(SocketUnavailable, match="memory:a-l1"):
        b.broker.entities.update(cmbs.MEMBER_LOCATION + "b", Draft(attributes={"cmbs.member.l1_socket": "memory:a-l1"}))
    assert b.act(cmbs.MEMBER_LOCATION + "b", "start_l1")["listening"]["l1"] == "memory:b-l1"
    assert a.act(cmbs.MEMBER_LOCATION + "a", "stop_l2")["listening"] == {"l1": "memory:a-l1"}


def test_starting_and_stopping_are_idempotent(pair):
    """Twice is once."""
    a, _ = pair
    path = cmbs.MEMBER_LOCATION + "a"
    assert a.act(path, "start_l1") == a.act(path, "start_l1")
    assert a.act(path, "stop_l1") == a.act(path, "stop_l1") == {"listening": {"l2": "memory:a-l2"}}


def test_start_and_stop_are_for_all_layers(node):
    """They may share one socket; what listens already goes on, and stopping is idempotent."""
    a = node("a")
    a.become("l2")
    path = cmbs.MEMBER_LOCATION + "a"
    a.broker.entities.update(path, Draft(attributes={f"cmbs.member.{layer}_socket": "memory:a" for layer in LAYERS}))
    for _ in range(2):
        assert a.act(path, "start")["listening"] == dict.fromkeys(LAYERS, "memory:a")
    assert a.attribute(path, cmbs.LISTENING) == list(LAYERS)
    assert a.attribute(path, cmbs.MEMBER_STATE) == "active"
    for _ in range(2):
        assert a.act(path, "stop") == {"listening": {}}
    assert (a.attribute(path, cmbs.LISTENING), a.attribute(path, cmbs.MEMBER_STATE)) == ([], "inactive")


def test_all_layers_are_started_or_none(node, pair):
    """A socket that cannot be bound leaves the others as they were: those that listened, and those that did not."""
    _, b = pair
    path = cmbs.MEMBER_LOCATION + "b"
    b.broker.entities.update(path, Draft(attributes={"cmbs.member.l4_socket": "memory:a-l1"}))
    with pytest.raises(SocketUnavailable, match="memory:a-l1"):
        b.act(path, "start")
    assert b.attribute(path, cmbs.LISTENING) == ["l1", "l2"]
    assert b.act(path, "start_l31")["listening"].keys() == {"l1", "l2", "l31"}
    c = node("c")
    none = {f"cmbs.member.{layer}_socket": "" for layer in LAYERS}
    c.broker.entities.create(cmbs.MEMBER_LOCATION, [Draft(id="c", attributes=none)])
    with pytest.raises(InvalidRequest, match="no socket for any layer"):
        c.act(cmbs.MEMBER_LOCATION + "c", "start")


def test_a_federation_is_found_from_one_neighbor(node):
    """check_neighbors finds everybody, reports who does not answer, and ends in spite of loops."""
    first, second, third = node("a"), node("b"), node("c")
    first.become("l1", neighbors=["memory:b-l1"])
    second.become("l1", neighbors=["memory:c-l1", "memory:a-l1"])
    third.become("l1", neighbors=["memory:dead"])
    third.act(cmbs.MEMBER_LOCATION + "c", "check_neighbors")
    second.act(cmbs.MEMBER_LOCATION + "b", "check_neighbors")
    report = first.act(cmbs.MEMBER_LOCATION + "a", "check_neighbors")
    assert {one["member"] for one in report["found"]} == {"b", "c"}
    assert {one.id for one in first.broker.members.all()} == {"a", "b", "c"}
    unreachable = third.act(cmbs.MEMBER_LOCATION + "c", "check_neighbors")["unreachable"]
    assert [one["socket"] for one in unreachable] == ["memory:dead"]


def test_a_waiting_send_ends_when_all_is_settled(pair):
    """The engine answers a wait as soon as no recipient is open, and at the latest when its seconds are over."""
    a, b = pair
    path = a.message("l2")
    a.act(path, "send_l2")
    answer = a.engine._calls.call("wait", {"message": path, "seconds": 10.0}, seconds=12)
    assert [row["state"] for row in answer.get("rows", [])] in (["delivered"], [])  # it may have been over before
    b.act(cmbs.MEMBER_LOCATION + "b", "stop_l2")
    a.act(path, "send_l2")
    assert a.engine._calls.call("wait", {"message": path, "seconds": 0.1}, seconds=2) == {}
    assert a.attribute(path, cmbs.STATE) == "sending"


def test_the_faulty_store_is_faulty():
    """The fault that these tests rely on is one."""
    store = FaultyStore()
    store.arm(Fault.UNAVAILABLE, "get")
    with pytest.raises(StoreUnavailable):
        store.get("x")


def test_what_takes_too_long_is_unavailable(node):
    """A call of the engine by the services of its own process fails as one of a front does, when it is not done in time."""
    one = node("a")
    one.engine._calls.operations["never"] = lambda _parameters: Future()
    with pytest.raises(EngineUnavailable, match="never is not done within"):
        one.engine._calls.call("never", {}, seconds=0.01)
