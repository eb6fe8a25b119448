"""Whatever a stranger, or a member about another, says in any order: the other's description, rows, health and keys stay."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pycmbs.broker import assemble_engine
from pycmbs.config import Settings
from pycmbs.engine import route as route_module
from pycmbs.engine.quotas import Verdict
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.services.federation.health import ALIVE, Health
from pycmbs.services.federation.keys import KeyPair, OwnKeys, new_curve, own_keys, text_of
from pycmbs.services.federation.ring import Trust
from pycmbs.services.federation.seals import Seals
from pycmbs.services.federation.statements import DEPARTURE, DESCRIPTION, certify, state
from pycmbs.services.records.deliveries import DELIVERY, delivery_from
from pycmbs.store.base import Query
from pycmbs.transport import envelope as wire
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import Envelope, encode
from pycmbs.transport.memory import MemoryNetwork, MemoryTransport
from pycmbs.transport.transports import Transports
from tests.services.world import CATEGORIES
from tests.store.faulty import FaultyStore

URL = "memory:{}-l1"
TYPES = (wire.HELLO, wire.WELCOME, wire.PROBE, wire.ALIVE, wire.LEAVE, wire.MESSAGE, wire.INQUIRY, wire.OUTCOME, wire.ACK,
         wire.REFUSAL, "strange")  # fmt: skip
CALLED = ("b", "c", "own", "", "x", "urn:uuid:c", "invite/1")


class Someone(NamedTuple):
    """A member elsewhere: what it can sign."""

    id: str
    keys: OwnKeys
    certificate: dict[str, str]

    def describes(self, id: str, version: int, url: str, **changed: Any) -> dict[str, Any]:
        """A description that it signed."""
        attributes = {cmbs.socket_attribute(layer): url for layer in ("l1", "l2")}
        description = {"kind": cmbs.MEMBER, "id": id, "attributes": attributes}
        said = {"version": version, "instance": f"{id}-1", "curve": [text_of(self.keys.curve.public)]}
        signed = state(self.keys, DESCRIPTION, id, {"description": description, **said, **changed})
        return {**signed, "certificates": [self.certificate]}


class World:
    """A broker that knows b and c, has sent c something, and is told things."""

    def __init__(self, home: Path) -> None:
        settings = Settings(home=home, retry_first=1000, retry_most=1000, members="closed")
        keys = own_keys(home)
        self.ring = Trust(home, keys, lambda: self.broker.members)
        self.store = FaultyStore()
        transports = Transports(["memory"], {"memory": lambda: MemoryTransport(MemoryNetwork(), self.ring)})
        self.engine, self.broker = assemble_engine(settings, self.store, transports, home / "e.sock", trust=self.ring)
        transports.start(lambda _: None)
        self.broker.categories.ship(CATEGORIES)
        own = {f"{layer}_socket": URL.format("own") for layer in ("l1", "l2")}
        self.broker.entities.create(cmbs.MEMBER_LOCATION, [Draft(id="own", attributes={"cmbs": {"member": own}})])
        self.b, self.c = (self.someone(id, keys) for id in ("b", "c"))
        self.old = self.c.describes("c", 5, URL.format("old"))
        self.genuine = self.c.describes("c", 7, URL.format("c"))
        self.broker.federation.learn(self.b.describes("b", 5, URL.format("b")), by="b")
        self.broker.federation.learn(self.genuine, by="c")
        self.broker.health.record({id: Health(ALIVE, 1.0) for id in ("b", "c")})
        self.engine._probes._load()
        given = {"cmbs": {"message": {"message_content": "x", "l1_socket_receiver_member": URL.format("c")}}}
        self.broker.entities.create(
            cmbs.MESSAGE_LOCATION, [Draft(id="m1", mixins=(cmbs.mixin("l1"),), attributes=given)]
        )
        self.broker.entities.act(f"{cmbs.MESSAGE_LOCATION}m1", Invocation("send_l1"))
        outbound = self.engine._outbound
        outbound.wake()
        outbound._turn(outbound._events.take(0.0, lambda _: None, lambda _: None))
        self.flights = tuple(self.engine._outbound._traffic._flights)
        assert self.flights
        self.before = self.about()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine._transports.close()
        self.engine._control.close()
        self.engine._control._listener.close()

    def someone(self, id: str, issuer: OwnKeys) -> Someone:
        from nacl.signing import SigningKey

        key = SigningKey.generate()
        keys = OwnKeys(KeyPair(bytes(key), bytes(key.verify_key)), new_curve())
        return Someone(id, keys, certify(issuer, id, keys.identity.public, 4e9, may_invite=False))

    def about(self) -> Any:
        """All that is known of c, and of what it was sent; and of the own member."""
        roster = self.broker.members.now()
        rows = [delivery_from(one).unsettled for one in self.store.find(Query(DELIVERY))]
        known = [copy.deepcopy((one.attributes, one.private)) for one in (roster.by_id["c"], roster.own) if one]
        curve, health = self.c.keys.curve.public, self.broker.health.of("c")
        keys = self.ring.identity("c"), self.ring.who(curve), self.ring.key_at("", "c")
        route = self.engine._outbound._traffic._flights.keys()
        return known, rows, health, keys, sorted(route), self.broker.federation.departures.known().keys() & {"c", "own"}

    def hears(self, who: str, envelope: Envelope, link: str) -> None:
        """Something arrives from b, or from a guest; with a ``link`` it is an answer."""
        data = encode(envelope)
        if link:
            self.engine._outbound._turn([Arrival(link, data, None, answer=True, who=who)])
        else:
            self.engine._inbound._take([(Arrival(URL.format("own"), data, None, who=who), Verdict.TAKEN)])
        for event in self.engine._probes._events.turn(1000, 10_000, 0):
            if event is not None:
                self.engine._probes._take_up(event)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything is said to the same one: nothing of it may leave a trace."""
    with pytest.MonkeyPatch.context() as patch, World(tmp_path_factory.mktemp("home")) as made:
        patch.setattr(
            route_module, "_ANSWER_SECONDS", 1e6
        )  # what was sent stays under way, so that answers to it count
        yield made


