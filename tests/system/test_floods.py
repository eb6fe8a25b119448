"""What strangers send to a member's sockets costs little, whatever it is, and members go on being answered."""

from __future__ import annotations

import contextlib
import json
import socket as plain
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tests.harness import Broker, wait_until

Start = Callable[..., Broker]
MB = 1024 * 1024
MOST_GROWTH = 250 * MB


def memory(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.fixture
def stranger() -> Iterator[Callable[[str], zmq.Socket[bytes]]]:
    """Sockets that are connected to an address and may send whatever they like."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets: list[zmq.Socket[bytes]] = []

    def connect(url: str) -> zmq.Socket[bytes]:
        sockets.append(socket := context.socket(zmq.DEALER))
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, 0)
        socket.connect(url)
        return socket

    yield connect
    for one in sockets:
        one.close(0)
    context.term()


LIMITED = (
    "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (700, 700)); "
    "sys.argv = ['pycmbs', *sys.argv[1:]]; runpy.run_module('pycmbs', run_name='__main__')"
)
"""Runs a broker whose processes may have 700 descriptors each."""


def test_a_flood_of_silent_connections(start_broker: Start) -> None:
    """More connections than there are descriptors keep no one out: members meet, and messages arrive. One line says it."""
    broker = start_broker("--workers", "1", "--poll", "0.1", program=("-c", LIMITED, "serve"))
    broker.become("l1", "l2")
    address = ("127.0.0.1", int(broker.socket("l1").rpartition(":")[2]))
    with contextlib.ExitStack() as silent:
        for _ in range(800):
            silent.enter_context(plain.create_connection(address, timeout=60))
        other = start_broker("--workers", "1", "--poll", "0.1")
        other.become("l1", "l2", neighbors=[broker.socket("l1")])
        wait_until(lambda: other.member in broker.known() and broker.member in other.known(), 60, "them to meet")
        for here in (broker, other):
            assert here.send(here.message("l2", "x"), "l2", wait=60)["state"] == "delivered"
    assert "Traceback" not in broker.log()
    assert broker.log().count("is closed") == 1


def probe(socket: zmq.Socket[bytes]) -> str:
    """Who answers a probe."""
    socket.send(json.dumps({"cmbs": 1, "type": "probe", "id": "p", "from": "stranger", "body": {}}).encode())
    assert socket.poll(20_000), "a probe is not answered"
    return str(json.loads(socket.recv())["from"])


def envelope(body: bytes) -> bytes:
    """A datagram with this body."""
    return b'{"cmbs":1,"type":"hello","id":"x","from":"stranger","body":' + body + b"}"


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(envelope(b'{"a":[' + b"[]," * (60 * MB // 3) + b"0]}"), id="60 MiB of arrays"),
        pytest.param(envelope(b'{"a":[' + b"[]," * (2 * MB // 3) + b"0]}"), id="2 MiB of arrays"),
        pytest.param(envelope(b'{"a":[' + b'{"":[]},' * (2 * MB // 8) + b"0]}"), id="2 MiB of objects"),
        pytest.param(envelope(b'{"a":"' + b"x" * (2 * MB) + b'"}'), id="2 MiB of text"),
        pytest.param(b"[" * (2 * MB), id="2 MiB of brackets"),
        pytest.param(envelope(b'{"a":' + b"9" * (2 * MB) + b"}"), id="2 MiB of digits"),
    ],
)
def test_a_flood_of_large_datagrams(
    start_broker: Start, stranger: Callable[[str], zmq.Socket[bytes]], datagram: bytes
) -> None:
    """Many datagrams at once of all that is allowed, or of more, neither fill the memory nor keep a probe from its answer."""
    broker = start_broker("--workers", "1", "--poll", "0.1")
    broker.become("l1")
    url, engine = broker.socket("l1"), broker.pid("engine")
    assert probe(stranger(url)) == broker.member
    before = memory(engine)
    floods = [stranger(url) for _ in range(3)]
    for flood in floods:
        for _ in range(4 if len(datagram) > 10 * MB else 40):
            flood.send(datagram, copy=False)
    assert wait_until(lambda: probe(stranger(url)), 60) == broker.member
    assert memory(engine) - before < MOST_GROWTH
    assert broker.pid("engine") == engine
    assert "Traceback" not in broker.log()
    assert broker.log().count("is dropped") < 100
