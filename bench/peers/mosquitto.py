"""mosquitto: MQTT publish with QoS 1, kept for a session that is away."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from bench import peers
from bench.broker import free_port
from bench.load import Client, drive
from bench.scenarios import message

NAME = "mosquitto, MQTT QoS 1"
WHAT = "in memory (saved every half hour by default); its own protocol, no HTTP and no model"


def missing() -> str:
    """What is not installed."""
    return "" if peers.command("mosquitto") else "mosquitto"


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


def _packet(kind: int, content: bytes) -> bytes:
    length, left = b"", len(content)
    while True:
        left, digit = left // 128, left % 128
        length += bytes([digit | 128 if left else digit])
        if not left:
            return bytes([kind]) + length + content


def _connected(port: int, name: str, *, clean: bool) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(_packet(0x10, _text("MQTT") + bytes([4, 2 if clean else 0, 0, 0]) + _text(name)))
    if connection.recv(4)[3:] != b"\x00":
        raise RuntimeError("mosquitto refused a connection")
    return connection


class _Publisher(Client):
    """One connection, one message under way."""

    def __init__(self, port: int, number: int) -> None:
        payload = json.dumps(message()).encode()
        self._publish = _packet(0x32, _text("bench") + struct.pack(">H", 1) + payload)
        self._received = b""
        super().__init__(_connected(port, f"publisher-{number}", clean=True))

    def send(self) -> None:
        """Publish."""
        self.socket.sendall(self._publish)

    def receive(self) -> bool:
        """Take what arrived; whether it is acknowledged. Raises RuntimeError for anything else."""
        self._received += self.socket.recv(16)
        if len(self._received) < 4:
            return False
        if not self._received.startswith(b"\x40\x02"):
            raise RuntimeError(f"mosquitto answered {self._received!r}")
        self._received = b""
        return True


@contextlib.contextmanager
def serving(home: Path) -> Iterator[peers.Measure]:
    """A server with one subscriber, who is away."""
    port = free_port()
    configuration = home / "mosquitto.conf"
    configuration.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {home}/\n"
        "max_queued_messages 0\nuser root\n"
    )
    with peers.process([peers.command("mosquitto"), "-c", str(configuration)], home, port):
        away = _connected(port, "away", clean=False)
        away.sendall(_packet(0x82, struct.pack(">H", 1) + _text("bench") + b"\x01"))
        away.recv(16)
        away.close()
        yield lambda connections, seconds: drive([_Publisher(port, number) for number in range(connections)], seconds)
