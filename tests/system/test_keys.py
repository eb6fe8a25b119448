"""A closed federation: members are known by their keys. Others learn nothing and change nothing, and each speaks for itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from nacl.public import PrivateKey

from pycmbs.services.federation.keys import own_keys, text_of
from pycmbs.services.federation.trust import joining
from tests.harness import Broker, free_port, free_socket, wait_until
from tests.keyed import FORGED, Keyed, ask, command, refusal, trusting
from tests.peer import version

Start = Callable[..., Broker]


@pytest.fixture(scope="module")
def pair(start_shared: Start) -> tuple[Broker, Broker]:
    """Two brokers, of which the second was invited by the first, while both run."""
    one, other = (start_shared("--workers", "1", "--members", "closed", "--probe-interval", "0.3") for _ in range(2))
    one.become("l1", "l2")
    other.become("l1", "l2")
    line = command(one.home, "invite").strip()
    assert f"joined {one.member}" in command(other.home, "join", line, "--members", "closed")
    wait_until(lambda: other.member in one.known() and one.member in other.known(), 20, "they know each other")
    return one, other


def test_an_invitation_makes_members(pair: tuple[Broker, Broker]) -> None:
    """Who was invited exchanges messages both ways, and each shows its fingerprint, which the other lists."""
    one, other = pair
    for here, there in ((one, other), (other, one)):
        report = here.send(here.message("l1", "x", l1_socket_receiver_member=there.socket("l1")), "l1", 20)
        assert report["deliveries"][0]["state"] == "delivered", report
        mark = there.attributes(f"/cmbs/member/{there.member}", "member")["fingerprint"]
        assert f"{there.member}\t{mark}" in command(here.home, "member", "list")
        assert f"fingerprint {mark}" in command(there.home, "key", "show")


def test_a_stranger_is_not_answered(pair: tuple[Broker, Broker]) -> None:
    """Neither without a key nor with one that nobody knows; the log says how to let it in."""
    one, other = pair
    trusted = Keyed()
    trusting(one, trusted)
    for key in (None, PrivateKey.generate()):
        for type in ("hello", "leave", "probe"):
            assert ask(one, type, trusted.introduction(other.member), key, other.member, seconds=0.7) is None
    assert other.member in one.known()
    wait_until(lambda: "refused a member with the unknown key" in one.log(), what="the log line")
    assert "to let it in run here: pycmbs invite" in one.log()


def test_who_is_not_let_in_is_told_what_to_do(pair: tuple[Broker, Broker], start_broker: Start) -> None:
    """Where it looks for the other member; at the door a line says whose key it is, once a minute at most."""
    one, _ = pair
    stranger = start_broker(
        "--workers", "1", "--members", "closed", "--probe-interval", "0.3", "--neighbor-timeout", "1"
    )
    stranger.become("l1", neighbors=[one.socket("l1")])
    keys = own_keys(one.home)
    with (stranger.home / "members").open("a") as file:
        file.write(f"{one.member} {text_of(keys.identity.public)} {text_of(keys.curve.public)} {one.socket('l1')}\n")
    reason = "it does not know this member: get a line from pycmbs invite there, then run pycmbs join LINE here"

    def told() -> bool:
        report = stranger.ok("POST", f"/cmbs/member/{stranger.member}?action=check_neighbors", {})
        return [row["reason"] for row in report["unreachable"]] == [reason]

    wait_until(told, 20, "the reason")
    assert (
        one.log().count("to let it in run here: pycmbs invite") <= 2
    )  # one in a minute, whatever the tests before did


def test_a_member_speaks_for_itself_only(pair: tuple[Broker, Broker]) -> None:
    """Whatever it says in another's name is refused for good, and the other is unharmed."""
    one, other = pair
    b = Keyed()
    trusting(one, b)
    before = one.attributes(f"/cmbs/member/{other.member}", "member")["l1_socket"]
    newer = {"version": version(600)}
    about = {**b.introduction(other.member, **newer), **newer}
    for type, body in (
        ("hello", about), ("leave", b.farewell(other.member)), ("probe", {}), ("inquiry", {"message": "m", "round": 1}),
        ("message", {**about, "layer": "l1", "round": 1, "message": {"id": "m"}, "deadline": 5}),
    ):  # fmt: skip
        assert refusal(b.ask(one, type, body, **{"from": other.member})) == FORGED
        assert refusal(b.ask(one, type, body, **{"from": f"urn:uuid:{other.member.upper()}"})) == FORGED
    assert refusal(b.ask(one, "hello", about)) == FORGED
    assert refusal(b.ask(one, "probe", {}, **{"from": ""})) == FORGED
    # What it tells of others is not believed, nor that they left.
    told = {**b.introduction(other.member, **newer), "description": {"id": other.member}}
    hearsay = {"members": [told], "left": {other.member: version(600)}, "farewells": [b.farewell(other.member)]}
    answer = b.ask(one, "hello", b.introduction(**hearsay))
    assert answer is not None
    assert answer["type"] == "welcome"
    assert one.attributes(f"/cmbs/member/{other.member}", "member")["l1_socket"] == before
    assert {other.member, b.id} <= one.known()
    # Nor does it pass anything on for somebody.
    assert refusal(b.ask(one, "probe", {}, to=other.member))[1] == "no-route"


