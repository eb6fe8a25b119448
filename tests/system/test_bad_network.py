"""A network that drops, delays, doubles, reorders and cuts changes nothing of what is promised."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos import Faults, Proxy
from tests.harness import Broker, free_socket, wait_until

Start = Callable[..., Broker]
FAST = ("--workers", "1", "--retry-first", "0.1", "--retry-most", "0.3")


def behind(start: Start, proxy: Proxy, target: str, one: Broker) -> Broker:
    """A broker whose layer 2 can be reached through the proxy only, and that the other knows."""
    two = start(*FAST, "--listen-at", f"{proxy.url}={target}")
    two.become("l1", "l2", neighbors=[one.socket("l1")], sockets={"l2": proxy.url})
    wait_until(lambda: two.member in one.known(), what="the two know each other")
    return two


def arrived(broker: Broker) -> list[str]:
    """The paths of the messages it holds, in the order in which it took them in."""
    return [url.removeprefix(broker.url) for url in broker.get("/cmbs/message/")["X-OCCI-Location"]]


def all_delivered(broker: Broker, paths: list[str]) -> bool:
    """Whether the ledger says so of every message."""
    return all(broker.attributes(path, "message")["state"] == "delivered" for path in paths)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(drop=0.04),
        Faults(delay=0.5),
        Faults(duplicate=0.5),
        Faults(reorder=0.3),
        Faults(cut=0.04),
        Faults(drop=0.02, delay=0.1, duplicate=0.2, reorder=0.2, cut=0.02),
    ],
    ids=["drop", "delay", "duplicate", "reorder", "cut", "all"],
)
def test_exactly_once_in_effect(start_broker: Start, faults: Faults) -> None:
    """80 messages through a bad network: each is at the receiver once, whole, and the sender's ledger says delivered."""
    target, seed = free_socket(), 5010
    with Proxy(target, faults, seed=seed) as proxy:
        one = start_broker(*FAST)
        one.become("l1")
        two = behind(start_broker, proxy, target, one)
        sent = [one.message("l2", {"number": number}) for number in range(80)]
        for path in sent:
            one.ok("POST", f"{path}?action=send_l2", {})
        wait_until(lambda: all_delivered(one, sent), 60, f"all are delivered (seed {seed}, {proxy.done})")
        assert sum(proxy.done.values()) > 0, "the network was not bad at all"
        there = arrived(two)
    assert sorted(there) == sorted(sent)
    assert [two.attributes(path, "message")["message_content"]["number"] for path in sent] == list(range(80))
    if faults == Faults(delay=faults.delay) or faults == Faults(duplicate=faults.duplicate):
        assert there == sent, "nothing was tried again, so the order of acceptance holds"


def test_a_network_that_is_cut_and_heals(start_broker: Start) -> None:
    """What is sent while the network is cut waits, and arrives in order of acceptance when it heals."""
    target = free_socket()
    with Proxy(target) as proxy:
        one = start_broker(*FAST)
        one.become("l1")
        two = behind(start_broker, proxy, target, one)
        proxy.cut()
        sent = [one.message("l2", number) for number in range(5)]
        for path in sent:
            assert one.ok("POST", f"{path}?action=send_l2", {})["state"] == "sending"
        wait_until(lambda: proxy.done["refused"] > 1, what="the sender tries")
        assert arrived(two) == []
        proxy.heal()
        wait_until(lambda: all_delivered(one, sent), 20, "all are delivered")
        assert arrived(two) == sent


def test_one_may_pass_and_another_not(start_broker: Start) -> None:
    """Of two brokers that send, the one that the network lets through is delivered and the other waits until it is let in."""
    target = free_socket()
    with Proxy(target) as proxy:
        one, other = start_broker(*FAST), start_broker(*FAST)
        one.become("l1")
        other.become("l1", neighbors=[one.socket("l1")])
        two = behind(start_broker, proxy, target, one)
        wait_until(lambda: two.member in other.known(), what="all know all")
        assert other.process is not None
        proxy.allow = {other.process.pid}
        paths = {}
        for broker in (one, other):
            paths[broker] = broker.message("l31", broker.url, providers=[two.member])
        two.ok("POST", f"/cmbs/member/{two.member}?action=start_l31", {})
        direct = {broker: broker.message("l2", broker.url) for broker in (one, other)}
        for broker in (one, other):
            broker.ok("POST", f"{direct[broker]}?action=send_l2", {})
        wait_until(lambda: direct[other] in arrived(two), what="the one that may pass has arrived")
        wait_until(lambda: proxy.done["refused"] > 0, what="the other was refused")
        assert direct[one] not in arrived(two)
        for broker in (one, other):  # another layer does not go through the proxy
            assert broker.send(paths[broker], "l31")["state"] == "delivered"
        proxy.allow = None
        wait_until(lambda: direct[one] in arrived(two), 20, "the other is let in")


def test_order_holds_over_resets(start_broker: Start) -> None:
    """Connections that are broken again and again in the middle: with a window of one message, those of one sender on one layer
    are at the receiver in the order of acceptance, each once, whatever had to be sent again."""
    target = free_socket()
    with Proxy(target, Faults(cut=0.15), seed=20) as proxy:
        one = start_broker(*FAST, "--window", "1")
        one.become("l1")
        two = behind(start_broker, proxy, target, one)
        sent = [one.message("l2", number) for number in range(40)]
        for path in sent:
            one.ok("POST", f"{path}?action=send_l2", {})
        wait_until(lambda: all_delivered(one, sent), 120, "all are delivered")
        attempts = [one.attributes(path, "message")["deliveries"][0]["attempts"] for path in sent]
        assert max(attempts) > 1, "nothing had to be sent again"
        assert arrived(two) == sent
