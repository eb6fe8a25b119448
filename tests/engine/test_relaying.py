"""Engines that cannot reach each other directly, in one process: others pass on what is meant for them."""

import pytest

from pycmbs.engine.probes import Way
from pycmbs.engine.relay import Relay
from pycmbs.errors import NoRoute
from pycmbs.occi import cmbs
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import MESSAGE, PROBE, Envelope, decode, encode
from tests.engine.test_engines import node  # noqa: F401 - fixture
from tests.harness import wait_until

ARRIVAL = Arrival("memory:b-l1", b"", "peer")


class Wire:
    """What a relay sends and replies."""

    def __init__(self):
        self.sent = []
        self.replied = []

    def send(self, url, data, *, apart, peer):
        assert apart == (decode(data).type != MESSAGE)
        self.sent.append((url, decode(data)))

    def reply(self, peer, data):
        self.replied.append((peer, decode(data)))


def make(ways, hops=3):
    """A relay that knows these ways, and its wire."""
    wire = Wire()
    return Relay(wire, wire.reply, lambda member, layer: ways.get(member) or ways.get((member, layer)), hops=hops), wire


def test_a_datagram_is_passed_on_and_its_answers_back():
    """What goes on names this member on its way; every answer goes to who asked, under the id it knows."""
    relay, wire = make({("c", "l2"): Way("memory:c-l2", "")})
    relay.forward("b", ARRIVAL, Envelope(MESSAGE, "1", "a", {"layer": "l2"}, to="c"))
    ((url, passed),) = wire.sent
    assert (url, passed.sender, passed.to, passed.path) == ("memory:c-l2", "a", "c", ("b",))
    for kind in ("ack", "outcome"):
        assert relay.answered("memory:c-l2", Envelope(kind, passed.id, "c", {"x": 1})) is True
    assert [(peer, one.type, one.id, one.sender) for peer, one in wire.replied] == [
        ("peer", "ack", "1", "c"), ("peer", "outcome", "1", "c"),
    ]  # fmt: skip
    assert relay.answered("memory:c-l2", Envelope("ack", "unknown", "c", {})) is False


def test_an_answer_of_another_is_not_passed_back():
    """An answer counts from the link that was taken and from the member that is meant; whoever was to pass it on may refuse."""
    relay, wire = make({("c", "l2"): Way("memory:d-l1", "d")})
    relay.forward("b", ARRIVAL, Envelope(MESSAGE, "1", "a", {"layer": "l2"}, to="c"))
    ((_, passed),) = wire.sent
    assert relay.answered("memory:x", Envelope("ack", passed.id, "c", {})) is False
    assert relay.answered("memory:d-l1", Envelope("ack", passed.id, "d", {})) is False
    assert wire.replied == []
    assert relay.answered("memory:d-l1", Envelope("refusal", passed.id, "d", {})) is True
    assert relay.answered("memory:d-l1", Envelope("ack", passed.id, "c", {})) is True


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(PROBE, "1", "a", {}, to="c", path=("b",)),  # it has been here
        Envelope(PROBE, "1", "b", {}, to="c", path=("a",)),  # it comes from here
        Envelope(PROBE, "1", "a", {}, to="d"),  # the way leads back to who sent it
        Envelope(PROBE, "1", "x", {}, to="d", path=("a",)),  # the way leads back to who passed it on
        Envelope(PROBE, "1", "a", {}, to="c", path=("x", "y", "z")),  # too many hops
        Envelope(PROBE, "1", "a", {}, to="nobody"),
    ],
)
def test_loops_are_impossible(envelope):
    """Nothing is passed on to where it has been, nor further than the limit, nor to whoever is not known."""
    relay, wire = make({("c", ""): Way("memory:c", ""), ("d", ""): Way("memory:a", "a")})
    with pytest.raises(NoRoute):
        relay.forward("b", ARRIVAL, envelope)
    assert wire.sent == []


def test_a_relay_remembers_so_many(monkeypatch):
    """What may still be answered is bounded in number: the oldest go first."""
    monkeypatch.setattr("pycmbs.engine.relay._MOST", 2)
    relay, wire = make({("c", ""): Way("memory:c", "")})
    for number in range(3):
        relay.forward("b", ARRIVAL, Envelope(PROBE, str(number), "a", {}, to="c"))
    assert [relay.answered("memory:c", Envelope("alive", one.id, "c", {})) for _, one in wire.sent] == [
        False,
        True,
        True,
    ]


