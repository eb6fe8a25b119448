"""Members with keys that cannot reach each other directly: others pass on what is sealed, and can do nothing with it."""

import json

import pytest
from msgspec.structs import replace

from pycmbs.engine.probes import Way
from pycmbs.errors import ForgedSender, NoRoute
from pycmbs.occi import cmbs
from pycmbs.services.access import rules as allow
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import MESSAGE, PROBE, Envelope, decode, encode
from tests.engine.test_engines import node  # noqa: F401 - fixture
from tests.engine.test_executing import CREATE
from tests.engine.test_relaying import alive, make
from tests.harness import wait_until
from tests.services.world import fixed

SEALED = {"sealed": "x"}


@pytest.fixture
def line(node):  # noqa: F811
    """Three members with keys, of which a and c reach each other through b only."""
    nodes = {name: node(name, keyed=True) for name in "abc"}
    for one in nodes.values():
        one.trust(*(other for other in nodes.values() if other is not one))
    for one in nodes.values():
        one.become("l1", "l2", "l31")
    for name, one in nodes.items():
        wait_until(lambda one=one, name=name: alive(one) == set("abc") - {name}, 20, f"{name} reaches all")
    nodes["a"].transport.blocked, nodes["c"].transport.blocked = ("memory:c-",), ("memory:a-",)
    via = lambda one, other: (health := one.broker.health.of(other)) and health.state == "alive" and health.via  # noqa: E731
    wait_until(lambda: via(nodes["a"], "c") == "b" == via(nodes["c"], "a"), 20, "the way through b")
    return nodes


def test_a_relay_sees_the_layer_and_the_size(line):
    """What is sent through it is delivered, acknowledged and in the path_history; of its content it sees nothing."""
    a, b, c = line.values()
    seen = []
    send, reply = b.transport.send, b.transport.reply
    b.transport.send = lambda url, data, **more: (seen.append(data), send(url, data, **more))[1]
    b.transport.reply = lambda peer, data: (seen.append(data), reply(peer, data))[1]
    for sender, other in ((a, c), (c, a)):
        path = sender.message("l31", f"from-{sender.name}", providers=[other.name])
        sender.act(path, "send_l31")
        assert sender.settled(path) == "delivered"
        assert other.attribute(path, cmbs.PATH_HISTORY) == [cmbs.urn(sender.name), cmbs.urn("b")]
        assert other.attribute(path, cmbs.CONTENT) == f"content of from-{sender.name}"
    path = a.message("l1", "first", l1_socket_receiver_member="memory:c-l1")
    a.act(path, "send_l1")
    assert a.settled(path) == "delivered"
    assert a.attribute(path, cmbs.RESULT)["member_description"]["id"] == "c"
    c.broker.access._rules = fixed(allow.parse("* * *"))
    path = a.message("l31", "order", providers=["c"], message_content=CREATE)
    a.act(path, "send_l31")
    assert a.settled(path) == "executed"

    def passed():
        return [one for one in map(decode, seen) if {one.sender, one.to} == {"a", "c"}]

    wait_until(lambda: {one.type for one in passed()} >= {"message", "ack", "outcome", "probe", "alive"}, 20)
    for one in passed():
        assert one.body.keys() == ({"layer", "sealed"} if one.type == MESSAGE else {"sealed"})
    assert not any(b"content of" in data for data in seen)


