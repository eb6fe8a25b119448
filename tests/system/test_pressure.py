"""What a request waits for has an end: a store that is kept busy and an engine that is frozen are a 503 within a second."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import requests

from tests.harness import Broker, free_socket, on_sqlite, refusal, wait_until

Start = Callable[..., Broker]
A_SECOND = 2.0
"""What a second may become on a machine that does other things, too."""


def timed(request: Callable[[], requests.Response]) -> tuple[requests.Response, float]:
    """An answer, and the seconds until it came."""
    began = time.monotonic()
    answer = request()
    return answer, time.monotonic() - began


@on_sqlite
def test_a_store_that_another_process_keeps_busy(start_broker: Start) -> None:
    """While another process has SQLite's write lock, whatever writes is a 503 within a second, however many ask, and what reads
    goes on; then all is as before."""
    broker = start_broker("--workers", "1")
    broker.become("l1")
    path = broker.message("l1", "x", l1_socket_receiver_member=broker.socket("l1"))
    with closing(sqlite3.connect(broker.home / "pycmbs.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        entity = {"resources": [{"kind": "http://houssem.org/cmbs#message"}]}
        for method, where, body in [
            ("POST", "/cmbs/message/", entity),
            ("POST", f"{path}?action=send_l1", {}),
            ("DELETE", path, None),
        ]:
            answer, seconds = timed(lambda request=(method, where, body): broker.request(*request))
            refusal(answer, 503, "store-unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
            assert seconds < A_SECOND, (method, where)
        assert broker.request("GET", path).status_code == 200
        other.execute("ROLLBACK")
    assert wait_until(lambda: broker.request("POST", "/cmbs/message/", entity).status_code == 201)


def test_an_engine_that_is_frozen(start_broker: Start) -> None:
    """While the engine gives no sign of life, what needs it is a 503 within a second; a send is accepted, and says so without
    waiting for what cannot come. The engine is replaced."""
    broker = start_broker("--workers", "1", "--poll", "0.1")
    broker.become("l1")
    path = broker.message("l1", "x", l1_socket_receiver_member=broker.socket("l1"))
    away = broker.message("l1", "x", l1_socket_receiver_member=free_socket())
    member, engine = f"/cmbs/member/{broker.member}", broker.pid("engine")
    os.kill(engine, signal.SIGSTOP)
    for action in ("start_l2", "check_neighbors", "stop_l1"):
        answer, seconds = timed(lambda action=action: broker.request("POST", f"{member}?action={action}", {}))
        refusal(answer, 503, "engine-unavailable")
        assert seconds < A_SECOND, action
    for message in (path, away):
        answer, seconds = timed(
            lambda message=message: broker.request("POST", f"{message}?action=send_l1", {"attributes": {"wait": 30}})
        )
        assert (answer.status_code, answer.json()["state"]) == (200, "sending")
        assert seconds < A_SECOND
    wait_until(lambda: "engine was killed" in broker.log(), 60, "the engine to be replaced")
    wait_until(lambda: broker.request("POST", f"{member}?action=start_l2", {}).status_code == 200, 60)
    wait_until(lambda: broker.attributes(path, "message")["state"] == "delivered", 60)
