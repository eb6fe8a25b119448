"""What was answered is kept: processes killed at any moment, receivers away, a store that is gone for a while."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable

import pytest
import requests

from tests.harness import JSON, LAYERS, Broker, free_socket, listens, on_sqlite, refusal, wait_until

Start = Callable[..., Broker]
FAST = ("--workers", "1", "--retry-first", "0.1", "--retry-most", "0.5")
MESSAGE = "http://houssem.org/cmbs#message"


class Clients:
    """Clients that post numbered messages side by side until all are posted or the broker is gone."""

    def __init__(self, broker: Broker, messages: int, clients: int = 8) -> None:
        self.accepted: dict[str, int] = {}
        self._url = broker.url + "/cmbs/message/"
        share = messages // clients
        self._threads = [
            threading.Thread(target=self._post, args=(range(client * share, (client + 1) * share),))
            for client in range(clients)
        ]

    def start(self) -> Clients:
        """Begin to post."""
        for thread in self._threads:
            thread.start()
        return self

    def join(self) -> None:
        """Wait until every client is done."""
        for thread in self._threads:
            thread.join()

    def _post(self, numbers: range) -> None:
        with requests.Session() as session:
            for number in numbers:
                body = {"kind": MESSAGE, "attributes": {"cmbs.message.message_content": {"number": number}}}
                try:
                    answer = session.post(self._url, json=body, headers=JSON, timeout=10)
                except requests.RequestException:
                    return
                assert answer.status_code == 201, answer.text
                self.accepted[answer.headers["Location"].rpartition("/cmbs/")[2]] = number


def check(broker: Broker, accepted: dict[str, int]) -> None:
    """Every accepted message is listed, and says what it said."""
    listed = {url.rpartition("/cmbs/")[2] for url in broker.get("/cmbs/message/")["X-OCCI-Location"]}
    assert set(accepted) <= listed, f"{len(set(accepted) - listed)} accepted messages are lost"
    for path, number in accepted.items():
        assert broker.attributes(f"/cmbs/{path}", "message")["message_content"] == {"number": number}


@pytest.mark.parametrize("seed", [2012, 2013, 2014])
def test_sigkill_of_everything_loses_nothing(start_broker: Start, seed: int) -> None:
    """Of 1,000 messages from 8 clients, each answered 201 before the whole process group is killed is there afterwards."""
    chance = random.Random(seed)
    moment = chance.randrange(50, 950)
    print(f"seed {seed}: SIGKILL once {moment} messages are accepted")  # noqa: T201 - shown when it fails
    broker = start_broker("--workers", "2")
    clients = Clients(broker, 1000).start()
    wait_until(lambda: len(clients.accepted) >= moment, 30)
    time.sleep(chance.random() * 0.005)  # not a wait for anything: the moment of the kill
    broker.kill()
    clients.join()
    assert moment <= len(clients.accepted) < 1000

    broker.start()
    check(broker, clients.accepted)


def test_a_killed_front_is_replaced(start_broker: Start) -> None:
    """SIGKILL of a front process breaks off its connections only: it is started again, and nothing accepted is lost."""
    broker = start_broker("--workers", "1")
    clients = Clients(broker, 1000).start()
    wait_until(lambda: len(clients.accepted) >= 100)
    killed = broker.pid("front")
    os.kill(killed, signal.SIGKILL)
    clients.join()
    wait_until(
        lambda: [
            one
            for one in broker.state()["children"]
            if one["role"] == "front" and one["pid"] != killed and one["ready"]
        ]
    )
    broker.session.close()
    check(broker, clients.accepted)
    assert broker.message("l1", "new")


def test_one_killed_front_of_two(start_broker: Start) -> None:
    """While one of two fronts is gone the other answers whoever reaches it, and soon both do."""
    broker = start_broker("--workers", "2")
    fronts = {one["pid"] for one in broker.state()["children"] if one["role"] == "front"}
    os.kill(min(fronts), signal.SIGKILL)

    def both() -> bool:
        found = {one["pid"] for one in broker.state()["children"] if one["role"] == "front" and one["ready"]}
        return len(found) == 2 and found != fronts

    wait_until(both)
    for _ in range(20):
        assert requests.get(broker.url + "/-/", timeout=5).status_code == 200


def test_sigkill_of_the_engine_while_it_sends(start_broker: Start) -> None:
    """50 L2 messages, the sender's engine killed in the middle: each is delivered, and the receiver has each once."""
    one, two = start_broker(*FAST), start_broker(*FAST)
    one.become(*LAYERS)
    two.become(*LAYERS, neighbors=[one.socket("l1")])
    wait_until(lambda: two.member in one.known())
    engine = one.pid("engine")
    sent = []
    for number in range(50):
        sent.append(one.message("l2", number))
        one.ok("POST", f"{sent[-1]}?action=send_l2", {})
        if number == 25:
            os.kill(engine, signal.SIGKILL)

    def delivered() -> bool:
        return all(one.attributes(path, "message")["state"] == "delivered" for path in sent)

    wait_until(delivered, 20)
    arrived = [url.removeprefix(two.url) for url in two.get("/cmbs/message/")["X-OCCI-Location"]]
    assert sorted(arrived) == sorted(sent)
    assert [two.attributes(path, "message")["message_content"] for path in sent] == list(range(50))
    wait_until(lambda: all(listens(one.socket(layer)) for layer in LAYERS))
    assert one.attributes(f"/cmbs/member/{one.member}", "member")["listening"] == list(LAYERS)


