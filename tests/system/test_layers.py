"""The five layers: listening started and stopped, and who gets a message on each."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import LAYERS, Broker, free_socket, is_free, listens, refusal, wait_until

Start = Callable[..., Broker]
TOPICS = {"one": [], "two": ["network.link", "vpn.l2"], "three": ["network.>", "storage.*"]}


@pytest.fixture(scope="module")
def federation(start_shared: Start) -> dict[str, Broker]:
    """Three brokers that listen on every layer and know each other."""
    brokers = {name: start_shared("--workers", "1", "--retry-first", "0.1", "--retry-most", "0.5") for name in TOPICS}
    seed: list[str] = []
    for name, broker in brokers.items():
        broker.become(*LAYERS, neighbors=seed, topics=TOPICS[name])
        seed = [broker.socket("l1")]
    report = brokers["three"].ok("POST", f"/cmbs/member/{brokers['three'].member}?action=check_neighbors", {})
    assert report["unreachable"] == []
    everybody = {broker.member for broker in brokers.values()}
    for broker in brokers.values():
        wait_until(lambda b=broker: b.known() == everybody, what=f"{broker.url} knows all")
    return brokers


def act(broker: Broker, action: str) -> Any:
    """An action on the broker's own member."""
    return broker.request("POST", f"/cmbs/member/{broker.member}?action={action}", {})


def listening(broker: Broker) -> list[str]:
    """What the member says of itself."""
    return broker.attributes(f"/cmbs/member/{broker.member}", "member")["listening"]


def got(broker: Broker, path: str) -> bool:
    """Whether the broker has the message."""
    return broker.request("GET", path).status_code == 200


# Listening


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_listens_and_stops_at_once(shared: Broker, layer: str) -> None:
    """When start is answered the socket accepts connections, when stop is answered it is free; both any number of times."""
    if not shared.member:
        shared.become()
    url = shared.socket(layer)
    for _ in range(3):
        for _ in range(2):
            assert act(shared, f"start_{layer}").json()["listening"] == {layer: url}
            assert listens(url)
            assert listening(shared) == [layer]
        for _ in range(2):
            assert act(shared, f"stop_{layer}").json()["listening"] == {}
            assert is_free(url)
            assert listening(shared) == []


def test_listening_again_after_a_restart(start_broker: Start) -> None:
    """The layers that were started listen when the restarted broker prints its line; those that were stopped do not."""
    broker = start_broker("--workers", "1")
    broker.become(*LAYERS)
    for layer in ("l2", "l4"):
        act(broker, f"stop_{layer}")
    l1 = broker.socket("l1")
    for stop in (broker.stop, broker.kill):
        stop()
        wait_until(lambda: is_free(l1))
        broker.start()
        assert f"member {broker.member}" in broker.line
        wait_until(lambda: listening(broker) == ["l1", "l31", "l32"])
        assert [listens(broker.socket(layer)) for layer in LAYERS] == [True, False, True, True, False]


def test_a_socket_in_use_is_a_409_that_names_it(start_broker: Start) -> None:
    """A start or a move to a socket that someone else has is refused, naming it, and changes nothing."""
    broker = start_broker("--workers", "1")
    broker.become("l2")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        member = f"/cmbs/member/{broker.member}"
        broker.ok("POST", member, {"attributes": {"cmbs.member.l1_socket": taken}})
        refusal(act(broker, "start_l1"), 409, "socket-unavailable", taken)
        assert listening(broker) == ["l2"]
        before = broker.socket("l2")
        answer = broker.request("POST", member, {"attributes": {"cmbs.member.l2_socket": taken}})
        refusal(answer, 409, "socket-unavailable", taken)
        assert broker.socket("l2") == before
        assert listens(before)
    assert act(broker, "start_l1").status_code == 200


