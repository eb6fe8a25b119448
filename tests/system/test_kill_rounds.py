"""Fifty seeded rounds of kill -9 while messages flow: what was accepted is delivered once, and the ledgers agree with that."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from pycmbs.runtime import ThreadRuntime
from pycmbs.store import open_store
from pycmbs.store.base import Query
from tests.chaos import Proxy
from tests.harness import Background, Broker, free_socket, wait_until

Start = Callable[..., Broker]
FAST = ("--workers", "1", "--retry-first", "0.05", "--retry-most", "0.2", "--poll", "0.2", "--probe-interval", "0.5",
        "--neighbor-timeout", "0.5")  # fmt: skip
ROUNDS = 10
SETTLED = 40
"""Seconds until everything must be settled once no one is killed any more."""


class Flow(Background):
    """A client that creates and sends messages on layer 2, one after the other, whatever happens to the broker."""

    def __init__(self, sender: Broker) -> None:
        super().__init__()
        self.accepted: list[str] = []
        """The paths of the messages whose sending was answered."""
        self._sender = sender

    def _run(self) -> None:
        number = 0
        while not self._over.wait(0.02):  # the pace of the flow
            number += 1
            try:
                self._send(f"{self._sender.url}/cmbs/message/m{number}", number)
            except requests.RequestException:
                continue  # it may or may not have been accepted

    def _send(self, url: str, number: int) -> None:
        mixin = "http://houssem.org/cmbs#l2"
        body = {"kind": "http://houssem.org/cmbs#message", "mixins": [mixin],
                "attributes": {"cmbs.message.message_content": {"number": number}}}  # fmt: skip
        if requests.put(url, json=body, timeout=5).status_code == 201:
            answer = requests.post(f"{url}?action=send_l2", timeout=5)
            if answer.status_code == 200:
                self.accepted.append("/cmbs/message/" + url.rpartition("/")[2])


def kill(broker: Broker, what: str) -> None:
    """SIGKILL to the engine, which its supervisor replaces, or to everything, which is then started again."""
    if what == "broker":
        broker.kill()
        broker.start()
        return
    ready = [one["pid"] for one in broker.state()["children"] if one["role"] == what and one["ready"]]
    if ready:  # else it is being replaced still
        os.kill(ready[0], signal.SIGKILL)


@contextlib.contextmanager
def hidden(start: Start, relay: Broker) -> Iterator[tuple[Broker, Callable[[], None]]]:
    """A broker that no one but the relay reaches, and what tells its network that the relay is another process now."""
    with contextlib.ExitStack() as stack:
        bound = {layer: free_socket() for layer in ("l1", "l2")}
        proxies = {layer: stack.enter_context(Proxy(url, allow=())) for layer, url in bound.items()}
        broker = start(*FAST, "--listen-at", ";".join(f"{proxies[layer].url}={bound[layer]}" for layer in bound))

        def admit() -> None:
            assert relay.process is not None
            for proxy in proxies.values():
                proxy.allow = {relay.process.pid}

        admit()
        sockets = {layer: proxy.url for layer, proxy in proxies.items()}
        broker.become("l1", "l2", neighbors=[relay.socket("l1")], sockets=sockets)
        yield broker, admit


def receipts(broker: Broker) -> int:
    """How many messages it has taken in."""
    store = open_store(broker.store_url, home=broker.home, runtime=ThreadRuntime())
    try:
        return store.count(Query("receipt"))
    finally:
        store.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [501, 502, 503, 504, 505])
def test_what_was_accepted_is_delivered_once(start_broker: Start, seed: int) -> None:
    """Ten kills, at random moments, of the sender, of two receivers, of which one relays to a third, or of that third: every
    accepted message is at all receivers, once, as it was sent, and no ledger says what is not so."""
    chance = random.Random(seed)
    sender = start_broker(*FAST)
    sender.become("l1")
    receivers = [start_broker(*FAST) for _ in range(2)]
    for one in receivers:
        one.become("l1", "l2", neighbors=[sender.socket("l1")])
    with hidden(start_broker, receivers[0]) as (behind, admit):
        rounds(chance, sender, [*receivers, behind], admit, f"seed {seed}")


def rounds(
    chance: random.Random, sender: Broker, receivers: list[Broker], admit: Callable[[], None], told: str
) -> None:
    """Kill while messages flow, and then see what came of them."""
    members = {one.member for one in receivers}
    wait_until(lambda: members <= sender.known(), what="the sender knows all")
    killed: list[tuple[int, str]] = []
    with Flow(sender) as flow:
        for _ in range(ROUNDS):
            before = len(flow.accepted)
            wait_until(lambda b=before: len(flow.accepted) > b, 20, f"messages flow ({told}, killed {killed})")
            time.sleep(chance.random() * 0.3)  # not a wait for anything: the moment of the kill
            index, what = chance.randrange(4), chance.choice(["engine", "engine", "broker"])
            killed.append((index, what))
            kill([sender, *receivers][index], what)
            admit()
    told = f"{told}, killed {killed}"

    def sending() -> list[str]:
        found = sender.get("/cmbs/message/?attribute=cmbs.message.state&value=sending")
        return list(found["X-OCCI-Location"])

    wait_until(lambda: not sending(), SETTLED, f"all is settled ({told})")
    assert len(flow.accepted) >= ROUNDS, told
    there = [{url.removeprefix(one.url) for url in one.get("/cmbs/message/")["X-OCCI-Location"]} for one in receivers]
    listed = {url.removeprefix(sender.url) for url in sender.get("/cmbs/message/")["X-OCCI-Location"]}
    for broker, held in zip(receivers, there, strict=True):
        assert set(flow.accepted) <= held, f"lost at {broker.url}: {set(flow.accepted) - held} ({told})"
        assert held <= listed, f"a message came under another id, too ({told})"
        assert receipts(broker) == len(held), told
        for path in held:
            content = broker.attributes(path, "message")["message_content"]
            assert content == {"number": int(path.rpartition("/m")[2])}, told
    for path in listed:
        ledger = sender.attributes(path, "message")
        delivered = {row["member"] for row in ledger.get("deliveries", []) if row["state"] == "delivered"}
        holding = {one.member for one, held in zip(receivers, there, strict=True) if path in held}
        assert delivered == holding, f"the ledger of {path} disagrees ({told})"
        assert path not in flow.accepted or ledger["state"] == "delivered", told
    urn = f"urn:uuid:{receivers[0].member}"
    behind = [receivers[-1].attributes(path, "message")["path_history"] for path in there[-1]]
    assert any(urn in way for way in behind), f"nothing was relayed ({told})"
