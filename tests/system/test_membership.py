"""Who is there, who is not, who left, and who is only reached through others: with real brokers."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.chaos import Proxy
from tests.harness import Broker, free_socket, refusal, wait_until

Start = Callable[..., Broker]
FAST = ("--workers", "1", "--retry-first", "0.1", "--probe-interval", "0.3", "--neighbor-timeout", "0.5")
PATIENT = ("--retry-most", "600", "--retry-first", "600")


def health(broker: Broker, member: str) -> dict[str, Any]:
    """How a member is doing, as another broker sees it; empty while it does not know."""
    if member not in broker.known():
        return {}
    return broker.attributes(f"/cmbs/member/{member}", "member").get("health", {})


def becomes(broker: Broker, member: str, state: str, seconds: float = 15) -> dict[str, Any]:
    """Wait until a broker says that a member is in this state; its health then."""
    return wait_until(
        lambda: found if (found := health(broker, member)).get("state") == state else None, seconds, f"it is {state}"
    )


def met(start: Start, *names: str, flags: tuple[str, ...] = FAST) -> list[Broker]:
    """Brokers that all know and reach each other, and listen on layers 1 and 2."""
    brokers = [start(*flags) for _ in names]
    for broker in brokers:
        broker.become("l1", "l2", neighbors=[brokers[0].socket("l1")] if broker is not brokers[0] else [])
    for broker in brokers:
        for other in brokers:
            if other is not broker:
                becomes(broker, other.member, "alive")
    return brokers


def test_health_is_measured(start_broker: Start) -> None:
    """A member that answers is alive, with round trip and last seen; killed it becomes suspect, then dead, with the reason;
    started again it is alive, and what waited for it goes out at once, although the next retry is minutes away."""
    one, two = met(start_broker, "one", "two", flags=(*FAST, *PATIENT))
    seen = health(one, two.member)
    assert 0 < seen["round_trip_ms"] < 10_000
    assert seen["last_seen"] >= seen["since"]
    assert "oldest_unsent" not in seen
    two.kill()
    becomes(one, two.member, "suspect")
    assert "no answer" in becomes(one, two.member, "dead")["reason"]
    path = one.message("l2", "waits")
    accepted = one.ok("POST", f"{path}?action=send_l2", {})["deliveries"][0]["accepted"]
    assert health(one, two.member)["oldest_unsent"] == accepted
    wait_until(lambda: one.attributes(path, "message")["deliveries"][0]["attempts"], what="an attempt")
    two.start()
    becomes(one, two.member, "alive")
    wait_until(lambda: one.attributes(path, "message")["state"] == "delivered", 10, "it is delivered")
    assert "oldest_unsent" not in health(one, two.member)


def test_a_frozen_member_is_not_alive(start_broker: Start) -> None:
    """A member whose connections stand but whose engine does nothing is dead: health is not inferred from connections."""
    one, two = met(start_broker, "one", "two")
    engine = two.pid("engine")
    os.kill(engine, signal.SIGSTOP)
    try:
        becomes(one, two.member, "dead")
    finally:
        os.kill(engine, signal.SIGCONT)
    becomes(one, two.member, "alive")


def test_a_member_that_leaves_is_gone_everywhere(start_broker: Start) -> None:
    """Deleting a member tells the others; one that was down at the time learns it afterwards; what still waits for the one
    that left is given up, and the ledger says why."""
    one, two, three = met(start_broker, "one", "two", "three", flags=(*FAST, "--retry-most", "0.5"))
    two.ok("POST", f"/cmbs/member/{two.member}?action=stop_l2", {})
    path = one.message("l31", "too late", providers=[two.member])
    one.ok("POST", f"{path}?action=send_l31", {})
    three.kill()
    two.ok("DELETE", f"/cmbs/member/{two.member}")
    wait_until(lambda: two.member not in one.known(), what="one forgets it")
    (entry,) = wait_until(
        lambda: (found := one.attributes(path, "message"))["state"] in ("failed", "unknown") and found["deliveries"],
        what="the message is given up",
    )
    assert entry["reason"].startswith("departed: ")
    three.start()
    wait_until(lambda: two.member not in three.known(), 15, "three forgets it, too")
    assert one.known() == three.known() == {one.member, three.member}


def test_a_member_that_moves_is_found_again(start_broker: Start) -> None:
    """A member that changes its addresses while another is down is found by that one, and gets its messages."""
    one, two = met(start_broker, "one", "two")
    one.kill()
    moved = {f"cmbs.member.{layer}_socket": free_socket() for layer in ("l1", "l2")}
    two.ok("POST", f"/cmbs/member/{two.member}", {"attributes": moved})
    one.start()
    where = f"/cmbs/member/{two.member}"
    wait_until(lambda: one.attributes(where, "member")["l2_socket"] == moved["cmbs.member.l2_socket"], 15, "the news")
    assert one.send(one.message("l2", "x"), "l2")["state"] == "delivered"


def test_two_members_with_one_id_are_refused(start_broker: Start) -> None:
    """A second member with an id that is taken is told so by check_neighbors, and changes nothing for the first."""
    one, two = met(start_broker, "one", "two")
    impostor = start_broker(*FAST)
    sockets = {f"cmbs.member.{layer}_socket": free_socket() for layer in ("l1", "l2")}
    attributes = {**sockets, "cmbs.member.neighbors_socket": [one.socket("l1")]}
    impostor.ok(
        "PUT", f"/cmbs/member/{two.member}", {"kind": "http://houssem.org/cmbs#member", "attributes": attributes}
    )
    impostor.ok("POST", f"/cmbs/member/{two.member}?action=start_l1", {})
    report = impostor.ok("POST", f"/cmbs/member/{two.member}?action=check_neighbors", {})
    (refused,) = (one_ for one_ in report["unreachable"] if one_["socket"] == one.socket("l1"))
    assert f"two members claim the id {two.member}" in refused["reason"]
    assert one.attributes(f"/cmbs/member/{two.member}", "member")["l1_socket"] == two.socket("l1")
    assert one.send(one.message("l2", "x"), "l2")["state"] == "delivered"


def test_health_is_not_for_clients_to_write(start_broker: Start) -> None:
    """A client that writes the broker's own attributes is refused."""
    one = start_broker(*FAST)
    one.become()
    body = {"attributes": {"cmbs.member.health": {"state": "alive"}}}
    refusal(one.request("POST", f"/cmbs/member/{one.member}", body), 403, "immutable-attribute", "cmbs.member.health")