def test_a_listening_layer_moves_with_its_socket(start_broker: Start) -> None:
    """Changing the socket of a layer that listens moves it at once; deleting the member stops all."""
    broker = start_broker("--workers", "1")
    broker.become("l1")
    old, new = broker.socket("l1"), free_socket()
    broker.ok("POST", f"/cmbs/member/{broker.member}", {"attributes": {"cmbs.member.l1_socket": new}})
    assert (listens(new), is_free(old)) == (True, True)
    broker.ok("DELETE", f"/cmbs/member/{broker.member}")
    assert is_free(new)


def test_two_layers_on_one_socket(start_broker: Start) -> None:
    """Layers that share a socket listen and stop on their own."""
    broker = start_broker("--workers", "1")
    broker.become("l1")
    url = broker.socket("l1")
    broker.ok("POST", f"/cmbs/member/{broker.member}", {"attributes": {"cmbs.member.l2_socket": url}})
    assert act(broker, "start_l2").json()["listening"] == {"l1": url, "l2": url}
    assert act(broker, "stop_l1").json()["listening"] == {"l2": url}
    assert listens(url)
    act(broker, "stop_l2")
    assert is_free(url)


# Recipients


def recipients(federation: dict[str, Broker], layer: str, **attributes: Any) -> set[str]:
    """Who gets a message of broker one, by name: as its dry run says, as its report says, and as they themselves know."""
    names = {broker.member: name for name, broker in federation.items()}
    one = federation["one"]
    path = one.message(layer, {"for": sorted(attributes)}, **attributes)
    dry = one.ok("POST", f"{path}?action=send_{layer}", {"attributes": {"dry_run": True}})
    report = one.send(path, layer)
    found = {names[row["member"]] for row in report["deliveries"] if row["state"] == "delivered"}
    assert {names[row["member"]] for row in dry["recipients"]} == found
    assert {name for name, broker in federation.items() if name != "one" and got(broker, path)} == found - {"one"}
    return found


def test_l2_reaches_every_known_member(federation: dict[str, Broker]) -> None:
    """L2 goes to all but the sender, each acknowledges, and each holds content, origin and history of one hop."""
    one = federation["one"]
    path = one.message("l2", {"n": 1})
    report = one.send(path, "l2")
    assert (report["state"], report["recipients"], report["delivered"]) == ("delivered", 2, 2)
    for name in ("two", "three"):
        message = federation[name].attributes(path, "message")
        assert (message["message_content"], message["origin"]) == ({"n": 1}, one.member)
        assert message["path_history"] == [f"urn:uuid:{one.member}"]
    ledger = one.attributes(path, "message")["deliveries"]
    assert [(row["state"], row["attempts"]) for row in ledger] == [("delivered", 1)] * 2


def test_l31_reaches_the_members_named(federation: dict[str, Broker]) -> None:
    """L3.1 goes to ids, URNs and URLs alike, once to each however often named; no one else hears of it."""
    two, three = federation["two"], federation["three"]
    assert recipients(federation, "l31", providers=[two.member]) == {"two"}
    names = [f"urn:uuid:{two.member}", f"{three.url}/cmbs/member/{three.member}", two.member]
    assert recipients(federation, "l31", providers=names) == {"two", "three"}


def test_l31_reports_whom_it_does_not_know(federation: dict[str, Broker]) -> None:
    """A named member that no one knows is reported, the others get the message; a prefix of an id is no id."""
    one, two = federation["one"], federation["two"]
    path = one.message("l31", "x", providers=[two.member, "nobody", two.member[:-1]])
    dry = one.ok("POST", f"{path}?action=send_l31", {"attributes": {"dry_run": True}})
    assert dry["unknown"] == ["nobody", two.member[:-1]]
    report = one.send(path, "l31")
    assert (report["state"], report["recipients"], report["delivered"]) == ("partial", 3, 1)
    failed = [row for row in report["deliveries"] if row["state"] == "failed"]
    assert {row["member"] for row in failed} == {"nobody", two.member[:-1]}
    assert all(row["reason"] for row in failed)