def test_sigkill_of_the_receivers_engine(start_broker: Start) -> None:
    """50 L2 messages, the receiver's engine killed in the middle: each arrives once."""
    one, two = start_broker(*FAST), start_broker(*FAST)
    one.become("l1")
    two.become("l1", "l2", neighbors=[one.socket("l1")])
    wait_until(lambda: two.member in one.known())
    sent = []
    for number in range(50):
        sent.append(one.message("l2", number))
        one.ok("POST", f"{sent[-1]}?action=send_l2", {})
        if number == 25:
            os.kill(two.pid("engine"), signal.SIGKILL)
    wait_until(lambda: all(one.attributes(path, "message")["state"] == "delivered" for path in sent), 20)
    arrived = [url.removeprefix(two.url) for url in two.get("/cmbs/message/")["X-OCCI-Location"]]
    assert sorted(arrived) == sorted(sent)


def test_sigkill_of_the_sender_as_a_whole(start_broker: Start) -> None:
    """Sends that were answered are finished by the restarted broker, each with effect once."""
    one, two = start_broker(*FAST), start_broker(*FAST)
    one.become("l1")
    two.become("l1", "l2", neighbors=[one.socket("l1")])
    wait_until(lambda: two.member in one.known())
    sent = [one.message("l2", number) for number in range(50)]
    for path in sent:
        one.ok("POST", f"{path}?action=send_l2", {})
    one.kill()
    one.start()
    wait_until(lambda: all(one.attributes(path, "message")["state"] == "delivered" for path in sent), 20)
    arrived = [url.removeprefix(two.url) for url in two.get("/cmbs/message/")["X-OCCI-Location"]]
    assert sorted(arrived) == sorted(sent)


