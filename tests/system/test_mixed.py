"""A federation that moves over: members with keys and members without, until all have some."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Callable
from io import BytesIO

import pytest

from tests.harness import ROOT, Broker, free_socket, wait_until
from tests.keyed import FORGED, Keyed, ask, command, refusal
from tests.peer import version
from tests.system.test_vouching import alive

Start = Callable[..., Broker]
OLD = "ae8fb92"
"""A commit of version 0.3.0."""
QUICK = ("--workers", "1", "--retry-first", "0.2", "--retry-most", "1", "--probe-interval", "0.5")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which Python finds version 0.3.0, out of this repository's history."""
    done = subprocess.run(["git", "archive", OLD, "pycmbs"], cwd=ROOT, capture_output=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip("there is no history here that has version 0.3.0")
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return {**os.environ, "PYTHONPATH": str(folder)}


def keyed(start: Start, *layers: str, neighbors: list[str] | None = None) -> tuple[Broker, str]:
    """A broker in mixed mode, and where it is met by its key."""
    broker, door = start(*QUICK, "--members", "mixed"), free_socket()
    broker.become(*layers, neighbors=neighbors)
    broker.ok("POST", f"/cmbs/member/{broker.member}", {"attributes": {"cmbs": {"member": {"curve_sockets": [door]}}}})
    return broker, door


def delivered(here: Broker, there: Broker, layer: str = "l1") -> None:
    target = {"l1_socket_receiver_member": there.socket("l1")} if layer == "l1" else {}
    report = here.send(here.message(layer, f"from {here.member}", **target), layer, 20)
    assert {row["state"] for row in report["deliveries"]} == {"delivered"}, report


def test_an_old_broker_and_one_with_keys_exchange_messages(start_broker: Start, old: dict[str, str]) -> None:
    """Both ways, whichever of them joins the other; the one with keys lists who has none."""
    new, _ = keyed(start_broker, "l1", "l2")
    before = start_broker(*QUICK, environ=old)
    before.become("l1", "l2", neighbors=[new.socket("l1")])
    later = start_broker(*QUICK, environ=old)
    later.become("l1", "l2")
    another, _ = keyed(start_broker, "l1", "l2", neighbors=[later.socket("l1")])
    for here, there in ((new, before), (another, later)):
        wait_until(
            lambda here=here, there=there: alive(here, there) and alive(there, here), 30, "they reach each other"
        )
        for layer in ("l1", "l2"):
            delivered(here, there, layer)
            delivered(there, here, layer)
    assert f"{before.member}\t-\tplain\t" in command(new.home, "member", "list", "--members", "mixed")
    assert new.attributes(f"/cmbs/member/{before.member}", "member")["trust"] == {"state": "plain"}


def test_who_has_keys_is_believed_by_those_only(start_broker: Start) -> None:
    """Two that know each other's keys speak by them, through the sockets for that; without, nobody speaks for one of them."""
    one, door = keyed(start_broker, "l1", "l2")
    other, _ = keyed(start_broker, "l1", "l2")
    plain = start_broker(*QUICK)
    plain.become("l1", "l2", neighbors=[one.socket("l1")])
    line = command(one.home, "invite", "--members", "mixed").strip()
    assert f"joined {one.member} at {door}" in command(other.home, "join", line, "--members", "mixed")
    wait_until(lambda: alive(one, other) and alive(other, one), 30, "those with keys reach each other")
    wait_until(lambda: alive(one, plain) and alive(plain, one), 30, "the one without is there, too")
    for here, there in ((one, other), (other, one), (one, plain), (plain, one)):
        delivered(here, there)
    listed = command(one.home, "member", "list", "--members", "mixed")
    assert f"{plain.member}\t-\tplain\t" in listed
    assert f"{other.member}\t-\tplain" not in listed
    liar = Keyed()
    about = {"kind": "http://houssem.org/cmbs#member", "id": other.member, "attributes": {}}
    said = {"description": about, "version": version(600), "instance": "x"}
    for type, body in (
        ("hello", {**liar.introduction(other.member), **said}), ("hello", said), ("leave", {"version": version(600)}),
        ("probe", {}), ("message", {"layer": "l1", "round": 1, "message": {"id": "m"}, "deadline": 5}),
    ):  # fmt: skip
        for id in (other.member, one.member):
            assert refusal(ask(one, type, body, None, id)) == FORGED
    # Nor does one without keys tell anything of one that has some.
    me = {**said, "description": {**about, "id": liar.id}, "version": version()}
    hearsay = {
        "members": [said],
        "left": {other.member: version(600)},
        "left_instances": {other.member: ""},
        "known": {},
    }
    answer = ask(one, "hello", {**me, **hearsay}, None, liar.id)
    assert answer is not None
    assert answer["type"] == "welcome", answer
    delivered(one, other)
    assert {other.member, plain.member} <= one.known()