@pytest.mark.parametrize(
    ("topics", "names"),
    [
        (["network.link"], {"two", "three"}),
        (["network.link.down"], {"three"}),
        (["network"], set()),
        (["storage.disk"], {"three"}),
        (["storage.disk.full"], set()),
        (["vpn.l2", "nothing"], {"two"}),
        (["vpn"], set()),
    ],
)
def test_l32_reaches_the_interested(federation: dict[str, Broker], topics: list[str], names: set[str]) -> None:
    """L3.2 goes to the members one of whose subscriptions matches one of the topics; "*" is a word, ">" the rest."""
    assert recipients(federation, "l32", topics=topics) == names


def test_l4_reaches_the_intersection(federation: dict[str, Broker]) -> None:
    """L4 goes to the members that are both named and interested."""
    both = [federation["two"].member, federation["three"].member]
    assert recipients(federation, "l4", providers=both, topics=["vpn.l2"]) == {"two"}
    assert recipients(federation, "l4", providers=both[1:], topics=["network.link"]) == {"three"}
    assert recipients(federation, "l4", providers=both[1:], topics=["vpn.l2"]) == set()


@pytest.mark.parametrize(
    ("layer", "attributes", "named"),
    [
        ("l1", {}, "l1_socket_receiver_member"),
        ("l31", {}, "providers"),
        ("l32", {}, "topics"),
        ("l4", {"topics": ["a"]}, "providers"),
        ("l4", {"providers": ["a"]}, "topics"),
    ],
)
def test_a_message_that_does_not_say_whom_it_is_for(
    federation: dict[str, Broker], layer: str, attributes: dict[str, Any], named: str
) -> None:
    """Sending without the addresses that the layer needs is a 400 that names what is missing."""
    one = federation["one"]
    answer = one.request("POST", f"{one.message(layer, 'x', **attributes)}?action=send_{layer}", {})
    refusal(answer, 400, "invalid-request", f"cmbs.message.{named}")


# Sending


def test_dry_run_sends_nothing(federation: dict[str, Broker]) -> None:
    """A dry run says who would get the message and why, and leaves it as it was."""
    one, two = federation["one"], federation["two"]
    path = one.message("l4", "x", providers=[two.member], topics=["network.link"])
    before = one.get(path)
    dry = one.ok("POST", f"{path}?action=send_l4", {"attributes": {"dry_run": True}})
    (recipient,) = dry["recipients"]
    assert recipient["member"] == two.member
    assert recipient["why"] == f"it is named as {two.member} and it is interested in network.link"
    assert one.get(path) == before
    assert not got(two, path)


@pytest.mark.parametrize("flag", ["False", "false", False])
def test_what_is_not_sendable_is_not_sent(federation: dict[str, Broker], flag: object) -> None:
    """With sendable false a send, dry or not, is a 409 that names the attribute."""
    one = federation["one"]
    path = one.message("l2", "x", sendable=flag)
    for body in ({}, {"attributes": {"dry_run": True}}):
        refusal(one.request("POST", f"{path}?action=send_l2", body), 409, "not-sendable", "cmbs.message.sendable")
    assert not got(federation["two"], path)


def test_what_is_not_storable_is_not_kept(federation: dict[str, Broker]) -> None:
    """A message with storable false is delivered and acknowledged, and the receiver does not keep it."""
    one = federation["one"]
    path = one.message("l2", "x", storable="False")
    assert one.send(path, "l2")["state"] == "delivered"
    assert not got(federation["two"], path)


def test_wait_and_no_wait(federation: dict[str, Broker]) -> None:
    """Without wait a send is answered once it is accepted; with it when all is settled or the seconds are over."""
    one = federation["one"]
    path = one.message("l1", "x", l1_socket_receiver_member=free_socket(), deadline=30)
    for body in ({}, {"attributes": {"wait": 0.2}}):
        report = one.ok("POST", f"{path}?action=send_l1", body)
        assert (report["state"], report["recipients"], report["delivered"]) == ("sending", 1, 0)
    for wait in (-1, 61, "1", True, None):
        answer = one.request("POST", f"{path}?action=send_l1", {"attributes": {"wait": wait}})
        refusal(answer, 400, "invalid-attribute", "wait")
    refusal(
        one.request("POST", f"{path}?action=send_l1", {"attributes": {"wiat": 1}}), 400, "invalid-attribute", "wiat"
    )
    one.ok("DELETE", path)