def test_a_relay_cannot_acknowledge_alter_or_say_again(line):
    """What it makes of a message is refused or dropped; the sender sends it again until the recipient's own answer has come."""
    a, b, c = line.values()
    send, reply = b.transport.send, b.transport.reply
    kept, honest = [], []

    def hostile_send(url, data, **more):
        envelope = decode(data)
        if envelope.type == MESSAGE and envelope.to == "c" and not honest:
            kept.append(data)
            sealed = envelope.body["sealed"]
            data = encode(replace(envelope, body={**envelope.body, "sealed": sealed[:-8] + "AAAAAAA="}))
        return send(url, data, **more)

    def hostile_reply(peer, data):
        envelope = decode(data)
        if kept and not honest and envelope.type not in ("alive", "welcome"):
            for sender in ("c", "b"):  # an acknowledgement, in its name and in the other's
                reply(peer, encode(Envelope("ack", envelope.id, sender, {"status": "delivered"})))
        return reply(peer, data)

    b.transport.send, b.transport.reply = hostile_send, hostile_reply
    path = a.message("l31", "kept", providers=["c"])
    a.act(path, "send_l31")
    wait_until(lambda: len(kept) > 2, 20, "tries")
    assert a.attribute(path, cmbs.STATE) == "sending"
    assert c.attribute(path, cmbs.CONTENT) is None
    honest.append(True)
    assert a.settled(path) == "delivered"
    for _ in range(3):  # what it kept, it says again: there is one message
        send("memory:c-l31", kept[0], peer="c")
    later = a.message("l31", "later", providers=["c"])
    a.act(later, "send_l31")
    assert a.settled(later) == "delivered"
    assert sorted(c.broker.entities.find(cmbs.MESSAGE_LOCATION)) == sorted([path, later])


def test_a_relay_cannot_say_that_the_dead_are_alive(line):
    """However it answers probes in another's name."""
    a, b, _ = line.values()
    reply, send = b.transport.reply, b.transport.send
    old = []

    def hostile_reply(peer, data):
        envelope = decode(data)
        if envelope.type == "alive" and envelope.sender == "c":
            old.append(envelope)  # what it said when it was alive
        elif envelope.type == "refusal":
            for said in ({"version": 1}, old[-1].body if old else {}):
                reply(peer, encode(Envelope("alive", envelope.id, "c", said, to="a")))
        reply(peer, data)

    b.transport.reply = hostile_reply
    wait_until(lambda: old, 20, "an answer of c's")

    def to_nobody(url, data, **more):
        if decode(data).to == "c":
            raise NoRoute("it is dead")
        return send(url, data, **more)

    b.transport.send = to_nobody
    wait_until(lambda: a.broker.health.of("c").state == "dead", 20, "that c is dead")


def passing(who, envelope):
    """What a relay does with an envelope that this member sent."""
    relay, wire = make({"c": Way("memory:c", "")})
    relay.forward("b", Arrival("memory:b-l1", b"", "peer", who=who), envelope)
    return wire.sent


@pytest.mark.parametrize(
    ("who", "path", "body", "error"),
    [
        ("a", (), SEALED, None),
        ("x", ("x",), SEALED, None),
        ("a", (), {}, NoRoute),
        ("a", (), {"sealed": 1}, NoRoute),
        ("x", (), SEALED, ForgedSender),
        ("a", ("x",), SEALED, ForgedSender),
        ("x", ("x", "y"), SEALED, ForgedSender),
        (None, (), {}, None),
    ],
)
def test_what_is_passed_on(who, path, body, error):
    """With keys what is sealed, from its sender or from the one that passed it on last."""
    envelope = Envelope(PROBE, "1", "a", body, to="c", path=path)
    if error is None:
        assert len(passing(who, envelope)) == 1
    else:
        with pytest.raises(error):
            passing(who, envelope)


def test_a_refusal_on_the_way_is_the_relays_own():
    """It is told as such, and never for good; any other answer that is not sealed goes nowhere."""
    relay, wire = make({"c": Way("memory:d", "d")})
    relay.forward("b", Arrival("memory:b-l1", b"", "peer", who="a"), Envelope(PROBE, "1", "a", SEALED, to="c"))
    ((_, passed),) = wire.sent
    assert not relay.answered("memory:d", Envelope("alive", passed.id, "c", {}))
    assert relay.answered(
        "memory:d", Envelope("refusal", passed.id, "d", {"error": {"code": "no-route"}, "final": True})
    )
    assert relay.answered("memory:d", Envelope("alive", passed.id, "c", SEALED, to="a"))
    told = [(one.type, one.id, one.sender, one.body) for _, one in wire.replied]
    assert told == [
        ("refusal", "1", "b", {"error": {"code": "no-route"}, "final": False}), ("alive", "1", "c", SEALED),
    ]  # fmt: skip
    assert json.loads(encode(wire.replied[1][1]))["to"] == "a"