class Web:
    """Brokers behind proxies, each of which lets in only those that are linked."""

    def __init__(self, start: Start, stack: ExitStack, names: str, links: list[str]) -> None:
        self.brokers: dict[str, Broker] = {}
        proxies: dict[str, dict[str, Proxy]] = {}
        for name in names:
            bound = {layer: free_socket() for layer in ("l1", "l2")}
            proxies[name] = {layer: stack.enter_context(Proxy(url, allow=())) for layer, url in bound.items()}
            pairs = ";".join(f"{proxies[name][layer].url}={bound[layer]}" for layer in bound)
            self.brokers[name] = start(*FAST, "--listen-at", pairs)
        self._proxies = proxies
        for name, broker in self.brokers.items():
            near = sorted({other for link in links if name in link for other in link} - {name})
            sockets = {layer: proxy.url for layer, proxy in proxies[name].items()}
            broker.become("l1", "l2", neighbors=[proxies[other]["l1"].url for other in near], sockets=sockets)
        self.links = links
        self.admit()

    def admit(self) -> None:
        """Let in those that are linked, as the processes are now."""
        for name, layers in self._proxies.items():
            near = {other for link in self.links if name in link for other in link} - {name}
            sessions = {process.pid for one in near if (process := self.brokers[one].process) is not None}
            for proxy in layers.values():
                proxy.allow = sessions

    def ready(self) -> None:
        """Wait until every broker reaches every other."""
        for broker in self.brokers.values():
            for other in self.brokers.values():
                if other is not broker:
                    becomes(broker, other.member, "alive", 30)

    def way(self, name: str, path: str) -> str:
        """The names of the members that a message came through."""
        ids = {f"urn:uuid:{broker.member}": name for name, broker in self.brokers.items()}
        return "".join(ids[urn] for urn in self.brokers[name].attributes(path, "message")["path_history"])


@pytest.fixture
def web(start_broker: Start) -> Iterator[Callable[..., Web]]:
    """Makes brokers of which some cannot reach others."""
    with ExitStack() as stack:
        yield lambda names, links: Web(start_broker, stack, names, links)


