"""HTTP itself, byte by byte: what two servers could read differently is refused, so no request hides in another (RFC 9112)."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness import JSON, Answer, Broker, raw, refusal, wait_until

MESSAGES = "/cmbs/message/"
TYPE = b"Content-Type: application/occi+json\r\n"
ENTITY = json.dumps({"kind": "http://houssem.org/cmbs#message"}).encode()
HIDDEN = b"DELETE /cmbs/message/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""What must never be taken for a request of its own."""


@pytest.fixture(autouse=True)
def nothing_hidden(shared: Broker) -> Iterator[None]:
    """No test's refused bytes were a request: the message that was there before is there after; nothing failed inside."""
    path = shared.message("l1", "here before")
    yield
    assert shared.request("GET", path).status_code == 200
    assert "Traceback" not in shared.log()


def post(*headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    """A POST of these header lines, as they are."""
    return (
        b"POST /cmbs/message/ HTTP/" + version + b"\r\nHost: localhost\r\n" + TYPE + b"".join(one + b"\r\n" for one in headers)
        + b"\r\n" + body
    )  # fmt: skip


def get(*headers: bytes, target: bytes = b"/-/?category=message", version: bytes = b"1.1") -> bytes:
    """A GET of these header lines, as they are."""
    lines = (b"GET " + target + b" HTTP/" + version, b"Host: localhost", b"Accept: application/occi+json", *headers)
    return b"\r\n".join((*lines, b"", b""))


def everything(broker: Broker, *parts: bytes, pause: float = 0) -> bytes:
    """All that is answered to these bytes until the broker closes, or says nothing any more for a while."""
    with socket.create_connection(("127.0.0.1", broker.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        connection.shutdown(socket.SHUT_WR)
        answered = b""
        while piece := connection.recv(65536):
            answered += piece
        return answered


def refused(answer: Answer, *statuses: int) -> None:
    """An error as all others are, and the end of the connection: no one knows where the next request would begin."""
    assert answer.status in statuses, answer
    refusal(answer, answer.status, answer.json()["error"]["code"])
    assert answer.headers["connection"] == "close"


def refused_whole(broker: Broker, request: bytes, *statuses: int) -> None:
    """The bytes are refused, and answered once: what follows in them is nothing of its own."""
    refused(raw(broker, request), *statuses)
    assert everything(broker, request).count(b"HTTP/1.1 ") == 1


# Where a body ends


@pytest.mark.parametrize(
    "headers",
    [
        (b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 3"),
        (b"Content-Length: 0", b"transfer-encoding: CHUNKED"),
        (b"Content-Length: 3", b"Content-Length: 30"),
        (b"Content-Length: 3, 30",),
        (b"Content-Length: 3 0",),
        (b"Content-Length: +3",),
        (b"Content-Length: 0x3",),
        (b"Content-Length: 3;",),
        (b"Content-Length: ",),
        (b"Content-Length: 99999999999999999999999",),
        (b"Content-Length : 0",),
        (b"Content-Length\t: 0",),
        (b"Transfer-Encoding : chunked",),
        (b" Content-Length: 0",),
    ],
    ids=lambda headers: b" | ".join(headers).decode(),
)
def test_a_body_of_two_ends(shared: Broker, headers: tuple[bytes, ...]) -> None:
    """RFC 9112 6.3, 5.1: a body whose end two servers could see in different places is a 400 and the connection's end."""
    refused_whole(shared, post(*headers, body=b"0\r\n\r\n" + HIDDEN), 400)


@pytest.mark.parametrize(
    "coding",
    [b"identity", b"gzip", b"gzip, chunked", b"chunked, chunked", b"chunked, identity", b"xchunked", b'"chunked"', b""],
)
def test_a_coding_that_is_not_chunked(shared: Broker, coding: bytes) -> None:
    """RFC 9112 6.1: a transfer coding other than chunked is not understood, and nothing is guessed."""
    refused_whole(shared, post(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n" + HIDDEN), 400, 501)
    refused_whole(shared, post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: " + coding, body=HIDDEN), 400, 501)


def test_chunks_of_an_old_client(shared: Broker) -> None:
    """RFC 9112 6.1: HTTP/1.0 has no Transfer-Encoding; who sends one hides something."""
    refused_whole(shared, post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + HIDDEN, version=b"1.0"), 400)


@pytest.mark.parametrize(
    "chunks",
    [
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"+2\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b" 2\r\n{}\r\n0\r\n\r\n",
        b"0_2\r\n{}\r\n0\r\n\r\n",
        b"2g\r\n{}\r\n0\r\n\r\n",
        b"\r\n{}\r\n0\r\n\r\n",
        b"2\n{}\r\n0\r\n\r\n",
        b"2\r\n{}0\r\n\r\n",
        b"2\r\n{}xx0\r\n\r\n",
        b"2\r\n{}\n0\r\n\r\n",
        b"1\r\n{}\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        b"2;\n\r\n{}\r\n0\r\n\r\n",
        b"2;" + b"x" * 20_000 + b"\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nX Y: z\r\n\r\n",
        b"2\r\n{}\r\n0\r\n" + b"".join(b"X%d: y\r\n" % number for number in range(10_000)) + b"\r\n",
    ],
    ids=range(17),
)
def test_chunks_of_another_size(shared: Broker, chunks: bytes) -> None:
    """RFC 9112 7.1: a chunk's size is hexadecimal digits and nothing else, its data ends where that says, and what follows
    the last chunk is fields, of which there are few."""
    refused_whole(shared, post(b"Transfer-Encoding: chunked", body=chunks + HIDDEN), 400, 431)


def test_chunks_as_they_should_be(shared: Broker) -> None:
    """RFC 9112 7.1: sizes of either case and with leading zeros, extensions and trailers are read, in pieces of any size; the
    next request begins right after."""
    chunks = b"00%X;name=value\r\n%s\r\n%x\r\n%s\r\n0\r\nX-Sum: 1\r\n\r\n" % (
        10,
        ENTITY[:10],
        len(ENTITY) - 10,
        ENTITY[10:],
    )
    request = post(b"Transfer-Encoding: chunked", body=chunks) + get(b"Connection: close")
    for pieces in ([request], [request[at : at + 7] for at in range(0, len(request), 7)]):
        answered = everything(shared, *pieces)
        assert re.findall(rb"HTTP/1\.1 (\d+) ", answered) == [b"201", b"200"]


# Header fields


@pytest.mark.parametrize(
    "line",
    [
        b"X : y",
        b"X\t: y",
        b"X Y: z",
        b"X: a\r\n folded",
        b"X: a\r\n\tfolded",
        b"X: a\x00b",
        b"X\x00Y: z",
        b"X: a\rContent-Length: 5",
        b"X: a\nContent-Length: 5",
        b"X: a\r\r\nY: b",
        b": nameless",
        b"no colon",
        b"X(y): z",
        b"X\xe4: y",
        b"Host: b",
        b"X: a\x01b",
        b"X: a\x7fb",
    ],
)
def test_header_fields_that_are_none(shared: Broker, line: bytes) -> None:
    """RFC 9112 5, 2.2: a space before the colon, a folded line, a control character, a bare CR or LF, a second Host: 400."""
    refused_whole(shared, post(line, b"Content-Length: %d" % len(HIDDEN), body=HIDDEN), 400)


def test_a_field_name_that_means_another(shared: Broker) -> None:
    """RFC 9110 5.1: Content_Length is no Content-Length, and none of its kind reaches the application."""
    length = b"Content-Length: %d" % len(ENTITY)
    answer = raw(shared, post(b"Content_Length: 500", b"If_Match: x", length, b"Connection: close", body=ENTITY))
    assert answer.status == 201


@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        (b"GET /-/ HTTP/1.1\r\n\r\n", (400,)),
        (b"GET /-/ HTTP/1.1\nHost: a\n\n", (400,)),
        (b"GET  /-/ HTTP/1.1\r\nHost: localhost\r\n\r\n", (400,)),
        (b"GET /-/  HTTP/1.1\r\nHost: localhost\r\n\r\n", (400,)),
        (b"GET\t/-/\tHTTP/1.1\r\nHost: localhost\r\n\r\n", (400,)),
        (b"GET /-/ x HTTP/1.1\r\nHost: localhost\r\n\r\n", (400,)),
        (b"GET /-/\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", (400,)),
        (b"GET /-/ HTTP/1.1 \r\nHost: localhost\r\n\r\n", (400, 505)),
        (b"GET /-/ http/1.1\r\nHost: localhost\r\n\r\n", (400, 505)),
        (b"GET /-/ HTTP/2.0\r\nHost: localhost\r\n\r\n", (505,)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
        (b"GET /-/\r\n", (400, 505)),
        (b"get /-/ HTTP/1.1\r\nHost: localhost\r\n\r\n", (400, 501)),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", (400, 405, 501)),
    ],
    ids=range(14),
)
def test_request_lines_that_are_none(shared: Broker, request_: bytes, statuses: tuple[int, ...]) -> None:
    """RFC 9112 3: a method, a target and a version, one space between each, and a Host: anything else is refused."""
    refused_whole(shared, request_ + (HIDDEN if request_.endswith(b"\r\n\r\n") else b"\r\n" + HIDDEN), *statuses)


def test_an_absolute_target(shared: Broker) -> None:
    """RFC 9112 3.2.2: a whole URL is a target too, and its authority counts rather than the Host header's, for whose the broker
    is as well."""
    answer = raw(shared, get(b"Connection: close", target=b"http://127.8.9.10:81/cmbs/message/"))
    assert answer.status == 200
    assert all(url.startswith("http://127.8.9.10:81/cmbs/") for url in answer.json()["X-OCCI-Location"])
    refused = raw(shared, get(b"Connection: close", target=b"http://evil.example/cmbs/message/"))
    refusal(refused, 421, "unknown-host")


def test_a_head_that_is_too_large(shared: Broker) -> None:
    """A head has a bound, whether it comes at once, in pieces, as one line or as many, and the client reads that it has."""
    for lines in ([b"X: " + b"x" * 70_000], [b"X%d: y" % number for number in range(20_000)]):
        request = get(*lines)
        refused(raw(shared, request), 431)
        refused(raw(shared, *(request[at : at + 9000] for at in range(0, len(request), 9000))), 431)
    refused(raw(shared, get(target=b"/" + b"a" * 70_000)), 414)


# One connection, many requests


def test_pipelining(shared: Broker) -> None:
    """RFC 9112 9.3.2: requests sent without waiting are answered in their order, wherever the pieces they come in are cut."""
    requests = []
    for number in range(20):
        requests.append(post(b"Content-Length: %d" % len(ENTITY), b"X-Request-Id: p%d" % number, body=ENTITY))
        requests.append(get(b"X-Request-Id: g%d" % number))
    stream = b"".join(requests)
    wanted = [name % number for number in range(20) for name in (b"p%d", b"g%d")]
    for size in (len(stream), 1000, 61):
        answered = everything(shared, *(stream[at : at + size] for at in range(0, len(stream), size)))
        assert answered.count(b"HTTP/1.1 201 ") == answered.count(b"HTTP/1.1 200 ") == 20
        assert re.findall(rb"X-Request-Id: (\w+)", answered) == wanted


def test_a_pipeline_keeps_nobody_out(shared: Broker) -> None:
    """A client whose next request is always there already gets its turns, and so do all others."""
    stream = get() * 2000
    with socket.create_connection(("127.0.0.1", shared.port), timeout=20) as greedy:
        greedy.setblocking(False)
        sent = greedy.send(stream)
        assert sent > 0
        began = time.monotonic()
        shared.message("l1", "me too")
        assert time.monotonic() - began < 5


def test_a_blank_line_between_requests(shared: Broker) -> None:
    """RFC 9112 2.2: an old client's empty line before a request is none."""
    assert everything(shared, b"\r\n" + get() + b"\r\n" + get(b"Connection: close")).count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize(
    ("version", "header", "stays"),
    [
        (b"1.1", None, True),
        (b"1.1", b"Connection: keep-alive", True),
        (b"1.1", b"Connection: close", False),
        (b"1.1", b"Connection: foo, CLOSE", False),
        (b"1.0", None, False),
        (b"1.0", b"Connection: Keep-Alive", True),
        (b"1.0", b"Connection: close", False),
    ],
)
def test_who_keeps_the_connection(shared: Broker, version: bytes, header: bytes | None, stays: bool) -> None:
    """RFC 9112 9.3: HTTP/1.1 stays open unless someone says close, HTTP/1.0 only where keep-alive was asked for; and the
    answer says so where the version alone does not."""
    headers = (header,) if header else ()
    request = get(*headers, version=version)
    answered = everything(shared, request + request)
    assert answered.count(b" 200 ") == (2 if stays else 1)
    said = answered.lower().count(b"connection: close\r\n")
    assert said == (0 if stays else 1)
    if stays and version == b"1.0":
        assert answered.lower().count(b"connection: keep-alive\r\n") == 2


def test_upgrades_are_ignored(shared: Broker) -> None:
    """RFC 9110 7.8: an offer to speak another protocol may be ignored; the body still ends where it ends."""
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: %d" % len(ENTITY))
    answered = everything(shared, post(*upgrade, body=ENTITY) + get(b"Connection: close"))
    assert (answered.count(b"HTTP/1.1 201 "), answered.count(b"HTTP/1.1 200 ")) == (1, 1)


# Clients that wait, and clients that take their time


def test_a_client_that_asks_first(shared: Broker) -> None:
    """RFC 9110 10.1.1: 100 Continue comes before the body, once it is wanted; a refusal comes instead of it."""
    with socket.create_connection(("127.0.0.1", shared.port), timeout=20) as connection:
        connection.sendall(post(b"Expect: 100-continue", b"Content-Length: %d" % len(ENTITY)))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(ENTITY)
        assert connection.recv(65536).startswith(b"HTTP/1.1 201 ")
    for refused_head, status in (
        (post(b"Expect: 100-continue", b"Content-Length: 100000000"), 413),
        (get(b"Expect: 100-continue", b"Content-Length: 10", target=b"/nowhere"), 404),
    ):
        assert raw(shared, refused_head).status == status
    assert raw(shared, post(b"Expect: miracles", b"Content-Length: 2", body=b"{}")).status == 417


def test_a_client_that_sends_byte_by_byte(shared: Broker) -> None:
    """A request is the same in pieces of one byte, head and body."""
    request = post(b"Content-Length: %d" % len(ENTITY), b"Connection: close", body=ENTITY)
    pieces = [request[at : at + 1] for at in range(len(request))]
    assert everything(shared, *pieces, pause=0.0005).startswith(b"HTTP/1.1 201 ")


def test_a_client_that_leaves_in_the_middle(shared: Broker) -> None:
    """Half a head, and then nothing any more, is no request, and no answer is owed."""
    assert everything(shared, get()[:-10]) == b""
    assert everything(shared, b"") == b""


def test_unread_bodies_do_not_become_requests(shared: Broker) -> None:
    """On one connection, what follows a refused body of either framing is read as what it is, or the connection ends."""
    body = HIDDEN * 3
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    for request in (
        post(b"Content-Length: %d" % len(body), body=body).replace(b"POST /cmbs", b"POST /none"),
        post(b"Transfer-Encoding: chunked", body=chunked).replace(b"POST /cmbs", b"POST /none"),
        get(b"Content-Length: %d" % len(body)) + body,
    ):
        answered = everything(shared, request + get(b"Connection: close"))
        assert answered.count(b"HTTP/1.1 ") in (1, 2)
        assert answered.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200 "))


def test_idle_connections_cost_little(shared: Broker) -> None:
    """Two hundred connections that say nothing are kept, and the broker serves as before."""
    idle = [socket.create_connection(("127.0.0.1", shared.port)) for _ in range(200)]
    try:
        began = time.monotonic()
        shared.message("l1", "still quick")
        assert time.monotonic() - began < 5
        connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
        connection.sock = idle[0]
        connection.request("GET", "/-/?category=message", headers={"Accept": JSON["Accept"]})
        assert connection.getresponse().status == 200
    finally:
        for one in idle:
            one.close()


def test_a_stop_ends_idle_connections(start_broker: Callable[..., Broker]) -> None:
    """A broker that stops closes connections that wait for nothing, at once."""
    broker = start_broker("--workers", "1")
    with socket.create_connection(("127.0.0.1", broker.port), timeout=20) as idle:
        idle.sendall(get())
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        broker.stop()
        assert time.monotonic() - began < 5
        wait_until(lambda: idle.recv(65536) == b"", 5, "the connection's end")