def test_while_the_engine_is_gone(start_broker: Start) -> None:
    """Messages and sends are accepted while the engine is away; what needs it is done or a 503 with Retry-After at once."""
    broker = start_broker(*FAST)
    broker.become("l1")
    engine = broker.pid("engine")
    os.kill(engine, signal.SIGSTOP)  # it hangs, which is worse than being gone
    path = broker.message("l1", "x", l1_socket_receiver_member=broker.socket("l1"))
    began = time.monotonic()
    assert broker.ok("POST", f"{path}?action=send_l1", {})["state"] == "sending"
    assert time.monotonic() - began < 5
    os.kill(engine, signal.SIGKILL)
    answer = broker.request("POST", f"/cmbs/member/{broker.member}?action=start_l2", {})
    if answer.status_code != 200:
        refusal(answer, 503, "engine-unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    wait_until(lambda: broker.request("POST", f"/cmbs/member/{broker.member}?action=start_l2", {}).status_code == 200)
    wait_until(lambda: broker.attributes(path, "message")["state"] == "delivered")


def test_a_receiver_that_is_away(start_broker: Start) -> None:
    """What is sent while the receiver is down is delivered, in order of acceptance, when it is back."""
    one, two = start_broker(*FAST), start_broker(*FAST)
    one.become("l1")
    two.become("l1", "l2", neighbors=[one.socket("l1")])
    wait_until(lambda: two.member in one.known())
    two.stop()
    sent = [one.message("l2", number) for number in range(10)]
    for path in sent:
        assert one.ok("POST", f"{path}?action=send_l2", {})["state"] == "sending"
    two.start()
    wait_until(lambda: all(one.attributes(path, "message")["state"] == "delivered" for path in sent), 20)
    arrived = [url.removeprefix(two.url) for url in two.get("/cmbs/message/")["X-OCCI-Location"]]
    assert arrived == sent


def test_a_deadline_that_passes(start_broker: Start) -> None:
    """A recipient that does not answer within the message's deadline is unknown, with the reason and the attempts."""
    one = start_broker(*FAST)
    one.become("l1")
    path = one.message("l1", "x", l1_socket_receiver_member=free_socket(), deadline=0.5)
    report = one.send(path, "l1", wait=8)
    (row,) = report["deliveries"]
    assert (report["state"], row["state"]) == ("unknown", "unknown")
    assert row["attempts"] >= 1
    assert row["reason"]
    assert one.attributes(path, "message")["state"] == "unknown"


def test_a_deadline_that_passes_while_the_broker_is_down(start_broker: Start) -> None:
    """A deadline is a time, not a time of running: what is overdue after a kill is not sent, and may have been."""
    one = start_broker(*FAST)
    one.become("l1")
    path = one.message("l1", "x", l1_socket_receiver_member=free_socket(), deadline=0.2)
    one.ok("POST", f"{path}?action=send_l1", {})
    one.kill()
    one.start()
    wait_until(lambda: one.attributes(path, "message")["state"] == "unknown")


def unavailable(broker: Broker, body: object) -> None:
    """A write is refused within a second or so, with the time after which to try again."""
    began = time.monotonic()
    answer = broker.request("POST", "/cmbs/message/", body)
    refusal(answer, 503, "store-unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert time.monotonic() - began < 5


@on_sqlite
def test_a_store_that_is_gone_for_a_while(start_broker: Start) -> None:
    """While the database is moved away writes are a 503 with Retry-After; when it is back all is as before, unrestarted."""
    broker = start_broker(*FAST)
    broker.become("l1")
    before = broker.message("l1", "before", l1_socket_receiver_member=broker.socket("l1"))
    fronts, database, away = broker.pid("front"), broker.home / "pycmbs.db", broker.home / "away.db"
    database.rename(away)
    for _ in range(3):
        unavailable(broker, {"kind": MESSAGE})
    away.rename(database)
    after = wait_until(lambda: broker.message("l1", "after", l1_socket_receiver_member=broker.socket("l1")), 5)
    for path in (before, after):
        assert broker.send(path, "l1")["state"] == "delivered"
    assert broker.pid("front") == fronts


@on_sqlite
def test_a_store_that_somebody_holds(start_broker: Start) -> None:
    """While another process holds the database's write lock writes are a 503 within a second, and reads go on."""
    broker = start_broker("--workers", "1")
    path = broker.message("l1", "x")
    holder = sqlite3.connect(broker.home / "pycmbs.db", isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        unavailable(broker, {"kind": MESSAGE})
        assert broker.attributes(path, "message")["message_content"] == "x"
        holder.execute("ROLLBACK")
        assert broker.message("l1", "y")
    finally:
        holder.close()