@pytest.mark.parametrize(
    ("names", "links", "ways"),
    [
        ("abcd", ["ab", "bc", "cd"], {"b": ["a"], "c": ["ab"], "d": ["abc"]}),
        ("abcd", ["ab", "bc", "cd", "da"], {"b": ["a"], "d": ["a"], "c": ["ab", "ad"]}),
        ("bacd", ["ba", "bc", "bd"], {"b": ["a"], "c": ["ab"], "d": ["ab"]}),
    ],
    ids=["line", "ring", "star"],
)
def test_who_cannot_be_reached_is_reached_through_others(
    web: Callable[..., Web], names: str, links: list[str], ways: dict[str, list[str]]
) -> None:
    """In a line, a ring and a star a message to all is at everybody once, came the way that path_history says, and the
    sender's ledger says delivered; health says through whom."""
    there = web(names, links)
    there.ready()
    sender = there.brokers["a"]
    path = sender.message("l2", {"for": "all"})
    report = sender.send(path, "l2", wait=20)
    assert (report["state"], report["recipients"]) == ("delivered", len(names) - 1)
    for name, possible in ways.items():
        assert there.way(name, path) in possible
        assert len(there.brokers[name].get("/cmbs/message/")["X-OCCI-Location"]) == 1
        via = health(sender, there.brokers[name].member).get("via")
        assert (via is None) == (possible == ["a"])


def test_a_relay_that_is_killed_loses_nothing(web: Callable[..., Web]) -> None:
    """Messages through a relay that is killed in the middle are at the receiver exactly once when it is back."""
    there = web("abc", ["ab", "bc"])
    there.ready()
    a, b, c = (there.brokers[name] for name in "abc")
    paths = [a.message("l1", number, l1_socket_receiver_member=c.socket("l1")) for number in range(30)]
    for number, path in enumerate(paths):
        a.ok("POST", f"{path}?action=send_l1", {})
        if number == 15:
            b.kill()
            b.start()
            there.admit()
    wait_until(lambda: all(a.attributes(path, "message")["state"] == "delivered" for path in paths), 60, "all arrive")
    held = [url.removeprefix(c.url) for url in c.get("/cmbs/message/")["X-OCCI-Location"]]
    assert sorted(held) == sorted(paths)
    assert {there.way("c", path) for path in paths} == {"ab"}


def test_a_copied_home_is_noticed(start_broker: Start) -> None:
    """A second process from a copy of a member's home: others send to neither, the rows and both say `claimed-id`, the log says
    it once a minute; when one of them is stopped the other is the member again, and what waited is delivered."""
    one, two = met(start_broker, "one", "two")
    two.stop()
    twin = Broker(two.home.with_name("twin"), *FAST)
    shutil.copytree(two.home, twin.home, ignore=shutil.ignore_patterns("run", "lock"))
    twin.member = two.member
    two.port = 0
    two.start()
    becomes(one, two.member, "alive")
    twin.start()
    try:
        moved = {f"cmbs.member.{layer}_socket": free_socket() for layer in ("l1", "l2")}
        where = f"/cmbs/member/{two.member}"
        wait_until(lambda: twin.request("POST", where, {"attributes": moved}).status_code == 200, what="it moves")
        wait_until(lambda: "claimed-id" in health(one, two.member).get("reason", ""), 30, "one notices")
        path = one.message("l2", "waits")
        one.ok("POST", f"{path}?action=send_l2", {})
        row = lambda: one.attributes(path, "message")["deliveries"][0]  # noqa: E731 - short
        wait_until(lambda: str(row().get("reason", "")).startswith("claimed-id"), what="the row says so")
        for copy in (two, twin):
            wait_until(lambda c=copy: "claimed-id" in health(c, one.member).get("reason", ""), 15, "both are told")
            report = copy.ok("POST", f"{where}?action=check_neighbors", {})
            assert any("two processes claim" in found["reason"] for found in report["unreachable"])
        assert row()["state"] in ("pending", "sent")
        assert not any(path in url for copy in (two, twin) for url in copy.get("/cmbs/message/")["X-OCCI-Location"])
        assert one.log().count("nothing is sent to either") == 1
        assert max(broker.log().count("claim") for broker in (one, two, twin)) < 20
    finally:
        twin.stop()
    wait_until(lambda: row()["state"] == "delivered", 60, "it is delivered to the one that is left")
    assert two.attributes(path, "message")["message_content"] == "waits"
