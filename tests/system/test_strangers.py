"""What someone says who has nothing but a raw socket: it moves, removes and stores nothing that it should not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.harness import Broker, free_port, is_free, wait_until
from tests.peer import Peer, version

Start = Callable[..., Broker]
FAST = ("--workers", "1", "--retry-first", "0.1", "--retry-most", "0.3", "--probe-interval", "0.3")
HOUR = 3600.0


@pytest.fixture(scope="module")
def one(start_shared: Start) -> Broker:
    """A broker that listens."""
    found = start_shared(*FAST, "--most-members", "40")
    found.become("l1", "l2")
    return found


@pytest.fixture
def peers() -> Iterator[Callable[..., Peer]]:
    """Makes members of raw sockets."""
    with ExitStack() as stack:
        yield lambda *args, **told: stack.enter_context(Peer(*args, **told))


def met(one: Broker, peer: Peer) -> Peer:
    """A peer that introduced itself, and is known."""
    assert peer.greet(one.socket("l1"))["type"] == "welcome"
    assert peer.id in one.known()
    return peer


def refused(answer: dict[str, Any], code: str) -> str:
    """The sentence of a refusal with this code."""
    assert (answer["type"], answer["body"]["error"]["code"]) == ("refusal", code), answer
    message: str = answer["body"]["error"]["message"]
    return message


def own_version(one: Broker) -> int:
    """The version in which the broker knows its own member."""
    with Peer() as asking:
        known = asking.ask(one.socket("l1"), "hello", {})["body"]["known"]
        found: int = known[one.member]
        return found


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"version": 2**63 - 1}, "invalid-request"),
        ({"version": 10**30}, "invalid-request"),
        ({"version": -1}, "invalid-request"),
        ({"version": "9"}, "invalid-request"),
        ({"version": None}, "invalid-request"),
        ({"version": True}, "invalid-request"),
        ({"instance": "another"}, "claimed-id"),
        ({"instance": ""}, "claimed-id"),
        ({"instance": None}, "claimed-id"),
    ],
)
def test_nobody_removes_another(one: Broker, peers: Callable[..., Peer], said: dict[str, Any], code: str) -> None:
    """A leave that is not of the known instance, or of no version that can be, is refused, and the member stays."""
    peer = met(one, peers())
    body = {"version": peer.told["version"], "instance": peer.told["instance"], **said}
    refused(peers().ask(one.socket("l1"), "leave", body, **{"from": peer.id}), code)
    assert peer.id in one.known()
    body = {name: peer.told[name] for name in ("version", "instance")}
    assert peer.ask(one.socket("l1"), "leave", body)["type"] == "ack"
    wait_until(lambda: peer.id not in one.known(), what="it left itself")


@pytest.mark.parametrize("ahead", [2 * HOUR, 1e12])
def test_the_own_version_stays_credible(one: Broker, peers: Callable[..., Peer], ahead: float) -> None:
    """What others say of the broker's own member, in whatever version, does not carry its version away."""
    stranger, before = peers(), own_version(one)
    own = stranger.ask(one.socket("l1"), "hello", {})["body"]
    echo = {name: own[name] for name in ("description", "instance", "sockets_l1")}
    body = {**echo, "version": version(ahead), "known": {one.member: version(ahead)}}
    refused(stranger.ask(one.socket("l1"), "hello", body), "invalid-request")
    told = {"known": {one.member: version(ahead)}, "members": [{**echo, "version": version(ahead)}]}
    assert stranger.ask(one.socket("l1"), "hello", told)["type"] == "welcome"
    assert own_version(one) == before


def test_what_is_hours_ahead_is_refused_and_its_messages_are_not(one: Broker, peers: Callable[..., Peer]) -> None:
    """A member whose clock is hours ahead is told so, and is not taken in; the messages that it sends are."""
    peer = peers(version=version(2 * HOUR))
    assert "ahead of the clock" in refused(peer.greet(one.socket("l1")), "invalid-request")
    message = {"kind": "http://houssem.org/cmbs#message", "id": peer.id, "attributes": {}}
    body = {"layer": "l2", "round": 1, "deadline": 60, "message": message, **peer.introduction()}
    assert peer.ask(one.socket("l2"), "message", body)["type"] == "ack"
    assert peer.id not in one.known()


