"""NATS JetStream: publish to a stream on file, each message acknowledged. Its own protocol, no HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

from bench import peers
from bench.broker import free_port
from bench.load import Client, drive
from bench.scenarios import message

NAME = "NATS JetStream, file storage"
WHAT = "in the file, not yet on the disk; its own protocol, no HTTP and no model"


def missing() -> str:
    """What is not installed."""
    return "" if peers.command("nats-server") else "nats-server"


class _Publisher(Client):
    """One connection, one message under way."""

    def __init__(self, port: int, number: int) -> None:
        self._inbox = f"inbox.{number}"
        payload = json.dumps(message()).encode()
        self._publish = b"PUB bench %s %d\r\n%s\r\n" % (self._inbox.encode(), len(payload), payload)
        self._received = b""
        connection = socket.create_connection(("127.0.0.1", port))
        connection.recv(65536)  # who it is
        connection.sendall(b'CONNECT {"verbose":false}\r\nSUB %s 1\r\nPING\r\n' % self._inbox.encode())
        while b"PONG" not in self._received:
            self._received += connection.recv(65536)
        self._received = b""
        super().__init__(connection)

    def ask(self, subject: str, document: object) -> bytes:
        """A request, and its answer."""
        payload = json.dumps(document).encode()
        self.socket.sendall(b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), self._inbox.encode(), len(payload), payload))
        while not self.receive():
            pass
        return self._answer

    def send(self) -> None:
        """Publish."""
        self.socket.sendall(self._publish)

    def receive(self) -> bool:
        """Take what arrived; whether it is acknowledged. Raises RuntimeError for a refusal."""
        self._received += self.socket.recv(65536)
        if self._received.startswith(b"PING\r\n"):
            self.socket.sendall(b"PONG\r\n")
            self._received = self._received[6:]
        head, mark, rest = self._received.partition(b"\r\n")
        if not mark or len(rest) < int(head.split()[-1]) + 2:
            return False
        if b'"error"' in rest:
            raise RuntimeError(rest.decode())
        self._answer, self._received = rest, b""
        return True


@contextlib.contextmanager
def serving(home: Path) -> Iterator[peers.Measure]:
    """A server with a stream."""
    port = free_port()
    command = [peers.command("nats-server"), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(home)]
    with peers.process(command, home, port):
        first = _Publisher(port, 0)
        first.ask("$JS.API.STREAM.CREATE.bench", {"name": "bench", "subjects": ["bench"], "storage": "file"})
        first.socket.close()
        yield lambda connections, seconds: drive([_Publisher(port, number) for number in range(connections)], seconds)
