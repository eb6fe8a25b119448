"""What the ledger says after a deadline: nothing is denied that may be so, and what comes late corrects it."""

from contextlib import contextmanager

from pycmbs.broker import assemble_engine
from pycmbs.config import Settings
from pycmbs.engine import route as route_module
from pycmbs.errors import QueueFull
from pycmbs.occi import cmbs
from pycmbs.services.access import rules as allow
from pycmbs.transport.envelope import ACK, OUTCOME, decode
from pycmbs.transport.memory import MemoryTransport
from pycmbs.transport.transports import Transports
from tests.engine.test_engines import join, node, pair  # noqa: F401 - fixtures
from tests.harness import wait_until
from tests.services.world import fixed
from tests.store.faulty import Fault

CREATE = {"operation": "create", "target": cmbs.MESSAGE_LOCATION, "id": "made"}


def entry(node, path):  # noqa: F811
    """The ledger of a message with one recipient."""
    (found,) = node.attribute(path, cmbs.DELIVERIES)
    return found


@contextmanager
def held_back(node, *types):  # noqa: F811
    """What a node answers to messages, or of that these types, arrives when this is over."""
    reply, held = node.transport.reply, []

    def hold(peer, data):
        if decode(data).type in (types or (ACK, OUTCOME)):
            held.append((peer, data))
        else:
            reply(peer, data)

    node.transport.reply = hold
    yield held
    node.transport.reply = reply
    for peer, data in held:
        reply(peer, data)


def successor(dead, tmp_path, **changed):
    """Another engine on the store of one that is closed, as after a kill."""
    transports = Transports(["memory"], {"memory": lambda: MemoryTransport(dead.transport._network)})
    settings = Settings(home=tmp_path, poll=0.02, retry_first=0.02, retry_most=0.05, **changed)
    return assemble_engine(settings, dead.store, transports, tmp_path / "e2.sock")[0]


def test_what_was_refused_each_time_is_expired(node):  # noqa: F811
    """Every attempt was answered, and the recipient has nothing."""
    a, b = join(node("a", retry_first=60.0, retry_most=60.0), node("b"))  # so that none is under way at the deadline
    b.engine._inbound._layers_at = lambda _url: ()
    path = a.message("l2", deadline=2.0)
    a.act(path, "send_l2")
    assert a.settled(path) == "expired"
    assert entry(a, path)["attempts"] > 0


def test_what_could_never_be_sent_is_expired(pair):  # noqa: F811
    """Nothing left the broker."""
    a, _ = pair
    a.transport.refuse = QueueFull("full")
    path = a.message("l2", deadline=0.3)
    a.act(path, "send_l2")
    assert a.settled(path) == "expired"


def test_what_waits_behind_another_is_expired(pair):  # noqa: F811
    """It was never sent by this engine, and none before could have: that is certain."""
    a, b = pair
    b.act(cmbs.MEMBER_LOCATION + "b", "stop_l2")
    first = a.message("l2")
    a.act(first, "send_l2")
    wait_until(lambda: entry(a, first)["attempts"] > 0, what="an attempt")
    second = a.message("l2", "m2", deadline=0.3)
    a.act(second, "send_l2")
    assert a.settled(second) == "expired"
    assert entry(a, second)["reason"] == "it does not listen on l2 now: gave up after 0 attempts"


def test_a_late_answer_corrects_the_ledger(pair):  # noqa: F811
    """The recipient has it: the message is delivered, late, however it was summed up before."""
    a, b = pair
    with held_back(b):
        path = a.message("l1", l1_socket_receiver_member="memory:b-l1", deadline=0.3)
        a.act(path, "send_l1")
        assert a.settled(path) == "unknown"
    wait_until(lambda: a.attribute(path, cmbs.STATE) == "delivered", what="the correction")
    assert (entry(a, path)["state"], entry(a, path)["reason"]) == ("delivered", "delivered late")
    assert a.attribute(path, cmbs.RESULT)["member_description"]["id"] == "b"


def test_an_answer_to_an_earlier_attempt_counts(pair, monkeypatch):  # noqa: F811
    """Though another one is under way: it is delivered, and not sent any more."""
    a, b = pair
    monkeypatch.setattr(route_module, "_ANSWER_SECONDS", 0.05)
    with held_back(b) as held:
        path = a.message("l2")
        a.act(path, "send_l2")
        wait_until(lambda: entry(a, path)["attempts"] > 0 and held, what="an attempt")
        del held[1:]
    assert a.settled(path) == "delivered"
    assert "reason" not in entry(a, path)


def test_a_late_outcome_corrects_the_ledger(pair):  # noqa: F811
    """What was executed is executed, though no one waited for it any more."""
    a, b = pair
    b.broker.access._rules = fixed(allow.parse("* * *"))
    with held_back(b, "outcome"):
        path = a.message("l2", message_content=CREATE, deadline=0.5)
        a.act(path, "send_l2")
        assert a.settled(path) == "delivered"
        assert entry(a, path)["reason"] == "no outcome came before the deadline"
    wait_until(lambda: a.attribute(path, cmbs.STATE) == "executed", what="the correction")
    assert entry(a, path)["result"] == {"location": cmbs.MESSAGE_LOCATION + "made"}


def test_what_an_earlier_engine_may_have_sent_is_unknown(pair, tmp_path, monkeypatch):  # noqa: F811
    """Killed in the time in which an answer is waited for, with nothing noted: the next one does not say that it was never
    sent, also of what it does not get to send itself."""
    a, b = pair
    monkeypatch.setattr(route_module, "_ANSWER_SECONDS", 60.0)
    with held_back(b) as held:
        paths = [a.message("l2", f"m{number}", deadline=1.0) for number in range(2)]
        for path in paths:
            a.act(path, "send_l2")
        wait_until(lambda: len(held) == 2, what="two acknowledgements")
        a.engine.close()
        b.engine.close()
        assert [entry(a, path)["attempts"] for path in paths] == [0, 0]
        engine = successor(a, tmp_path)
        engine.start()
        assert [a.settled(path) for path in paths] == ["unknown", "unknown"]
        engine.close()
        held.clear()
    assert [b.attribute(path, cmbs.STATE) for path in paths] == ["received", "received"]


def test_attempts_survive_a_store_that_is_away(pair):  # noqa: F811
    """What was sent while the ledger could not be written is noted when it can."""
    a, b = pair
    with held_back(b):
        path = a.message("l2", deadline=3.0)
        a.store.before_write = None
        a.act(path, "send_l2")
        wait_until(lambda: b.attribute(path, cmbs.STATE) == "received", what="an arrival")
        a.store.arm(Fault.UNAVAILABLE, "write")
        wait_until(lambda: a.store.failures > 1, what="attempts that cannot be noted")
        a.store.disarm()
        wait_until(lambda: entry(a, path)["attempts"] > 0, what="attempts")
    assert a.settled(path) == "delivered"


def test_what_is_overdue_is_not_sent(pair):  # noqa: F811
    """Not even once: the recipient would have to refuse it."""
    a, b = pair
    a.engine._outbound._sweep = lambda: None
    sent = []
    send = a.transport.send
    a.transport.send = lambda url, data: sent.append(data) or send(url, data)
    b.act(cmbs.MEMBER_LOCATION + "b", "stop_l2")
    path = a.message("l2", deadline=0.000001)
    a.act(path, "send_l2")
    assert a.settled(path) == "expired"
    assert not [data for data in sent if b'"type":"message"' in data[:60]]