@st.composite
def told(draw: st.DrawFn, world: World) -> dict[str, Any]:
    """A description of c, or of others, by b: signed by it, by nobody, or by c and altered, or old."""
    id = draw(st.sampled_from(["c", "own", "b", "x"]))
    version = draw(st.sampled_from([0, 5, 7, 8, 10**15, 10**30, -1]))
    key = draw(st.sampled_from([world.c, world.b])).keys.curve.public
    signed = world.b.describes(id, version, URL.format("evil"), curve=[text_of(key)])
    data = base64.urlsafe_b64decode(world.genuine["signed"] + "==")
    altered = {**world.genuine, "signed": text_of(data.replace(b":7,", b":9,"))}
    plain = {"description": {"kind": cmbs.MEMBER, "id": id, "attributes": {}}, "version": version, "instance": "c-1"}
    swapped = {**signed, "certificates": [world.c.certificate]}
    mixed = [{**world.genuine, **plain}, {**world.genuine, "sig": ""}]
    pieces = [signed, altered, plain, swapped, world.old, world.genuine, *mixed]
    return draw(st.sampled_from(pieces))


@st.composite
def body(draw: st.DrawFn, world: World) -> dict[str, Any]:
    """What an envelope may say."""
    version = draw(st.sampled_from([0, 5, 7, 8, 10**15, 10**30]))
    instance = draw(st.sampled_from(["c-1", "", "other"]))
    farewells = [
        state(world.b.keys, DEPARTURE, "c", {"version": version, "instance": instance}),
        state(world.c.keys, DEPARTURE, "c", {"version": 5, "instance": "c-1"}),  # of an earlier life
        {"signed": "AAAA", "sig": "AAAA"},
    ]
    introduction = draw(st.one_of(told(world), st.just({})))
    more = {
        "members": draw(st.lists(told(world), max_size=3)),
        "left": {"c": version, "own": version},
        "left_instances": {"c": instance},
        "farewells": draw(st.lists(st.sampled_from(farewells), max_size=2)),
        "known": {"c": version, "own": version},
        "life": "l1", "version": version, "instance": instance, "sockets_l1": [URL.format("evil")],
        "layer": "l1", "round": 1, "deadline": 9, "digest": "x", "knows": version,
        "message": draw(st.sampled_from([{"id": "m1"}, "m1", {"kind": cmbs.MESSAGE, "id": "m1", "attributes": {}}])),
        "status": "delivered", "outcome": {"result": 1}, "reply": {}, "error": {"code": "departed", "id": "own"}, "final": True,
        "joins": {"signed": "c a b c", "signature": ""},
    }  # fmt: skip
    kept = draw(st.sets(st.sampled_from(sorted(more))))
    return {
        **{name: more[name] for name in kept},
        **introduction,
        **draw(st.sampled_from([{}, farewells[0], farewells[1]])),
    }


