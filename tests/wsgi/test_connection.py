"""A client's connection by itself, with the socket's part played by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from pycmbs.wsgi import connection
from pycmbs.wsgi.connection import Connection


class Pieces:
    """A client that sends its request in pieces, each after so many seconds."""

    closing = False

    def __init__(self, pieces: Iterable[bytes], seconds: float = 0.0) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._seconds = seconds
        self.now = 1000.0
        self.sent = b""

    def receive(self, *, idle: bool) -> bytes:
        del idle
        self.now += self._seconds
        return next(self._pieces, b"")

    def send(self, data: bytes) -> None:
        self.sent += data

    def give_way(self) -> None:
        pass

    def linger(self) -> None:
        pass


def answer(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def served(client: Pieces, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The first line of the answer; nothing when there is none."""
    monkeypatch.setattr(connection.time, "monotonic", lambda: client.now)
    Connection(client, answer, {}).serve()
    return client.sent.partition(b"\r\n")[0]


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_a_head_that_drips_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends a byte now and then does not keep the connection for longer than a head may take."""
    dripping = Pieces((HEAD[at : at + 1] for at in range(len(HEAD))), seconds=5)
    assert served(dripping, monkeypatch) == b"HTTP/1.1 408 Request Timeout"
    assert dripping.now - 1000 < 2 * connection._HEAD_SECONDS


def test_a_head_in_pieces_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is divided, if it is complete in time; the silence before it does not count."""
    assert served(Pieces([HEAD[:7], HEAD[7:20], HEAD[20:]], seconds=25), monkeypatch) == b"HTTP/1.1 200 OK"


def test_the_wait_between_requests_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept connection is quiet for as long as it may be, and its next head has all its time."""
    first = HEAD.replace(b"close", b"keep-alive")
    client = Pieces([first, HEAD[:10], HEAD[10:]], seconds=50)
    served(client, monkeypatch)
    assert client.sent.count(b"HTTP/1.1 200 OK") == 2
