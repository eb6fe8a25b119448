"""Real brokers whose wall clock is set while they run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.clock import Clock
from tests.harness import Broker, wait_until

FAST = ("--workers", "1", "--retry-first", "0.05", "--retry-most", "0.3", "--poll", "0.2")


def engines(broker: Broker) -> list[int]:
    """Its engine, if it is ready."""
    return [one["pid"] for one in broker.state()["children"] if one["role"] == "engine" and one["ready"]]


@pytest.mark.parametrize("days", [3, -3])
def test_a_deadline_is_as_long_as_it_is(start_broker: Callable[..., Broker], tmp_path: Path, days: int) -> None:
    """A message waits for a receiver that is away. The sender's clock is set days ahead or back, its engine is killed, then all
    of it, more is accepted, the clock is right again: nothing expires or is forgotten, and the order holds."""
    (tmp_path / "modules").mkdir()
    clock = Clock(tmp_path / "modules")
    one = start_broker(*FAST, "--retain-seconds", "3600", environ={"PYTHONPATH": str(tmp_path / "modules")})
    two = start_broker(*FAST)
    one.become("l1")
    two.become("l1", "l2", neighbors=[one.socket("l1")])
    wait_until(lambda: two.member in one.known(), what="they know each other")
    settled = one.message("l2", "settled")
    assert one.send(settled, "l2")["state"] == "delivered"
    two.kill()

    def sent(content: str) -> str:
        path = one.message("l2", content)
        one.ok("POST", f"{path}?action=send_l2", {})
        return path

    waiting = [sent("before")]
    clock.step(days * 86400)
    wait_until(lambda: "the clock was set" in one.log(), what="it is said")
    waiting.append(sent("meanwhile"))
    engine = one.pid("engine")
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: {engine} < {engine, *engines(one)}, what="there is another engine")
    one.kill()
    one.start()
    waiting.append(sent("from another life"))
    shown = {path: one.attributes(path, "message")["deliveries"][0] for path in waiting}
    assert {row["state"] for row in shown.values()} <= {"pending", "sent"}
    first, last = (shown[path]["accepted"] for path in (waiting[0], waiting[-1]))
    assert first < last
    clock.step(0)
    waiting.append(sent("after"))
    two.start()
    for path in waiting:
        wait_until(lambda p=path: one.attributes(p, "message")["state"] == "delivered", 30, f"{path} is delivered")
    assert one.request("GET", settled).status_code == 200
    held = [url.removeprefix(two.url) for url in two.get("/cmbs/message/")["X-OCCI-Location"]]
    assert held == [settled, *waiting]
