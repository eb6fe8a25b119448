"""A closed federation in which a member lies: what it says of another, or answers for it, changes nothing of that one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from pycmbs.services.federation.keys import OwnKeys, fingerprint, own_keys, text_of
from pycmbs.services.federation.revocations import FINGERPRINTS, REVOCATION, STATEMENTS
from pycmbs.services.federation.statements import certify, state
from tests.harness import Broker, wait_until
from tests.keyed import Door, Keyed, command, refusal, trusting
from tests.peer import version
from tests.system.test_answers import rows
from tests.system.test_floods import MB, MOST_GROWTH, memory

Start = Callable[..., Broker]
CLOSED = (
    "--workers",
    "1",
    "--members",
    "closed",
    "--retry-first",
    "0.1",
    "--retry-most",
    "0.3",
    "--probe-interval",
    "0.3",
)


@pytest.fixture(scope="module")
def one(start_shared: Start) -> Broker:
    """A closed broker, which trusts whom it vouches for itself."""
    broker = start_shared(*CLOSED, "--poll", "0.1")
    broker.become("l1", "l2")
    return broker


def tells(bearer: Keyed, broker: Broker, **told: Any) -> None:
    """A greeting in which a member says this of others, until it was heard."""
    answer = bearer.ask(broker, "hello", bearer.introduction(**told), seconds=20)
    assert answer is not None
    assert answer["type"] == "welcome", answer
    assert bearer.ask(broker, "probe", {}, seconds=20)


def test_nobody_answers_for_another_member(one: Broker) -> None:
    """Neither that it has a message, nor that it refuses it, nor what came of it, over whatever connection it is said."""
    with Door() as honest, Door() as liar:
        trusting(one, honest.keyed, liar.keyed)
        for peer in (honest, liar):
            assert peer.keyed.ask(one, "hello", peer.introduction())
        path = one.message("l2", "x")
        one.ok("POST", f"{path}?action=send_l2", {})
        (to, asked), (door, other) = honest.next("message"), liar.next("message")
        refused = {"error": {"code": "not-allowed", "message": "no"}, "final": True}
        for type, body in (("ack", {"status": "delivered"}), ("refusal", refused), ("outcome", {"outcome": {}})):
            liar.answer(door, asked, type, body, **{"from": honest.id})
            liar.answer(door, asked, type, body)
            answer = liar.keyed.ask(one, type, body, seconds=5, id=asked["id"], **{"from": honest.id})
            assert refusal(answer)[1] == "forged-sender"
        liar.answer(door, other, "ack", {"status": "delivered"})
        wait_until(lambda: rows(one, path)[liar.id]["state"] == "delivered", what="its own answer counts")
        assert rows(one, path)[honest.id]["state"] in ("sent", "pending")  # it is tried again
        honest.says["message"] = ("ack", {"status": "delivered", "executing": True})
        honest.answer(to, asked, *honest.says["message"])
        wait_until(lambda: rows(one, path)[honest.id]["state"] == "delivered", what="the right answer counts")
        forged = {"outcome": {"result": "forged"}}
        liar.answer(door, asked, "outcome", forged, **{"from": honest.id})
        assert liar.keyed.ask(one, "outcome", forged, id=asked["id"])
        to, inquiry = honest.next("inquiry")
        assert rows(one, path)[honest.id]["state"] == "delivered"
        honest.answer(to, inquiry, "outcome", {"outcome": {"result": "true"}})
        wait_until(lambda: rows(one, path)[honest.id]["state"] == "executed", what="the outcome of the right one")
        assert rows(one, path)[honest.id]["result"] == "true"


def _certificate(issuer: OwnKeys, keyed: Keyed, id: str = "", *, until: float = 4e9, **said: bool) -> dict[str, str]:
    return certify(issuer, id or keyed.id, bytes(keyed.identity.verify_key), until, **{"may_invite": False, **said})


def test_a_certificate_is_for_one_member_while_it_stands(one: Broker) -> None:
    """Expired, altered, for another id or identity, by a member that may not invite, or by one that was revoked, it lets nobody
    in; nor does one that a member signed for itself."""
    issuer, bearer = own_keys(one.home), Keyed()
    trusting(one, bearer)
    deputy = Keyed().vouched(issuer, may_invite=True)
    simple = Keyed().vouched(issuer)
    second = Keyed()
    second.certificates = [_certificate(deputy.keys, second, may_invite=True), *deputy.certificates]
    shown: list[tuple[Keyed, list[dict[str, str]]]] = []
    for make in (
        lambda one_: [_certificate(issuer, one_, until=1.0)],
        lambda one_: [_certificate(issuer, one_, bearer.id)],
        lambda _: bearer.certificates + simple.certificates,
        lambda one_: [{**_certificate(issuer, one_), "sig": simple.certificates[0]["sig"]}],
        lambda one_: [{**_certificate(issuer, one_), "sig": ""}],
        lambda one_: [_certificate(one_.keys, one_)],
        lambda one_: [_certificate(one_.keys, one_, may_invite=True), _certificate(one_.keys, one_)],
        lambda one_: [_certificate(simple.keys, one_), *simple.certificates],
        lambda one_: [_certificate(second.keys, one_), *second.certificates],
        lambda one_: [_certificate(deputy.keys, one_), {**deputy.certificates[0], "sig": ""}],
        lambda one_: [_certificate(deputy.keys, one_)],
    ):
        guest = Keyed()
        guest.certificates = make(guest)
        shown.append((guest, guest.certificates))
    tells(bearer, one, members=[guest.introduction() for guest, _ in shown])
    assert one.known().isdisjoint(guest.id for guest, _ in shown)
    assert all(guest.ask(one, "probe", {}, seconds=0.2) is None for guest, _ in shown)
    # One that stands does; and no longer when the member that gave it is revoked.
    first, late = Keyed(), Keyed()
    for guest in (first, late):
        guest.certificates = [_certificate(deputy.keys, guest), *deputy.certificates]
    tells(bearer, one, members=[deputy.introduction(), first.introduction()])
    assert {deputy.id, first.id} <= one.known()
    assert "is revoked" in command(one.home, "member", "revoke", deputy.id)
    wait_until(lambda: deputy.id not in one.known(), 20, "it is out")
    moved = first.introduction(version=version(60), socket="tcp://127.0.0.1:10")
    tells(bearer, one, members=[late.introduction(), moved])
    assert late.id not in one.known()
    assert one.attributes(f"/cmbs/member/{first.id}", "member")["l1_socket"] == "tcp://127.0.0.1:9"
    assert one.attributes(f"/cmbs/member/{first.id}", "member")["trust"] == {"state": "untrusted"}
    for guest in (deputy, first, late):
        assert guest.ask(one, "probe", {}, seconds=0.5) is None


def test_what_is_said_of_another_puts_it_neither_out_nor_elsewhere(one: Broker) -> None:
    """Not that it left, not that it is revoked, unless who says so may; nor which version of it there is."""
    friend, liar = Keyed(), Keyed()
    trusting(one, friend, liar)
    assert friend.ask(one, "hello", friend.introduction())
    before = one.attributes(f"/cmbs/member/{friend.id}", "member")["l1_socket"]
    identity, own = bytes(friend.identity.verify_key), own_keys(one.home).identity.public
    said = {"identity": text_of(identity), "issuer": text_of(bytes(liar.identity.verify_key))}
    revocations = [
        state(liar.keys, REVOCATION, friend.id, said),
        state(liar.keys, REVOCATION, friend.id, {**said, "issuer": text_of(own)}),
        {**state(liar.keys, REVOCATION, friend.id, said), "sig": ""},
        state(liar.keys, REVOCATION, one.member, {**said, "identity": text_of(own)}),
    ]
    as_of = version(3000)
    for told in (
        {"left": {friend.id: as_of}, "left_instances": {friend.id: ""}},
        {"farewells": [liar.farewell(friend.id, version=as_of), {**friend.farewell(), "sig": ""}]},
        {"known": {friend.id: as_of, one.member: as_of}},
        {FINGERPRINTS: [fingerprint(identity), fingerprint(own)], STATEMENTS: revocations},
    ):
        tells(liar, one, **told)
        assert friend.id in one.known()
        assert friend.ask(one, "probe", {})
    assert one.attributes(f"/cmbs/member/{friend.id}", "member")["l1_socket"] == before
    assert not (one.home / "revoked").exists() or friend.id not in (one.home / "revoked").read_text()


@pytest.mark.parametrize("url", ["ipc:///tmp/pycmbs-x.sock", "inproc://x", "inproc://zeromq.zap.01"])
def test_a_signed_address_leads_to_another_machine(one: Broker, url: str) -> None:
    """One that leads nowhere but within this machine is refused, whether its member tells it or others do."""
    bearer, guest = Keyed(), Keyed()
    trusting(one, bearer, guest)
    assert refusal(guest.ask(one, "hello", guest.introduction(socket=url)))[:2] == ("refusal", "invalid-address")
    tells(bearer, one, members=[guest.introduction(socket=url)], sockets_l1=[url])
    assert guest.id not in one.known()


def test_a_member_that_floods_fills_nothing(one: Broker) -> None:
    """Lists of a hundred thousand, and more than a datagram may be: they are bounded, refused or cut off, and a probe of
    another member is answered beside them."""
    flood, other = Keyed(), Keyed()
    trusting(one, flood, other)
    engine = one.pid("engine")
    before, size = memory(engine), (one.home / "pycmbs.db").stat().st_size
    many = {f"ghost-{number}": version() for number in range(100_000)}
    urls = [f"tcp://192.0.2.1:{1 + number % 60_000}" for number in range(100_000)]
    greeting = flood.introduction()
    for told in ({"left": many}, {"known": many}, {"sockets_l1": urls[:1] * 100_000}, {"members": [{}] * 100_000},
                 {"farewells": [{}] * 100_000}, {STATEMENTS: [{}] * 100_000, FINGERPRINTS: list(many)}):  # fmt: skip
        data = {"cmbs": 1, "type": "hello", "id": "x", "from": flood.id, "body": {**greeting, **told}}
        _send(flood, one, json.dumps(data).encode())
        assert other.ask(one, "probe", {}, seconds=20)
    for content in (b"[]," * (20 * MB), b'"' + b"x" * (60 * MB) + b'"'):
        _send(flood, one, b'{"cmbs":1,"type":"message","id":"x","from":"x","body":{"a":[' + content + b"]}}")
        assert other.ask(one, "probe", {}, seconds=20)
    assert memory(engine) - before < MOST_GROWTH
    assert (one.home / "pycmbs.db").stat().st_size - size < 4 * MB
    assert not [id for id in one.known() if id.startswith("ghost")]
    assert one.pid("engine") == engine
    assert "Traceback" not in one.log()


def _send(keyed: Keyed, broker: Broker, data: bytes) -> None:
    """Send a datagram, and wait for what becomes of it: an answer, or the end of the connection."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.DEALER) as dealer, dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED) as monitor:
        dealer.linger = 0
        dealer.curve_secretkey, dealer.curve_publickey = bytes(keyed.key), bytes(keyed.key.public_key)
        dealer.curve_serverkey = own_keys(broker.home).curve.public
        dealer.connect(broker.socket("l1"))
        dealer.send(data, copy=False)
        poller = zmq.Poller()
        for one in (dealer, monitor):
            poller.register(one, zmq.POLLIN)
        assert poller.poll(20_000), "neither an answer nor an end"
