"""Brokers whose store is a database on a CouchDB server: what holds for the embedded store holds for this one."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.conftest import brokers
from tests.couchdb_proxy import UnkindServer, with_slow_views
from tests.couchdb_server import CouchServer, stand_in
from tests.harness import JSON, ROOT, Broker, refusal, wait_until
from tests.system.test_durability import (  # noqa: F401 - they run here, too
    test_a_deadline_that_passes,
    test_a_killed_front_is_replaced,
    test_a_receiver_that_is_away,
    test_one_killed_front_of_two,
    test_sigkill_of_everything_loses_nothing,
    test_sigkill_of_the_engine_while_it_sends,
    test_sigkill_of_the_receivers_engine,
    test_sigkill_of_the_sender_as_a_whole,
)
from tests.system.test_federation import *  # noqa: F403
from tests.system.test_readme_2012 import *  # noqa: F403
from tests.system.test_users import (  # noqa: F401
    test_everything_at_once_is_for_an_admin_to_delete,
    test_what_was_revoked_is_not_let_in_for_a_second,
    test_who_sees_his_own_sees_it_page_by_page,
)


@pytest.fixture
def start_broker(tmp_path: Path, couchdb_server: CouchServer) -> Iterator[Callable[..., Broker]]:
    """Starts real brokers, each with a home and a database of its own."""
    made: list[str] = []

    def store() -> tuple[str, ...]:
        made.append(f"pycmbs-test-{uuid.uuid4().hex}")
        return ("--store", couchdb_server.store_url(made[-1]))

    yield from brokers(tmp_path, store)
    for name in made:
        couchdb_server.request("DELETE", f"/{name}")


# Trouble


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CouchServer]:
    """A server of this test's own, which may be killed; it is not started."""
    folder = tmp_path / "couchdb"
    folder.mkdir()
    server = stand_in(folder)
    yield server
    server.kill()
    server.session.close()


@pytest.fixture
def start_on(tmp_path: Path, server: CouchServer) -> Iterator[Callable[..., Broker]]:
    """Starts brokers on that server, with the deadlines that users have."""
    yield from brokers(tmp_path, lambda: ("--store", server.store_url("pycmbs", None), "--workers", "1"))


def refused_soon(broker: Broker, method: str, path: str, body: object = None) -> str:
    """It is a 503 with Retry-After, within about a second; returns its sentence."""
    begin = time.monotonic()
    answer = broker.request(method, path, body)
    assert time.monotonic() - begin < 5
    assert answer.headers["Retry-After"] == "1"
    return refusal(answer, 503, "store-unavailable")["message"]


def works(broker: Broker) -> bool:
    """It takes a message."""
    return broker.request("POST", "/cmbs/message/", NOTE).status_code == 201


NOTE = {"kind": "http://houssem.org/cmbs#message", "attributes": {"cmbs.message.message_content": "x"}}


def test_a_server_that_is_down_at_the_start(server: CouchServer, start_on: Callable[..., Broker]) -> None:
    """The broker starts, says what it waits for, answers 503, and serves by itself once the server is there."""
    broker = start_on()
    assert "without its store" in broker.line
    assert server.url.removeprefix("http://") in refused_soon(broker, "GET", "/-/")
    refused_soon(broker, "POST", "/cmbs/message/", NOTE)
    server.start()
    wait_until(lambda: works(broker), 20, "the broker serves")
    wait_until((broker.home / "run" / "engine.sock").exists, 20, "the engine serves, too")
    broker.become("l1")


def test_a_server_that_goes_and_comes_back(server: CouchServer, start_on: Callable[..., Broker]) -> None:
    """While it is killed everything is a 503 at once; afterwards what was accepted is there, without a restart."""
    server.start()
    broker = start_on()
    broker.become("l1")
    path = broker.message("l1", "kept", l1_socket_receiver_member=broker.socket("l1"))
    server.kill()
    for method, url, body in (("GET", path, None), ("POST", "/cmbs/message/", NOTE), ("DELETE", path, None)):
        refused_soon(broker, method, url, body)
    server.start()
    wait_until(lambda: works(broker), 20, "the broker serves")
    assert broker.attributes(path, "message")["message_content"] == "kept"
    assert broker.send(path, "l1")["state"] == "delivered"


def test_a_server_that_hangs(server: CouchServer, start_on: Callable[..., Broker]) -> None:
    """Every call has its deadline: those side by side too are refused within about a second, and work afterwards."""
    server.start()
    broker = start_on()
    server.pause(paused=True)
    with ThreadPoolExecutor(30) as clients:
        begin = time.monotonic()
        answers = [clients.submit(requests.get, broker.url + "/cmbs/message/", timeout=20) for _ in range(60)]
        assert {answer.result().status_code for answer in answers} == {503}
        assert time.monotonic() - begin < 6
    server.pause(paused=False)
    wait_until(lambda: works(broker), 20, "the broker serves")