@st.composite
def said(draw: st.DrawFn, world: World) -> tuple[str, Envelope, str]:
    """By whom, what, and over which link if it is an answer."""
    sender, to = draw(st.sampled_from(CALLED)), draw(st.sampled_from(["", "own", "c"]))
    id = draw(st.sampled_from(["i", *world.flights]))
    path = draw(st.sampled_from([(), ("c",), ("b",), ("b", "c")]))
    one = Envelope(draw(st.sampled_from(TYPES)), id, sender, draw(body(world)), to=to, path=path)
    if draw(st.booleans()) and to:
        seals = Seals(world.b.keys, world.ring.identity, lambda: "b")
        one = Envelope(one.type, one.id, one.sender, seals.closed(one).body, to=to, path=path)
    return (
        draw(st.sampled_from(["b", "b", "invite/1"])),
        one,
        draw(st.sampled_from(["", URL.format("b")])),  # over a link to c nobody but c answers: it is for its key
    )


@st.composite
def tells(draw: st.DrawFn, world: World) -> tuple[str, Envelope, str]:
    """What b may say, as itself, that is about others."""
    told_of = {"members": draw(st.lists(told(world), min_size=1, max_size=3)), **draw(body(world))}
    introduction = world.b.describes("b", 5, URL.format("b"))
    type = draw(st.sampled_from([wire.HELLO, wire.HELLO, wire.LEAVE, wire.MESSAGE, wire.PROBE]))
    return "b", Envelope(type, "i", "b", draw(st.sampled_from([{**told_of, **introduction}, told_of]))), ""


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_nobody_changes_another(world: World, data: st.DataObject) -> None:
    """What b says in its own name or another's, in any order, sealed or not, as question or as answer."""
    for who, envelope, link in data.draw(st.lists(said(world) | tells(world), min_size=1, max_size=6)):
        world.hears(who, envelope, link)
        assert world.about() == world.before, (who, envelope, link)


def test_what_it_says_itself_counts(tmp_path: Path) -> None:
    """Otherwise the test before would say nothing: the same words by c are believed, and its farewell by whomever."""
    with World(tmp_path) as world:
        _itself(world)


def _itself(world: World) -> None:
    world.hears("c", Envelope(wire.ACK, world.flights[0], "c", {"status": "delivered"}), URL.format("c"))
    world.hears("c", Envelope(wire.HELLO, "i", "c", world.c.describes("c", 8, URL.format("new"))), "")
    assert world.broker.members.by_id("c").attributes[cmbs.socket_attribute("l1")] == URL.format("new")
    known = state(world.c.keys, DEPARTURE, "c", {"version": 8, "instance": "c-1"})
    assert [delivery_from(one).state for one in world.store.find(Query(DELIVERY))] == ["delivered"]
    world.hears("b", Envelope(wire.HELLO, "i", "b", {"farewells": [known]}), "")
    assert world.broker.members.by_id("c") is None