def test_lists_of_strangers_are_bounded(one: Broker, peers: Callable[..., Peer]) -> None:
    """Thousands of departures, members and addresses in one greeting: no more are known than may be, nothing else is kept,
    and the broker answers at once."""
    peer = met(one, peers())
    ghosts = {f"ghost-{number}": 5 for number in range(5000)}
    greeting = {**peer.introduction(), "known": ghosts, "left": ghosts, "sockets_l1": ["tcp://127.0.0.1:1"] * 10_000}
    described = peer.introduction()["description"]
    greeting["members"] = [
        {"description": {**described, "id": id}, "version": 5, "instance": "x"} for id in list(ghosts)
    ]
    assert peer.ask(one.socket("l1"), "hello", greeting)["type"] == "welcome"
    assert peer.ask(one.socket("l1"), "probe", {}, to=one.member)["type"] == "alive"
    wait_until(lambda: len(one.known()) == 41, what="as many as may be are known")
    for id in one.known() - {one.member}:
        one.ok("DELETE", f"/cmbs/member/{id}")
    left = peer.ask(one.socket("l1"), "hello", {})["body"]["left"]
    assert not [id for id in left if id.startswith("ghost")]


@pytest.mark.parametrize("url", ["ipc:///tmp/pycmbs-x.sock", "inproc://x", "inproc://zeromq.zap.01"])
def test_others_have_no_say_in_local_sockets(one: Broker, peers: Callable[..., Peer], url: str) -> None:
    """A description with addresses that lead nowhere but within this machine is refused, whoever tells it."""
    peer = peers()
    told = peer.introduction()
    told["description"]["attributes"]["cmbs.member.l4_socket"] = url
    refused(peer.ask(one.socket("l1"), "hello", told), "invalid-address")
    asker = met(one, peers())
    assert asker.ask(one.socket("l1"), "hello", {**asker.introduction(), "members": [told]})["type"] == "welcome"
    assert peer.id not in one.known()


def test_nobody_listens_at_the_librarys_own_sockets(one: Broker) -> None:
    """A layer cannot take the address at which ZeroMQ asks who may connect."""
    body = {"attributes": {"cmbs.member.l4_socket": "inproc://zeromq.zap.01"}}
    answer = one.request("POST", f"/cmbs/member/{one.member}", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid-address")


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e300, -1e300, 2**63, "7", None, [], {}, True])
def test_numbers_are_checked_where_they_come_in(one: Broker, peers: Callable[..., Peer], value: Any) -> None:
    """A round that no store can hold, or an invalid one, is refused for good, and alone; a deadline is one that
    can be reckoned with, or over."""
    peer = peers()
    message = {"kind": "http://houssem.org/cmbs#message", "id": peer.id, "attributes": {}}
    body = {"layer": "l2", "round": 1, "deadline": 60, "message": message, **peer.introduction()}
    answer = peer.ask(one.socket("l2"), "message", {**body, "round": value})
    assert "round" in refused(answer, "invalid-request")
    assert answer["body"]["final"] is True
    refused(peer.ask(one.socket("l1"), "inquiry", {"message": "x", "round": value}), "invalid-request")
    answer = peer.ask(one.socket("l2"), "message", {**body, "deadline": value})
    if type(value) in (int, float) and value < 0:
        refused(answer, "overdue")
    else:
        assert answer["type"] == "ack"


def test_addresses_of_this_machine_are_not_dialled(one: Broker, peers: Callable[..., Peer]) -> None:
    """Of the addresses that a greeting tells only those of other machines are visited; whoever is there is asked."""
    waiting = peers()
    told = [
        "ipc:///tmp/pycmbs-x.sock",
        "inproc://x",
        5,
        None,
        "x" * 10_000,
        f"tcp://127.0.0.1:{free_port()}",
        waiting.url,
    ]
    peer = peers()
    assert peer.ask(one.socket("l1"), "hello", {**peer.introduction(), "sockets_l1": told})["type"] == "welcome"
    wait_until(lambda: any(one["type"] == "hello" for one in waiting.seen), what="the visit")
    assert not is_free(one.socket("l1"))