def test_the_layer_of_action_and_message_agree(federation: dict[str, Broker]) -> None:
    """A message of one layer cannot be sent on another."""
    one = federation["one"]
    path = one.message("l1", "x", l1_socket_receiver_member=one.socket("l1"))
    refusal(one.request("POST", f"{path}?action=send_l2", {}), 400, "invalid-request", "send_l2")
    one.ok("POST", path, {"mixins": ["http://houssem.org/cmbs#l1", "http://houssem.org/cmbs#l2"]})
    refusal(one.request("POST", f"{path}?action=send_l2", {}), 409, "not-sendable", "send_l1")


def test_l1_to_itself(federation: dict[str, Broker]) -> None:
    """A member may send L1 to itself, as the README does: the result holds its own description, and nothing is doubled."""
    one = federation["one"]
    path = one.message("l1", "x", l1_socket_receiver_member=one.socket("l1"))
    before = len(one.get("/cmbs/message/")["X-OCCI-Location"])
    assert one.send(path, "l1")["state"] == "delivered"
    message = one.attributes(path, "message")
    assert message["result"]["member_description"]["id"] == one.member
    assert message["result"]["sockets_l1"][0] == one.socket("l1")
    assert set(message["result"]["sockets_l1"]) == {broker.socket("l1") for broker in federation.values()}
    assert message["message_content"] == "x"
    assert len(one.get("/cmbs/message/")["X-OCCI-Location"]) == before


def test_a_message_can_be_sent_again(federation: dict[str, Broker]) -> None:
    """A second send of a changed message is a new round: the receiver has the new content, once."""
    one, two = federation["one"], federation["two"]
    path = one.message("l31", "first", providers=[two.member])
    one.send(path, "l31")
    before = len(two.get("/cmbs/message/")["X-OCCI-Location"])
    one.ok("POST", path, {"attributes": {"cmbs.message.message_content": "second"}})
    assert one.send(path, "l31")["recipients"] == 1
    assert two.attributes(path, "message")["message_content"] == "second"
    assert len(two.get("/cmbs/message/")["X-OCCI-Location"]) == before


def test_the_same_id_on_both_sides(federation: dict[str, Broker]) -> None:
    """A message whose id the receiver has given to one of its own does not overwrite it: both are there."""
    one, two = federation["one"], federation["two"]
    entity = {"kind": "http://houssem.org/cmbs#message", "id": "same", "mixins": ["http://houssem.org/cmbs#l31"]}
    for broker, other in ((one, two), (two, one)):
        attributes = {"cmbs.message.message_content": broker.member, "cmbs.message.providers": [other.member]}
        broker.ok("POST", "/cmbs/message/", {**entity, "attributes": attributes})
    for broker, other in ((one, two), (two, one)):
        assert broker.send("/cmbs/message/same", "l31")["state"] == "delivered"
        assert broker.attributes("/cmbs/message/same", "message")["message_content"] == broker.member
        found = other.get(f"/cmbs/message/?attribute=cmbs.message.message_content&value={broker.member}")
        assert len(found["X-OCCI-Location"]) == 1
    for broker, other in ((one, two), (two, one)):
        query = f"/cmbs/message/?attribute=cmbs.message.message_content&value={other.member}"
        assert len(broker.get(query)["X-OCCI-Location"]) == 1


def test_sending_needs_a_member(start_broker: Start) -> None:
    """Without a member of its own a broker refuses to send, and says how to get one."""
    broker = start_broker("--workers", "1")
    refusal(
        broker.request("POST", f"{broker.message('l2')}?action=send_l2", {}), 409, "no-local-member", "/cmbs/member/"
    )
