"""Who gets a message, on a real broker, compared with an oracle that knows nothing of how the broker finds out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import Broker, wait_until

Start = Callable[..., Broker]
OWN_TOPICS = ["a.b", "c.>"]
WORDS = st.sampled_from(["a", "b", "c", "ab"])
TOPICS = st.lists(WORDS, min_size=1, max_size=3).map(".".join)
SUBSCRIPTIONS = st.tuples(
    st.lists(st.sampled_from(["a", "b", "c", "ab", "*"]), max_size=3), st.sampled_from([[], [">"]])
).map(lambda parts: ".".join([*parts[0], *parts[1]]) or "*")
IDS = ["m-1", "m-10", "m-2", "M-1", "996ad860-2a9a-504f-8861-aeafd0b2ae29"]
"""One is the beginning of another, and one differs in case only."""


@dataclass(frozen=True)
class Case:
    """The members that are known, by id with their topics, and one message."""

    members: dict[str, list[str]]
    layer: str
    named: list[tuple[str, str]]
    """What ``providers`` says, and the id that is meant by it."""
    topics: list[str]
    to: str
    """L1: the id of the member whose socket it is for; of no one's if it is not known."""


def spelled(id: str) -> st.SearchStrategy[tuple[str, str]]:
    """All ways to name a member."""
    ways = [id, f"urn:uuid:{id}", f"http://127.0.0.1:1/cmbs/member/{id}", f"/cmbs/member/{id}"]
    return st.sampled_from(ways).map(lambda way: (way, id))


CASES = st.builds(
    Case,
    members=st.dictionaries(st.sampled_from(IDS), st.lists(SUBSCRIPTIONS, max_size=3), max_size=5),
    layer=st.sampled_from(["l1", "l2", "l31", "l32", "l4"]),
    named=st.lists(st.sampled_from([*IDS, "m", "own"]).flatmap(spelled), min_size=1, max_size=4),
    topics=st.lists(TOPICS, min_size=1, max_size=3),
    to=st.sampled_from([*IDS, "own"]),
)


def takes_in(subscription: list[str], topic: list[str]) -> bool:
    """Word by word: a star is any one word, an arrow at the end all the rest, of at least one."""
    if not subscription or not topic:
        return not subscription and not topic
    if subscription == [">"]:
        return True
    return subscription[0] in ("*", topic[0]) and takes_in(subscription[1:], topic[1:])


def oracle(case: Case, own: str) -> tuple[set[str], set[str]]:
    """The recipients' ids, and the names in ``providers`` that no one has."""
    everybody = {**case.members, own: OWN_TOPICS}
    named = [(way.replace("own", own), own if id == "own" else id) for way, id in case.named]
    interested = {
        id
        for id, subscriptions in everybody.items()
        for subscription in subscriptions
        for topic in case.topics
        if takes_in(subscription.split("."), topic.split("."))
    }
    known = {id for _, id in named if id in everybody}
    unknown = {way for way, id in named if id not in everybody}
    if case.layer == "l1":
        to = own if case.to == "own" else case.to
        return ({to} if to in everybody else {""}), set()
    if case.layer == "l2":
        return set(case.members), set()
    if case.layer == "l31":
        return known, unknown
    if case.layer == "l32":
        return interested - {own}, set()
    return known & interested, unknown


def message(case: Case, own: str, socket: str) -> dict[str, Any]:
    """The attributes that a message of this case has; ``socket``: where the receiver of L1 listens."""
    if case.layer == "l1":
        return {"l1_socket_receiver_member": socket}
    providers = {"providers": [way.replace("own", own) for way, _ in case.named]}
    topics = {"topics": case.topics}
    return {"l2": {}, "l31": providers, "l32": topics, "l4": providers | topics}[case.layer]


@pytest.fixture(scope="module")
def known(start_shared: Start) -> Broker:
    """A broker with a member of its own."""
    broker = start_shared("--workers", "1")
    broker.become("l1", topics=OWN_TOPICS)
    return broker


@pytest.mark.timeout(240)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(case=CASES)
def test_the_recipients_are_those_of_the_oracle(known: Broker, case: Case) -> None:
    """200 generated federations and messages: a dry run of the broker names the recipients that the oracle names, and the
    unknown providers, and no one else."""
    sockets = {id: f"tcp://127.0.0.1:{6100 + IDS.index(id)}" for id in IDS}
    members = [
        {
            "kind": "http://houssem.org/cmbs#member",
            "id": id,
            "attributes": {"cmbs": {"member": {
                "local": "false", "topics": topics,
                **{f"{layer}_socket": sockets[id] for layer in ("l1", "l2", "l31", "l32", "l4")},
            }}},
        }
        for id, topics in case.members.items()
    ]  # fmt: skip
    if members:
        known.ok("POST", "/cmbs/member/", {"resources": members})
    try:
        to = known.socket("l1") if case.to == "own" else sockets[case.to]
        path = known.message(case.layer, None, **message(case, known.member, to))
        plan = known.ok("POST", f"{path}?action=send_{case.layer}", {"attributes": {"dry_run": True}})
        recipients = [one["member"] for one in plan["recipients"]]
        assert len(recipients) == len(set(recipients)), "nobody gets it twice"
        assert (set(recipients), set(plan["unknown"])) == oracle(case, known.member)
        known.ok("DELETE", path)
    finally:
        known.ok("DELETE", "/cmbs/member/?attribute=cmbs.member.local&value=false")


def test_what_is_really_sent_reaches_those_of_the_oracle(start_broker: Start) -> None:
    """The same in earnest: three receivers, every layer, and who holds the message is whom the oracle names."""
    sender, *receivers = (start_broker("--workers", "1") for _ in range(4))
    layers = ("l1", "l2", "l31", "l32", "l4")
    sender.become(*layers, topics=OWN_TOPICS)
    topics = [["a.*", "c.>"], ["a.b"], ["*.*.ab"]]
    for one, subscriptions in zip(receivers, topics, strict=True):
        one.become(*layers, topics=subscriptions, neighbors=[sender.socket("l1")])
    ids = {f"r{index}": one.member for index, one in enumerate(receivers)}
    members = dict(zip(ids.values(), topics, strict=True))
    wait_until(lambda: set(members) <= sender.known(), what="the sender knows all")
    first, second = ids["r0"], ids["r1"]
    cases = [
        Case(members, "l1", [], [], second),
        Case(members, "l2", [], [], ""),
        Case(members, "l31", [(first, first), (f"urn:uuid:{second}", second), ("nobody", "nobody")], [], ""),
        Case(members, "l32", [], ["a.b"], ""),
        Case(members, "l32", [], ["c.b.ab"], ""),
        Case(members, "l32", [], ["nobody.cares"], ""),
        Case(members, "l4", [(f"/cmbs/member/{first}", first), (second, second)], ["c.c", "b.b"], ""),
        Case(members, "l4", [(second, second)], ["c.c"], ""),
    ]
    for case in cases:
        expected, unknown = oracle(case, sender.member)
        socket = receivers[1].socket("l1")
        path = sender.message(case.layer, case.layer, **message(case, sender.member, socket))
        report = sender.send(path, case.layer)
        delivered = {row["member"] for row in report["deliveries"] if row["state"] == "delivered"}
        failed = {row["member"] for row in report["deliveries"] if row["state"] == "failed"} - {""}
        assert (delivered, failed) == (expected, unknown), case
        holding = {one.member for one in receivers if one.request("GET", path).status_code == 200}
        assert holding == expected, case
