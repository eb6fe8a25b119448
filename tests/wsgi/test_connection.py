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


def read(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    """An application that reads the whole body, and answers 408 when that takes too long."""
    try:
        body = environ["wsgi.input"].read()
    except TimeoutError:
        start("408 Request Timeout", [])
        return [b""]
    start("200 OK", [])
    return [b"%d" % len(body)]


def body_served(client: Pieces, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(connection.time, "monotonic", lambda: client.now)
    Connection(client, read, {}).serve()
    return client.sent


POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [POST + b"Content-Length: 1000\r\n\r\n", *([b"x"] * 1000)],
        [CHUNKED, *([b"1\r\nx\r\n"] * 1000)],
        [CHUNKED, *([b"1"] * 14), b"\r\n"],
        [CHUNKED, b"0\r\n", *([b"X"] * 14)],
    ],
    ids=["length", "chunks", "size", "trailer"],
)
def test_a_body_that_drips_is_refused(pieces: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends a byte now and then does not keep the connection for longer than a body may take; it is closed then."""
    dripping = Pieces(pieces, seconds=5)
    sent = body_served(dripping, monkeypatch)
    assert sent.startswith(b"HTTP/1.1 408 ")
    assert sent.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in sent
    assert dripping.now - 1000 < 80


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_large_body_has_more_time(monkeypatch: pytest.MonkeyPatch, chunked: bool) -> None:
    """A second more for each 64 KiB: a slow line that goes on is waited for."""
    piece = bytes(65_536)
    sent = [b"%x\r\n%s\r\n" % (len(piece), piece)] * 300 if chunked else [piece] * 300
    head = CHUNKED if chunked else POST + b"Content-Length: %d\r\n\r\n" % (300 * len(piece))
    client = Pieces([head, *sent, b"0\r\n\r\n"] if chunked else [head, *sent], seconds=1.1)
    assert b"%d" % (300 * len(piece)) in body_served(client, monkeypatch)


def test_after_a_slow_body_the_next_request_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for one body does not count for what follows."""
    request = POST + b"Content-Length: 2\r\n\r\n"
    client = Pieces([request, b"x", b"y", request, b"x", b"y"], seconds=25)
    assert body_served(client, monkeypatch).count(b"HTTP/1.1 200 OK") == 2


def test_a_fault_of_the_broker_blames_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that fails is a 500 with a code of its own."""

    def fail(_environ: dict[str, Any], _start: Callable[..., Any]) -> list[bytes]:
        raise ZeroDivisionError

    client = Pieces([HEAD])
    monkeypatch.setattr(connection.time, "monotonic", lambda: client.now)
    Connection(client, fail, {}).serve()
    assert client.sent.startswith(b"HTTP/1.1 500 ")
    assert b'"code": "error"' in client.sent