def test_a_server_that_builds_its_index(couchdb_server: CouchServer, tmp_path: Path) -> None:
    """While that takes longer than a question may, the broker runs and answers 503; nothing of it ends. Afterwards it serves by
    itself, and does what waited."""
    built = threading.Event()
    with UnkindServer(couchdb_server).running() as server, server.database() as url:
        starting = brokers(tmp_path, lambda: ("--store", url.partition("?")[0], "--workers", "1"))
        start = next(starting)
        broker = start()
        broker.become("l1")
        path = broker.message("l1", "kept", l1_socket_receiver_member=broker.socket("l1"))
        broker.stop()
        server.rules.append(with_slow_views(built))
        broker.start()
        assert "without its store" in broker.line
        refused_soon(broker, "GET", "/cmbs/message/")
        engine = broker.state()["children"]
        refused_soon(broker, "GET", "/-/")
        assert broker.state()["children"] == engine
        built.set()
        wait_until(lambda: works(broker), 20, "the broker serves")
        wait_until(lambda: broker.request("GET", path).status_code == 200, 10, "all of it")
        wait_until(lambda: broker.request("POST", f"{path}?action=send_l1", {}), 20, "a send")
        wait_until(lambda: broker.attributes(path, "message")["state"] == "delivered", 30, "the delivery")
        assert "code 1" not in broker.log()
        with pytest.raises(StopIteration):
            next(starting)


def test_a_deleted_database_is_not_made_anew(server: CouchServer, start_on: Callable[..., Broker]) -> None:
    """A broker whose database is deleted says so rather than begin with an empty one."""
    server.start()
    broker = start_on()
    assert works(broker)
    assert server.request("DELETE", "/pycmbs").ok
    assert "there is no database" in refused_soon(broker, "GET", "/cmbs/message/")
    refused_soon(broker, "POST", "/cmbs/message/", NOTE)
    assert server.request("GET", "/pycmbs").status_code == 404


def test_wrong_credentials_end_the_start(server: CouchServer, tmp_path: Path) -> None:
    """The broker does not start; the sentence names the server and not the password."""
    server.start()
    url = server.store_url("pycmbs", None).replace("//", "//nobody:s3cret@")
    command = [sys.executable, "-m", "pycmbs", "serve", "--home", str(tmp_path / "home"), "--port", "0", "--store", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert "refuses the user or the password" in done.stderr
    assert "s3cret" not in done.stderr


# Many at once


KIND = {"term": "counter", "scheme": "http://example.org/test#", "title": "", "location": "/counter/"}
CLIENTS, OPERATIONS, ENTITIES = 16, 10_000, 100


class Counting:
    """One client: it sets an attribute of its own to ever greater numbers, and remembers what was acknowledged."""

    def __init__(self, broker: Broker, number: int) -> None:
        self.broker = broker
        self.number = number
        self.last: dict[str, int] = {}
        self.made: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()

    def run(self) -> None:
        """Its share of the operations: the first half of the entities is only changed, the others come and go."""
        chance = random.Random(self.number)
        with requests.Session() as session:
            for step in range(1, OPERATIONS // CLIENTS + 1):
                id = f"e{chance.randrange(ENTITIES)}"
                verb = "POST" if int(id[1:]) < ENTITIES // 2 else chance.choice(("POST", "DELETE", "CREATE"))
                self._do(session, verb, id, step)

    def _do(self, session: requests.Session, verb: str, id: str, step: int) -> None:
        url = f"{self.broker.url}/counter/"
        attributes = {f"c{self.number}": step}
        if verb == "CREATE":
            body = {"kind": KIND["scheme"] + KIND["term"], "id": id, "attributes": attributes}
            answer = session.post(url, json={"resources": [body]}, headers=JSON, timeout=60)
            self.made[id] += answer.status_code == 201
            assert answer.status_code in (201, 409), answer.text
        elif verb == "DELETE":
            answer = session.delete(url + id, headers=JSON, timeout=60)
            self.made[id] -= answer.status_code == 200
            assert answer.status_code in (200, 404, 409), answer.text
        else:
            answer = session.post(url + id, json={"attributes": attributes}, headers=JSON, timeout=60)
            assert answer.status_code in (200, 404, 409), answer.text
            if answer.status_code == 200:
                self.last[id] = step
        self.statuses[answer.status_code] += 1


@pytest.mark.timeout(300)
def test_ten_thousand_at_once_lose_nothing(start_broker: Callable[..., Broker]) -> None:
    """Two fronts and the engine on one database: every acknowledged change is there, every entity was made and deleted as
    often as was said, and every loser was told."""
    broker = start_broker("--workers", "2")
    attributes = {f"c{number}": {"type": "number", "mutable": True, "required": False} for number in range(CLIENTS)}
    broker.ok("POST", "/-/", {"kinds": [{**KIND, "attributes": attributes}]})
    for number in range(ENTITIES // 2):
        entity = {"kind": KIND["scheme"] + KIND["term"], "id": f"e{number}", "attributes": {}}
        broker.ok("POST", "/counter/", {"resources": [entity]})
    clients = [Counting(broker, number) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(client.run) for client in clients]:
            done.result()
    assert sum(sum(client.statuses.values()) for client in clients) == OPERATIONS // CLIENTS * CLIENTS
    for number in range(ENTITIES // 2):
        stored = broker.get(f"/counter/e{number}")["attributes"]
        assert stored == {f"c{one.number}": one.last[f"e{number}"] for one in clients if f"e{number}" in one.last}
    there = {url.rpartition("/")[2] for url in broker.get("/counter/")["X-OCCI-Location"]}
    for number in range(ENTITIES // 2, ENTITIES):
        assert sum(client.made[f"e{number}"] for client in clients) == (f"e{number}" in there)
