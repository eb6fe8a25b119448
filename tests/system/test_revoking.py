"""A machine that is lost is put out of the federation with one command."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pycmbs.services.federation.keys import own_keys
from tests.harness import Broker, wait_until
from tests.keyed import Keyed, command, trusting
from tests.system.test_vouching import CLOSED, alive, invited

Start = Callable[..., Broker]


@pytest.fixture
def three(start_broker: Start) -> tuple[Broker, Broker, Broker]:
    """Three brokers, of which the first invited the others."""
    brokers = tuple(start_broker(*CLOSED) for _ in range(3))
    one, other, lost = brokers
    for broker in brokers:
        broker.become("l1", "l2", "l31")
    for newcomer in (other, lost):
        invited(one, newcomer)
    pairs = [(here, there) for here in brokers for there in brokers if here is not there]
    wait_until(lambda: all(alive(*pair) for pair in pairs), 30, "each reaches each")
    return one, other, lost


def test_who_is_revoked_is_out_everywhere(three: tuple[Broker, Broker, Broker]) -> None:
    """With what waits for it, on connections that are open, at members that only hear of it, and after restarts."""
    one, other, lost = three
    guest = Keyed()
    trusting(one, guest)
    with guest.connected(one) as answered:
        wait_until(answered)
        assert "is revoked" in command(one.home, "member", "revoke", guest.id)
        wait_until(lambda: not answered(), 10, "it is not heard any more")
    lost.ok("POST", f"/cmbs/member/{lost.member}?action=stop_l31", {})
    path = other.message("l31", "x", providers=[lost.member])
    other.ok("POST", f"{path}?action=send_l31", {})
    mark = own_keys(lost.home).fingerprint
    assert f"fingerprint {mark}" in command(one.home, "member", "revoke", lost.member)
    for here in (one, other):
        wait_until(lambda here=here: lost.member not in here.known(), 20, "it is not known any more")
        listed = command(here.home, "member", "list")
        assert f"{lost.member}\t{mark}\trevoked by {own_keys(one.home).fingerprint}" in listed

    def row() -> dict[str, str]:
        return other.get(path)["attributes"]["cmbs"]["message"]["deliveries"][0]

    wait_until(lambda: row()["state"] != "sent" and row()["state"] != "pending", 20, "the row is settled")
    assert (row()["state"], row()["reason"]) == ("failed", f"revoked: the member {lost.member} is revoked")
    # It is told nothing more, nor heard, though it goes on to know the others.
    report = one.send(one.message("l2", "secret"), "l2", 20)
    assert [(one["member"], one["state"]) for one in report["deliveries"]] == [(other.member, "delivered")]
    report = lost.ok("POST", f"{lost.message('l2', 'x')}?action=send_l2", {"attributes": {"wait": 2}})
    assert {one["state"] for one in report["deliveries"]} <= {"pending", "sent"}
    other.stop()
    other.start()
    assert lost.member not in other.known()
    assert "is not trusted here" in command(one.home, "member", "revoke", lost.member, code=1)
    # With a line of invitation for its old keys it does not come back.
    line = command(one.home, "invite").strip()
    assert "is revoked" in command(lost.home, "join", line, "--members", "closed", code=1)
