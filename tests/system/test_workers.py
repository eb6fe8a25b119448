"""What a broker cannot do without, and loses, is logged and replaced."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.harness import Broker, wait_until

HERE = Path(__file__).parent / "breaking"


def _works(broker: Broker, role: str) -> bool:
    """Whether the process that is ready is there."""
    ready = [one["pid"] for one in broker.state()["children"] if one["role"] == role and one["ready"]]
    return all(Path(f"/proc/{pid}").exists() for pid in ready) and bool(ready)


@pytest.mark.parametrize(
    ("role", "thread"),
    [("engine", "outbound"), ("engine", "zeromq-transport"), ("front", "heartbeat"), ("front", "silent-connections")],
)
def test_a_process_that_loses_a_thread_it_needs_is_replaced(tmp_path: Path, role: str, thread: str) -> None:
    """The log names the thread, and messages are accepted and delivered afterwards."""
    named = tmp_path / "thread"
    environ = {"PYTHONPATH": str(HERE), "TEST_BREAKS": str(named)}
    broker = Broker(tmp_path / "home", "--workers", "1", environ=environ).start()
    try:
        broker.become("l1", "l2")
        before = broker.pid(role)
        named.write_text(thread)
        os.kill(before, signal.SIGKILL)  # the next one loses the thread, and the one after that does not
        wait_until(lambda: not named.exists(), 20, what="a thread that breaks")
        wait_until(lambda: f"the thread {thread} ended by an error" in broker.log(), 20, what="the log line")
        wait_until(lambda: "exited with code 1" in broker.log(), 20, what="its end")
        wait_until(lambda: _works(broker, role), 20, what="another one")
        path = broker.message("l1", "hello", l1_socket_receiver_member=broker.socket("l1"))
        assert broker.send(path, "l1")["state"] == "delivered"
        assert broker.stop() == 0
    finally:
        if broker.process is not None and broker.process.poll() is None:
            broker.kill()