def test_who_is_removed_is_not_heard(pair: tuple[Broker, Broker]) -> None:
    """Within a second, also on a connection that is open."""
    one, other = pair
    b = Keyed()
    trusting(one, b)
    with b.connected(one) as answered:
        wait_until(answered)
        assert "no longer trusted" in command(one.home, "member", "remove", b.id)
        wait_until(lambda: not answered(), 5, "it is not heard any more")
        assert b.ask(one, "probe", {}, seconds=0.5) is None
    assert other.member in command(one.home, "member", "list")
    assert "is not trusted here" in command(one.home, "member", "remove", b.id, code=1)


def test_an_invitation_is_for_one(start_broker: Start, tmp_path: Path) -> None:
    """Used twice, expired, or cut short, it says so; used again by who used it, it does no harm. What is not a line is none."""
    one = start_broker("--workers", "1", "--members", "closed")
    one.become("l1")
    line = command(one.home, "invite").strip()
    first, second = tmp_path / "first", tmp_path / "second"
    for _ in range(2):
        command(first, "join", line, "--id", "first")
    assert "this invitation was used already" in command(second, "join", line, "--id", "second", code=1)
    short = command(one.home, "invite", "--valid", "1s").strip()
    wait_until(lambda: _expired(short), 5)
    assert "has expired" in command(second, "join", short, "--id", "second", code=1)
    assert "not a line that pycmbs invite printed" in command(second, "join", line[:-4], "--id", "second", code=1)
    assert "first" in (one.home / "members").read_text()
    assert "second" not in (one.home / "members").read_text()
    for path in [
        one.home / "keys" / "identity",
        one.home / "keys" / "curve",
        one.home / "members",
        one.home / "invitations",
    ]:
        assert path.stat().st_mode & 0o777 == 0o600
    # Nobody takes the id of a member that is known.
    another = command(one.home, "invite").strip()
    assert "is another member" in command(second, "join", another, "--id", "first", code=1)


def _expired(line: str) -> bool:
    from pycmbs.cli.membership import _parse

    return _parse(line).until <= time.time()


def test_who_comes_by_an_invitation_says_who_it_is_and_nothing_else(start_broker: Start, tmp_path: Path) -> None:
    """With the one-time key no message is sent; and what is not signed for this invitation lets nobody in."""
    from pycmbs.cli.membership import _parse

    one = start_broker("--workers", "1", "--members", "closed")
    one.become("l1")
    guest = PrivateKey(_parse(command(one.home, "invite").strip()).secret)
    me = Keyed()
    for type, body in (("message", {}), ("probe", {}), ("leave", {}), ("hello", me.introduction())):
        assert refusal(ask(one, type, body, guest, me.id)) == FORGED
    keys = own_keys(tmp_path)
    for says in (
        None, {}, {"signed": "a b c d", "signature": ""}, joining(keys, "x", b"\0" * 32),
        {**joining(keys, "x", bytes(guest.public_key)), "signature": "AAAA"},
    ):  # fmt: skip
        answer = ask(one, "hello", {"joins": says}, guest, "")
        assert refusal(answer)[:2] == ("refusal", "invalid-request")
    assert not (one.home / "members").exists()


def test_keys_open_addresses(start_broker: Start) -> None:
    """With keys a layer listens where others can reach it; without them it says what to do."""
    port = free_port()
    pairs = f"tcp://192.0.2.7:1=tcp://0.0.0.0:{port}"
    closed = start_broker("--workers", "1", "--members", "closed", "--listen-at", pairs)
    closed.become("l1", sockets={"l1": "tcp://192.0.2.7:1"})
    plain = start_broker("--workers", "1", "--listen-at", pairs)
    plain.become(sockets={"l1": "tcp://192.0.2.7:1", "l2": free_socket()})
    answer = plain.request("POST", f"/cmbs/member/{plain.member}?action=start_l1", {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "unprotected")
    assert "tcp://192.0.2.7:1 can be reached by others" in answer.json()["error"]["message"]
    assert "pycmbs invite" in answer.json()["error"]["hint"]
    assert plain.attributes(f"/cmbs/member/{plain.member}", "member")["fingerprint"]