def net(node, names, links):  # noqa: F811
    """Members on one network, where datagrams pass between those that are linked, and only there; each knows its links."""
    nodes = {name: node(name) for name in names}
    for name, one in nodes.items():
        reached = {other for link in links if name in link for other in link}
        one.transport.blocked = tuple(f"memory:{other}-" for other in names if other not in reached)
        one.become("l1", "l2", "l31", neighbors=[f"memory:{other}-l1" for other in sorted(reached - {name})])
    for name, one in nodes.items():
        everybody = set(names) - {name}
        wait_until(lambda one=one, everybody=everybody: alive(one) == everybody, 20, f"{name} reaches all")
    return nodes


def alive(one):
    """The ids of the members that are alive for it."""
    found = one.broker.members.all()
    return {member.id for member in found if (health := one.broker.health.of(member.id)) and health.state == "alive"}


LINE = ["ab", "bc", "cd"]
RING = ["ab", "bc", "cd", "de", "ea"]
STAR = ["ab", "ac", "ad"]


@pytest.mark.parametrize(
    ("names", "links", "sender", "ways"),
    [
        ("abcd", LINE, "a", {"b": ["a"], "c": ["ab"], "d": ["abc"]}),
        ("abcde", RING, "a", {"b": ["a"], "e": ["a"], "c": ["ab", "aed"], "d": ["ae", "abc"]}),
        ("abcd", STAR, "b", {"a": ["b"], "c": ["ba"], "d": ["ba"]}),
    ],
)
def test_everybody_gets_it_once(node, names, links, sender, ways):  # noqa: F811
    """In a line, a ring and a star an L2 message reaches each member once; its path_history is the way it took."""
    nodes = net(node, names, links)
    path = nodes[sender].message("l2")
    nodes[sender].act(path, "send_l2")
    assert nodes[sender].settled(path) == "delivered"
    for row in nodes[sender].attribute(path, cmbs.DELIVERIES):
        assert row.get("via", "") in {one[1:2] for one in ways[row["member"]]}, "the ledger says who passed it on first"
    for name, way in ways.items():
        assert nodes[name].attribute(path, cmbs.PATH_HISTORY) in ([*map(cmbs.urn, one)] for one in way)
        assert nodes[name].broker.entities.find(cmbs.MESSAGE_LOCATION) == [path]


def test_the_dead_relay_is_got_around(node):  # noqa: F811
    """When a member that passes things on stops doing so, another way is found, and what waits goes out on it."""
    nodes = net(node, "abcd", ["ab", "bd", "ac", "cd"])
    first = nodes["a"].broker.health.of("d").via
    nodes[first].transport.blocked = ("memory:",)
    path = nodes["a"].message("l31", providers=["d"])
    nodes["a"].act(path, "send_l31")
    assert nodes["a"].settled(path) == "delivered"
    other = ({"b", "c"} - {first}).pop()
    assert nodes["d"].attribute(path, cmbs.PATH_HISTORY) == [cmbs.urn("a"), cmbs.urn(other)]


def test_the_direct_way_is_taken_again(node):  # noqa: F811
    """Once the member itself can be reached, no one passes anything on any more."""
    nodes = net(node, "abc", ["ab", "bc"])
    assert nodes["a"].broker.health.of("c").via == "b"
    nodes["a"].transport.blocked = ()
    wait_until(lambda: nodes["a"].broker.health.of("c").via == "", 10, "the direct way")
    path = nodes["a"].message("l31", providers=["c"])
    nodes["a"].act(path, "send_l31")
    assert nodes["a"].settled(path) == "delivered"
    assert nodes["c"].attribute(path, cmbs.PATH_HISTORY) == [cmbs.urn("a")]


def test_check_neighbors_says_who_is_reached_through_whom(node):  # noqa: F811
    """The answer tells of members that do not answer themselves, and of the member through which they are reached."""
    nodes = net(node, "abc", ["ab", "bc"])
    report = nodes["a"].act(cmbs.MEMBER_LOCATION + "a", "check_neighbors")
    assert report["relayed"] == [{"member": "c", "socket": "memory:c-l1", "via": "b"}]
    assert report["unreachable"] == []


def test_a_datagram_for_another_member_is_not_taken(node):  # noqa: F811
    """What is meant for one member is never taken by another that happens to listen at its address."""
    nodes = net(node, "ab", ["ab"])
    got = []
    nodes["a"].transport.send("memory:b-l1", encode(Envelope(MESSAGE, "z", "a", {"layer": "l1"}, to="somebody")))
    keep = nodes["a"].engine._outbound.answer
    nodes["a"].engine._outbound.answer = lambda arrival: (got.append(decode(arrival.data)), keep(arrival))
    wait_until(lambda: [one for one in got if one.id == "z"], 5, "the refusal")
    (refusal,) = [one for one in got if one.id == "z"]
    assert refusal.body["error"]["code"] == "no-route"
