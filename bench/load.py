"""The load: keep-alive connections of one process that send the next request as soon as the last is answered.

Runs as a process of its own (``python -m bench.load``): orders as JSON on standard input, figures as JSON on standard output.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from bench import ROOT

WARM_UP = 0.3
"""How long the load is on before the figures count, as a part of the time in which they do."""
_SILENCE = 60.0
"""Seconds without any answer after which a run is given up."""


@dataclass(frozen=True)
class Request:
    """One HTTP request, and by what its answer is known to be good."""

    method: str
    target: str
    body: str = ""
    status: int = 200
    contains: str = ""
    headers: Sequence[tuple[str, str]] = (
        ("Accept", "application/occi+json"),
        ("Content-Type", "application/occi+json"),
    )

    def encode(self) -> bytes:
        """The bytes for the wire."""
        body = self.body.encode()
        headers = [(name, text) for name, text in self.headers if body or name != "Content-Type"]
        if body:
            headers.append(("Content-Length", str(len(body))))
        lines = [
            f"{self.method} {self.target} HTTP/1.1",
            "Host: 127.0.0.1",
            *(f"{name}: {text}" for name, text in headers),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def ask(self, port: int) -> str:
        """Put it once; the body. Raises RuntimeError for another answer than the request expects."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with contextlib.closing(connection):
            connection.request(self.method, self.target, self.body, dict(self.headers))
            response = connection.getresponse()
            body = response.read().decode()
        if response.status != self.status or self.contains not in body:
            raise RuntimeError(f"{self.method} {self.target} was answered {response.status}: {body}")
        return body


@dataclass(frozen=True)
class Orders:
    """What one run of the load is to do. The connections take the requests in turn, and begin again at their end."""

    port: int
    connections: int
    seconds: float
    requests: list[Request]
    apart: bool = False
    """Whether each connection has a part of the requests of its own, in their order."""
    ca: str = ""
    """The file of the authority whose certificate the server has; empty: it speaks no TLS."""


@dataclass(frozen=True)
class Figures:
    """What came of a run: answers per second, and seconds until half and until 99 % of them."""

    rate: float
    p50: float
    p99: float


def figures(latencies: list[float], seconds: float) -> Figures:
    """The figures of a run of ``seconds``. Raises RuntimeError when nothing was answered in it."""
    if not latencies:
        raise RuntimeError(f"nothing was answered within {seconds} s")
    latencies.sort()
    last = len(latencies) - 1
    return Figures(len(latencies) / seconds, latencies[last // 2], latencies[round(last * 0.99)])


def run(orders: Orders) -> Figures:
    """Have a process of its own put on the load. Raises RuntimeError with what it complained of."""
    command = [sys.executable, "-m", "bench.load"]
    text = json.dumps(asdict(orders))
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return Figures(**json.loads(done.stdout))


def context(ca: str) -> ssl.SSLContext:
    """That of a client that believes this authority."""
    made = ssl.create_default_context(cafile=ca)
    made.check_hostname = False
    return made


class Client:
    """One connection with one request under way."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.since = 0.0

    def next(self) -> None:
        """Send the next request."""
        self.since = time.perf_counter()
        self.send()

    def send(self) -> None:
        """Send a request."""
        raise NotImplementedError

    def receive(self) -> bool:
        """Take what arrived; whether that completes the answer. Raises RuntimeError for one that is not as expected."""
        raise NotImplementedError


class _HttpClient(Client):
    """Takes its requests from those of all."""

    def __init__(
        self, port: int, requests: Iterator[tuple[bytes, bytes, bytes]], secure: ssl.SSLContext | None
    ) -> None:
        plain = socket.create_connection(("127.0.0.1", port))
        super().__init__(secure.wrap_socket(plain) if secure else plain)
        self._requests = requests
        self._received = b""

    def send(self) -> None:
        """Send the next of all."""
        request, self._status, self._contains = next(self._requests)
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take what arrived; whether that completes the answer. Raises RuntimeError for one that is not as expected."""
        piece = self.socket.recv(262144)
        while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            piece += self.socket.recv(262144)
        if not piece:
            raise RuntimeError("the server closed a connection")
        received = self._received = self._received + piece
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return False
        at = received[:end].lower().find(b"content-length: ")
        length = int(received[at + 16 : received.find(b"\r", at)])
        if len(received) < end + 4 + length:
            return False
        if not received.startswith(self._status, 9) or self._contains not in received:
            raise RuntimeError(f"an answer is not as expected: {received[:2000].decode('utf-8', 'replace')}")
        self._received = b""
        return True


def drive(clients: Sequence[Client], seconds: float) -> Figures:
    """Have every client ask, and ask again as soon as it is answered, for so many seconds, and in any case until something was
    answered in them. Raises RuntimeError when answers stay out."""
    by_descriptor = {client.socket.fileno(): client for client in clients}
    poll = select.epoll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    latencies: list[float] = []
    for client in clients:
        client.next()
    begin = time.perf_counter() + seconds * WARM_UP
    end = begin + seconds
    last = begin
    while time.perf_counter() < end or not latencies:
        ready = poll.poll(_SILENCE)
        if not ready:
            raise RuntimeError(f"nothing is answered any more, for {_SILENCE} s")
        for descriptor, _ in ready:
            client = by_descriptor[descriptor]
            if client.receive():
                now = time.perf_counter()
                if begin <= now < end or (now >= end and not latencies):
                    latencies.append(now - client.since)
                    last = now
                client.next()
    poll.close()
    for client in clients:
        client.socket.close()
    return figures(latencies, max(seconds, last - begin))


def _load(orders: Orders) -> Figures:
    encoded = [(one.encode(), str(one.status).encode(), one.contains.encode()) for one in orders.requests]
    if orders.apart:
        share = len(encoded) // orders.connections
        sources = [itertools.cycle(encoded[at * share : (at + 1) * share]) for at in range(orders.connections)]
    else:
        sources = [itertools.cycle(encoded)] * orders.connections
    secure = context(orders.ca) if orders.ca else None
    return drive([_HttpClient(orders.port, source, secure) for source in sources], orders.seconds)


def main() -> None:
    """Do what standard input orders."""
    document = json.load(sys.stdin)
    orders = Orders(**{**document, "requests": [Request(**one) for one in document["requests"]]})
    try:
        json.dump(asdict(_load(orders)), sys.stdout)
    except (RuntimeError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
