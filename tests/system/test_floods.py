"""What strangers send to a member's sockets costs little, whatever it is, and members go on being answered."""

from __future__ import annotations

import json
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
