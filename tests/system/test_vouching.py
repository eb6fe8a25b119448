"""One invitation for each newcomer: the member that let it in vouches for it to the others, and what is signed goes round."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from pycmbs.services.federation.keys import own_keys, text_of
from tests.harness import Broker, wait_until
from tests.keyed import FORGED, Keyed, command, refusal, trusting
from tests.peer import version

Start = Callable[..., Broker]
CLOSED = (
    "--workers",
    "1",
    "--members",
    "closed",
    "--retry-first",
    "0.2",
    "--retry-most",
    "1",
    "--probe-interval",
    "0.5",
)


def invited(by: Broker, newcomer: Broker, *flags: str) -> None:
    line = command(by.home, "invite", *flags).strip()
    assert f"joined {by.member}" in command(newcomer.home, "join", line, "--members", "closed")


def alive(here: Broker, there: Broker) -> bool:
    """Whether one reaches the other itself."""
    if there.member not in here.known():
        return False
    health = here.attributes(f"/cmbs/member/{there.member}", "member").get("health", {})
    return health.get("state") == "alive" and not health.get("via")


@pytest.fixture(scope="module")
def three(start_shared: Start) -> tuple[Broker, Broker, Broker]:
    """Three brokers, of which the first invited the others."""
    one, other, third = (start_shared(*CLOSED) for _ in range(3))
    for broker in (one, other, third):
        broker.become("l1", "l2")
    for newcomer in (other, third):
        invited(one, newcomer)
    pairs = [(here, there) for here in (one, other, third) for there in (one, other, third) if here is not there]
    wait_until(lambda: all(alive(*pair) for pair in pairs), 20, "each reaches each")
    return one, other, third


def socket(at: Broker, of: str) -> str:
    return str(at.attributes(f"/cmbs/member/{of}", "member")["l1_socket"])


def test_one_invitation_each_suffices(three: tuple[Broker, Broker, Broker]) -> None:
    """Those that were let in by one member send to each other themselves, and each shows who vouches."""
    one, other, third = three
    for here, there in ((other, third), (third, other)):
        report = here.send(here.message("l2", "x"), "l2", 20)
        assert {row["member"]: row["state"] for row in report["deliveries"]} == {
            one.member: "delivered",
            there.member: "delivered",
        }
        listed = [line.split("\t") for line in command(here.home, "member", "list").splitlines()]
        marks = {words[0]: words[1:3] for words in listed}
        assert marks[there.member] == [
            own_keys(there.home).fingerprint,
            f"vouched for by {own_keys(one.home).fingerprint}",
        ]
        assert marks[one.member] == [own_keys(one.home).fingerprint, "issuer"]
        shown = here.attributes(f"/cmbs/member/{there.member}", "member")
        assert shown["trust"] == {"state": "vouched", "by": own_keys(one.home).fingerprint}
        assert shown["fingerprint"] == own_keys(there.home).fingerprint
        lines = command(here.home, "members").splitlines()
        trusts = {line.split()[0]: line for line in lines[1:]}
        assert "TRUST" in lines[0]
        assert f"vouched by {own_keys(one.home).fingerprint}" in trusts[there.member]
        assert " issuer " in trusts[one.member]
        # The file has whom people put there, and the one that invited.
        assert there.member not in (here.home / "members").read_text()


def test_who_was_let_in_may_not_invite_unless_it_was_said(three: tuple[Broker, Broker, Broker]) -> None:
    """It would be alone with its guest."""
    _, other, _ = three
    assert "may not invite" in command(other.home, "invite", code=1)


def test_what_a_member_says_of_another_counts_only_signed(three: tuple[Broker, Broker, Broker]) -> None:
    """Not its version, not its sockets, not that it left; what is altered on the way is left out, and not passed on."""
    one, other, third = three
    issuer = own_keys(one.home)
    liar, friend = Keyed().vouched(issuer), Keyed().vouched(issuer)
    trusting(one, liar)
    before, as_of = socket(one, third.member), version(600)
    genuine = friend.introduction()
    cut = base64.urlsafe_b64decode(genuine["signed"] + "==").replace(b"tcp://127.0.0.1:9", b"tcp://127.0.0.1:8")
    altered = {**genuine, "signed": base64.urlsafe_b64encode(cut).decode().rstrip("=")}
    for told in (
        {**liar.introduction(third.member, version=as_of), "certificates": []},
        liar.introduction(third.member, version=as_of),
        {"description": {"kind": "http://houssem.org/cmbs#member", "id": third.member, "attributes": {}}, "version": as_of,
         "instance": "x"},
        altered, {**genuine, "certificates": []}, {**genuine, "sig": genuine["sig"][:-4]}, None, {"signed": 1, "sig": []},
        Keyed().introduction(), Keyed().vouched(Keyed().keys).introduction(),
        friend.introduction(version=version(7200)), friend.introduction(curve=[]),
        friend.introduction(curve=[text_of(liar.keys.curve.public)]),
    ):  # fmt: skip
        farewells = [liar.farewell(third.member), {**friend.farewell(), "signed": "AAAA"}]
        answer = liar.ask(
            one, "hello", liar.introduction(members=[told], left={third.member: as_of}, farewells=farewells)
        )
        assert answer is not None
        assert answer["type"] == "welcome", answer
    assert friend.id not in one.known()
    assert socket(one, third.member) == before
    # What the friend signed is believed whoever brings it, and passed on as it came.
    welcome = liar.ask(one, "hello", liar.introduction(members=[genuine], version=version(60)))
    assert welcome is not None
    wait_until(lambda: friend.id in one.known(), what="the genuine one is known")
    wait_until(lambda: friend.id in other.known(), 20, "the others are told of it")
    wait_until(lambda: friend.ask(other, "probe", {}, seconds=1), 10, "they let it in")


def test_the_own_description_comes_from_nobody_else(three: tuple[Broker, Broker, Broker]) -> None:
    """With any version, and nothing that others say of the own version changes it."""
    one, _, _ = three
    b = Keyed()
    trusting(one, b)
    told = b.ask(one, "hello", b.introduction())
    assert told is not None
    as_of = told["body"]["known"][one.member]
    echo = {name: told["body"][name] for name in ("signed", "sig", "certificates")}
    huge = b.introduction(one.member, version=10**30)
    assert refusal(b.ask(one, "hello", {**b.introduction(), **echo})) == FORGED
    assert refusal(b.ask(one, "hello", huge)) == FORGED
    assert refusal(b.ask(one, "hello", b.introduction(version=10**30)))[1] == "invalid-request"
    about = b.introduction(known={one.member: version(3000)}, members=[huge, b.introduction(one.member)])
    answer = b.ask(one, "hello", about)
    assert answer is not None
    assert answer["type"] == "welcome"
    assert answer["body"]["known"][one.member] == as_of


def test_who_left_is_known_to_have_left_by_its_own_word(three: tuple[Broker, Broker, Broker]) -> None:
    """A farewell is signed, passed on as it came, and an old one ends nothing."""
    one, other, _ = three
    guest = Keyed().vouched(own_keys(one.home))
    trusting(one, guest)
    made = version()
    first = guest.introduction(version=made, instance="i")
    assert guest.ask(one, "hello", first)
    wait_until(lambda: guest.id in other.known(), 20, "the others know it")
    assert refusal(guest.ask(one, "leave", {"version": made, "instance": "i"}))[1] == "invalid-request"
    assert (
        refusal(guest.ask(one, "leave", Keyed().farewell(guest.id, version=made, instance="i")))[1] == "forged-sender"
    )
    farewell = guest.farewell(version=made, instance="i")
    assert guest.ask(one, "leave", farewell)
    wait_until(lambda: guest.id not in one.known() | other.known(), 20, "it is gone everywhere")
    assert refusal(guest.ask(one, "hello", first))[1] == "departed"
    back = guest.introduction(version=made + 1, instance="j")
    assert guest.ask(one, "hello", back)
    wait_until(lambda: guest.id in other.known(), 20, "it is back")
    bearer = Keyed()
    trusting(one, bearer)
    assert bearer.ask(one, "hello", bearer.introduction(farewells=[farewell], left={guest.id: version(60)}))
    assert guest.id in one.known()


def test_who_may_invite_does_it_for_all(three: tuple[Broker, Broker, Broker], start_broker: Start) -> None:
    """A guest of a guest is known to all, if the first one said so."""
    one, other, _ = three
    deputy, guest = start_broker(*CLOSED), start_broker(*CLOSED)
    deputy.become("l1", "l2")
    guest.become("l1", "l2")
    invited(one, deputy, "--may-invite")
    invited(deputy, guest)
    wait_until(
        lambda: all(alive(guest, there) and alive(there, guest) for there in (one, other, deputy)), 30, "all know it"
    )
