"""Hostile and broken input: each is a 4xx that names the fault, and the broker goes on serving."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.harness import EXAMPLES, JSON, Answer, Broker, head, raw, refusal, wait_until

MESSAGE = "http://houssem.org/cmbs#message"
MEMBER = "http://houssem.org/cmbs#member"
MESSAGES, MEMBERS = "/cmbs/message/", "/cmbs/member/"
TYPE = "Content-Type: application/occi+json"
HUNDRED_MB = 100 * 1024 * 1024


@pytest.fixture(autouse=True)
def goes_on_serving(shared: Broker) -> Iterator[None]:
    """After every test the same front process answers, fast, and has logged no traceback."""
    front, engine = shared.pid("front"), shared.pid("engine")
    yield
    began = time.monotonic()
    assert shared.request("GET", "/-/").status_code == 200
    shared.message("l1", "still here")
    assert time.monotonic() - began < 5
    assert (shared.pid("front"), shared.pid("engine")) == (front, engine)
    assert "Traceback" not in shared.log()


def entity(**members: Any) -> dict[str, Any]:
    """A message with these members."""
    return {"kind": MESSAGE, **members}


# Bodies


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("post_*.json")), ids=lambda path: path.stem)
def test_truncated_json(shared: Broker, example: Path) -> None:
    """A body that ends too early is a 400 that says at which line and column."""
    body = example.read_bytes()
    path = "/-/" if "category" in example.name else MESSAGES
    for part in (1, 3, 7):
        refusal(shared.request("POST", path, body[: len(body) * part // 8]), 400, "malformed-body", "line", "column")


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_of_100_mb(shared: Broker, tmp_path: Path, chunked: bool) -> None:
    """A body over the limit is a 413 that names the limit, from curl as from a socket, at once and unread."""
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(HUNDRED_MB)
    option = ["-H", "Transfer-Encoding: chunked"] if chunked else []
    command = [
        "curl",
        "-s",
        "-w",
        "%{http_code}",
        "-T",
        str(huge),
        "-X",
        "POST",
        "-H",
        TYPE,
        *option,
        shared.url + MESSAGES,
    ]
    with contextlib.suppress(FileNotFoundError):  # no curl: the socket below will do
        done = subprocess.run(command, capture_output=True, timeout=30, check=True)
        assert done.stdout.endswith(b"413")
        assert b'"too-large"' in done.stdout
    block = bytes(1024 * 1024)
    parts = [b"%x\r\n%s\r\n" % (len(block), block) if chunked else block] * 100
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {HUNDRED_MB}"
    began = time.monotonic()
    refusal(raw(shared, head("POST", MESSAGES, TYPE, length), *parts), 413, "too-large", "max_body")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_nesting_of_10_000_levels(shared: Broker, opening: bytes) -> None:
    """A body nested 10,000 deep, closed or not, is a 400; one of 90 levels is content like any other."""
    closing = {b"[": b"]", b'{"a":': b"}", b'[{"a":': b"}]"}[opening]
    for deep in (opening * 10_000, opening * 10_000 + b"1" + closing * 10_000, opening * 120 + b"1" + closing * 120):
        body = b'{"kind": "%s", "attributes": {"cmbs.message.message_content": %s}}' % (MESSAGE.encode(), deep)
        refusal(shared.request("POST", MESSAGES, deep), 400, "malformed-body")
        refusal(shared.request("POST", MESSAGES, body), 400, "malformed-body")
    levels = 45 if opening == b'[{"a":' else 90
    fine = opening * levels + b"1" + closing * levels
    attributes = {"cmbs.message.message_content": json.loads(fine)}
    path = shared.ok("POST", MESSAGES, entity(attributes=attributes))["Location"][0].removeprefix(shared.url)
    assert shared.attributes(path, "message")["message_content"] == json.loads(fine)


def test_nul(shared: Broker) -> None:
    """A NUL is refused wherever it is: raw in the body, escaped in id, title or value, in path, query or kind."""
    refusal(shared.request("POST", MESSAGES, b'{"kind": "\0"}'), 400, "malformed-body")
    refusal(shared.request("POST", MESSAGES, b"\0"), 400, "malformed-body")
    refusal(shared.request("POST", MESSAGES, entity(id="a\0b")), 400, "invalid-request", "id")
    refusal(shared.request("POST", MESSAGES, entity(title="a\0b")), 400, "malformed-body", "title")
    layer = {"cmbs.message.l1_socket_receiver_member": "tcp://a\0b:1"}
    answer = shared.request("POST", MESSAGES, entity(mixins=["http://houssem.org/cmbs#l1"], attributes=layer))
    refusal(answer, 400, "invalid-attribute", "NUL", "l1_socket_receiver_member")
    refusal(shared.request("POST", MESSAGES, entity(attributes={"a\0": 1})), 400, "invalid-attribute")
    refusal(shared.request("POST", MESSAGES, {"kind": MESSAGE + "\0"}), 400, "invalid-category")
    for path in ("/cmbs/message/a%00b", "/cmbs/%00/", "/%00"):
        for method in ("GET", "PUT", "POST", "DELETE"):
            refusal(
                shared.request(method, path, entity() if method in ("PUT", "POST") else None), 400, "invalid-request"
            )
    refusal(shared.request("GET", f"{MESSAGES}?category=%00"), 404, "unknown-category")
    refusal(shared.request("GET", f"{MESSAGES}?attribute=a%00&value=1"), 400, "invalid-attribute")


@pytest.mark.parametrize(
    "name", ["kind", "id", "mixins", "attributes", "title", "summary", "links", "resources", "actions"]
)
def test_wrong_types_of_every_member(shared: Broker, name: str) -> None:
    """A member of the wrong type is a 4xx that names it, whatever JSON has in store; nothing is created."""
    before = shared.get(MESSAGES)
    for value in (None, True, 0, -1.5e300, "", "x", [], [[]], [None], {}, {"": {}}, [{}], {"cmbs": []}, [1, "a"]):
        answer = shared.request("POST", MESSAGES, {"kind": MESSAGE, name: value})
        if answer.status_code == 201:  # nothing at all, or a proper one
            shared.ok("DELETE", answer.headers["Location"].removeprefix(shared.url))
        else:
            assert answer.status_code in (400, 404), (name, value, answer.text)
            refusal(answer, answer.status_code, answer.json()["error"]["code"])
    assert shared.get(MESSAGES) == before


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "x", [], [None], [[]], {}, {"": 1}, [{}], 10**30, -1])
def test_wrong_types_of_every_attribute(shared: Broker, value: object) -> None:
    """An attribute of the wrong type is a 400 or 403 that names the attribute."""
    for kind in ("member", "message"):
        category = shared.get(f"/-/?category={kind}")["kinds"][0]
        for name in category["attributes"]["cmbs"][kind]:
            attribute = f"cmbs.{kind}.{name}"
            body = {"kind": category["scheme"] + kind, "attributes": {"cmbs.member.local": "false", attribute: value}}
            if kind == "message":
                del body["attributes"]["cmbs.member.local"]
            answer = shared.request("POST", category["location"], body)
            if answer.status_code == 201:
                shared.ok("DELETE", answer.headers["Location"].removeprefix(shared.url))
            else:
                assert answer.status_code in (400, 403, 404), (attribute, value, answer.text)
                if isinstance(value, dict) and value:
                    continue
                assert answer.json()["error"]["attribute"] == attribute


def test_numbers_that_are_none(shared: Broker) -> None:
    """NaN, infinities and numbers beyond any double are refused or kept exactly, never a 500."""
    for number in (b"NaN", b"Infinity", b"1e999", b"-1e999", b"1" * 400, b"0x1", b"01"):
        body = b'{"kind": "%s", "attributes": {"cmbs.message.message_content": %s}}' % (MESSAGE.encode(), number)
        answer = shared.request("POST", MESSAGES, body)
        assert answer.status_code in (201, 400), (number, answer.text)


def test_unknown_kind(shared: Broker) -> None:
    """A kind no one registered is a 404 that lists those there are; one of another location says which."""
    for kind in ("http://example.org/x#y", "http://houssem.org/cmbs#l1"):
        refusal(shared.request("POST", MESSAGES, {"kind": kind}), 404, "unknown-category", kind, MESSAGE)
    refusal(shared.request("POST", MESSAGES, {"kind": MEMBER}), 400, "invalid-request", MEMBERS)
    refusal(shared.request("PUT", "/anywhere/x", {"title": "x"}), 400, "invalid-request", "kind")
    refusal(shared.request("POST", "/nowhere/", entity()), 404, "unknown-location", MESSAGES)
    refusal(shared.request("POST", MESSAGES, entity(mixins=["http://example.org/x#m"])), 404, "unknown-category", "x#m")
    core = "http://schemas.ogf.org/occi/core#entity"
    refusal(shared.request("PUT", "/anywhere/x", {"kind": core}), 400, "invalid-request", core)


def test_duplicate_id(shared: Broker) -> None:
    """The id of the README's message, posted twice, is a 409 that names it."""
    body = EXAMPLES / "readme_2012" / "post_message_l1.json"
    shared.ok("POST", MESSAGES, body)
    refusal(shared.request("POST", MESSAGES, body), 409, "duplicate-id", "0101d860-2a9a-504f-8861-aeafd0b20101")


@pytest.mark.parametrize(
    "id", ["", "..", ".", "a/b", "a b", "a?b", "a#b", "ä", "%2e%2e", "x" * 201, "<b>", "a\nb", 5, ["a"]]
)
def test_ids_that_cannot_be_part_of_a_url(shared: Broker, id: object) -> None:
    """An id that is not a segment of a path is a 400 that says what one is; an empty one counts as none."""
    answer = shared.request("POST", MESSAGES, entity(id=id))
    if id == "":
        assert answer.status_code == 201
    else:
        refusal(answer, 400, "invalid-request", "An id is")


@pytest.mark.parametrize(
    "type", ["application/x-www-form-urlencoded", "text/csv", "text/html", "x", "application/json-patch+json", ""]
)
def test_wrong_media_type(shared: Broker, type: str) -> None:
    """A body of another type, curl's default one included, is a 415 that says which header to send."""
    answer = shared.request("POST", MESSAGES, entity(), headers={"Content-Type": type})
    refusal(answer, 415, "unsupported-media-type", "-H 'Content-Type: application/occi+json'")


def test_missing_media_type(shared: Broker) -> None:
    """A body without a Content-Type is a 415 that says so; no body needs none."""
    body = json.dumps(entity()).encode()
    answer = raw(shared, head("POST", MESSAGES, f"Content-Length: {len(body)}"), body)
    refusal(answer, 415, "unsupported-media-type", "no Content-Type")
    assert raw(shared, head("GET", MESSAGES)).status == 200
    assert raw(shared, head("GET", MESSAGES, "Content-Type: text/html")).status == 200


@pytest.mark.parametrize("accept", ["text/html", "application/pdf, image/*", "application/occi+json;q=0"])
def test_accept_nobody_serves(shared: Broker, accept: str) -> None:
    """An Accept without anything the broker writes is a 406 that lists what it does."""
    answer = shared.request("GET", "/-/", headers={"Accept": accept})
    refusal(answer, 406, "not-acceptable", "application/occi+json")


@pytest.mark.parametrize(
    "accept", ["", "*/*", "garbage", ";;;", "a/b;q=x", "text/html, */*;q=0.1", "\x80", "application/*"]
)
def test_accept_of_any_sort(shared: Broker, accept: str) -> None:
    """An Accept header that is not a list of types is answered or refused, never a failure."""
    answer = raw(shared, head("GET", "/-/", f"Accept: {accept}"))
    assert answer.status in (200, 400, 406), answer.body


# Socket URLs

NO_SOCKETS = [
    "5010", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://127.0.0.1:x", "tcp://127.0.0.1:0", "tcp://:5010",
    "tcp://127.0.0.1:65536", "tcp://127.0.0.1:-1", "http://127.0.0.1:1", "tcp://a b:1", "tcp://127.0.0.1:1/x", "udp://a:1",
    "tcp://[::1:5010", "tcp://*:5010", "tcp://127.0.0.1:\uff15\uff10\uff11\uff10", "tcp://" + "a" * 70_000 + ":1", "mailto:", "tcp://a\nb:1",
]  # fmt: skip


@pytest.mark.parametrize("url", NO_SOCKETS, ids=lambda url: url[:30])
def test_a_socket_url_that_is_not_one(shared: Broker, url: str) -> None:
    """A member's socket, a neighbour's and a receiver's that is not a socket URL is a 400 with the attribute's name."""
    for name, value in (("l1_socket", url), ("l4_socket", url), ("neighbors_socket", ["tcp://127.0.0.1:5", url])):
        body = {"kind": MEMBER, "attributes": {f"cmbs.member.{name}": value}}
        error = refusal(shared.request("POST", MEMBERS, body), 400, "invalid-address")
        assert error["attribute"] == f"cmbs.member.{name}"
    attributes = {"cmbs.message.l1_socket_receiver_member": url}
    answer = shared.request("POST", MESSAGES, entity(mixins=["http://houssem.org/cmbs#l1"], attributes=attributes))
    error = refusal(answer, 400, "invalid-address")
    assert error["attribute"] == "cmbs.message.l1_socket_receiver_member"
    assert len(json.dumps(error)) < 2000


# Patterns


def register(broker: Broker, term: str, attribute: dict[str, Any]) -> requests.Response:
    """A kind with one attribute ``a``."""
    kind = {"term": term, "scheme": "http://example.org/h#", "location": f"/h/{term}/", "attributes": {"a": attribute}}
    return broker.request("POST", "/-/", {"kinds": [kind]})


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "(.*)*b$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(x+x+)+y"])
@pytest.mark.parametrize("schema", [False, True], ids=["expression", "schema"])
def test_an_evil_pattern(shared: Broker, pattern: str, schema: bool) -> None:
    """A pattern that takes other engines years is matched or refused at once, as an expression and in a JSON Schema."""
    term = f"evil{abs(hash((pattern, schema)))}"
    answer = register(shared, term, {"pattern": {"type": "string", "pattern": pattern} if schema else pattern})
    assert answer.status_code == 200, answer.text
    began = time.monotonic()
    answer = shared.request("PUT", f"/h/{term}/x", {"attributes": {"a": "a" * 50_000 + "!"}})
    assert time.monotonic() - began < 5
    assert answer.status_code in (201, 400)


def test_a_pattern_too_large_to_compile(shared: Broker) -> None:
    """A pattern that compiles into gigabytes is a 400."""
    began = time.monotonic()
    for pattern in ("((a{1000}){1000}){1000}", "(" * 5000 + ")" * 5000, "a{1,1000}" * 1000, "x" * 3_000_000):
        answer = register(shared, "large", {"pattern": pattern})
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 200:
            shared.ok("DELETE", "/-/", {"kinds": [{"term": "large", "scheme": "http://example.org/h#"}]})
    assert time.monotonic() - began < 5


def test_a_schema_that_refers_elsewhere(shared: Broker) -> None:
    """A $ref to another host, to a file, to itself or to nowhere is an answer, and no one is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        there = f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"
        refs = [there, "file:///etc/passwd", "#/nowhere", "#", "urn:x", "http://[", "", "#/a/%zz"]
        for number, ref in enumerate(refs):
            for schema in ({"$ref": ref}, {"$schema": there, "type": "string"}, {"$id": there, "$ref": ref}):
                term = f"ref{number}-{len(schema)}-{'$id' in schema}"
                answer = register(shared, term, {"pattern": schema})
                assert answer.status_code in (200, 400), answer.text
                if answer.status_code == 200:
                    answer = shared.request("PUT", f"/h/{term}/x", {"attributes": {"a": "value"}})
                    assert answer.status_code in (201, 400), answer.text
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_enumerations_of_things_that_are_no_words(shared: Broker) -> None:
    """A pattern of plain words on an attribute of any type refuses what is not a word, objects and arrays included."""
    for number, type in enumerate(("string", "number", "boolean", "array", "object", "any")):
        assert register(shared, f"words{number}", {"type": type, "pattern": "a|b"}).status_code == 200
        for value in ({}, [{}], [["a"]], [1], 5, "c", {"a": {}}, [None]):
            answer = shared.request("PUT", f"/h/words{number}/x", {"attributes": {"a": value}})
            refusal(answer, 400, "invalid-attribute")


# Paths, queries, headers


def test_paths_and_queries_that_are_no_utf8(shared: Broker) -> None:
    """Bytes that are no UTF-8 in body, path or query are a 400 that says where."""
    refusal(shared.request("POST", MESSAGES, b'{"title": "\xff\xfe"}'), 400, "malformed-body")
    refusal(shared.request("POST", MESSAGES, '{"title": "é"}'.encode("utf-16")), 400, "malformed-body")
    refusal(shared.request("POST", MESSAGES, rb'{"title": "\ud800"}'), 400, "malformed-body")
    refusal(raw(shared, head("GET", "/cmbs/%ff%fe")), 400, "invalid-request", "path")
    refusal(raw(shared, head("GET", "/cmbs/\xff/")), 400, "invalid-request", "path")
    refusal(raw(shared, head("GET", "/-/?category=%ff")), 400, "invalid-request", "query")
    refusal(raw(shared, head("GET", "/-/?%ff=x")), 400, "invalid-request", "query")
    refusal(raw(shared, head("GET", "/-/?category=\xff")), 400, "invalid-request", "query")


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd",
        "/cmbs/message/../x",
        "/%2e%2e/x",
        "/" + "a" * 5000,
        "/-",
        "/%0d%0aX:%201",
        "/cmbs//message/",
        "ftp://x/",
        "*",
    ],
)
def test_odd_paths(shared: Broker, path: str) -> None:
    """A path that nothing is bound to is a 4xx for every method, and nothing of it becomes a header."""
    for method in ("GET", "PUT", "POST", "DELETE"):
        answer = raw(shared, head(method, path, TYPE, "Content-Length: 2"), b"{}")
        assert 400 <= answer.status < 500, answer
        assert answer.json()["error"]["message"]
        assert "x" not in answer.headers


@pytest.mark.parametrize(
    "host", ["", "evil.example", '"><script>', "a b", "[::1", "x" * 5000, "a\tb", "ä", "evil/path", "a@localhost"]
)
def test_a_hostile_host(shared: Broker, host: str) -> None:
    """A Host header that is not the broker's is a 421, and gets into no URL; HTTP/1.0 may do without one."""
    request = f"GET {MESSAGES} HTTP/1.1\r\nHost: {host}\r\nAccept: application/occi+json\r\nConnection: close\r\n\r\n"
    refusal(raw(shared, request.encode("latin-1")), 421, "unknown-host")
    shared.message("l1", "x")
    answer = raw(shared, f"GET {MESSAGES} HTTP/1.0\r\nAccept: application/occi+json\r\n\r\n".encode())
    assert answer.status == 200
    assert all(url.startswith(f"{shared.url}/cmbs/") for url in answer.json()["X-OCCI-Location"])


@pytest.mark.parametrize("path", [MESSAGES, "/", "/-/"])
def test_a_page_drives_nothing(shared: Broker, path: str) -> None:
    """The bytes that a browser sends for a page of another origin, without a preflight, are a 403 and change nothing."""
    before = shared.get("/")
    body = b'Category: message; scheme="http://houssem.org/cmbs#"; class="kind"'
    request = head(
        "POST", path, "Accept: application/occi+json", "Content-Type: text/plain;charset=UTF-8", f"Content-Length: {len(body)}",
        "Origin: http://evil.example", "Referer: http://evil.example/", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors",
        "Sec-Fetch-Dest: empty", "Accept-Encoding: gzip, deflate, br, zstd", "Accept-Language: en-US,en;q=0.9",
    )  # fmt: skip
    refusal(raw(shared, request, body), 403, "cross-origin", "evil.example")
    assert shared.get("/") == before


@pytest.mark.parametrize(
    "path", ["/cmbs%2Fmessage%2F", "/cmbs/message%2f{id}", "/cmbs%2fmessage/{id}", "/-%2F", "/%2F"]
)
def test_an_encoded_slash(shared: Broker, path: str) -> None:
    """What a proxy that guards paths takes for another path than the broker would is a 400, and the connection goes on."""
    id = shared.message("l1", "x").rpartition("/")[2]
    for method in ("GET", "POST", "PUT", "DELETE"):
        refusal(
            shared.request(method, path.format(id=id), {} if method != "GET" else None), 400, "invalid-request", "%2F"
        )
    assert shared.request("GET", MESSAGES + id).status_code == 200
    refusal(shared.request("GET", f"{MESSAGES}?category=a%2Fb"), 404, "unknown-category")


def protocol_refusal(answer: Answer, *statuses: int) -> None:
    """A refusal of what is not even HTTP has the same body as any other."""
    assert answer.status in statuses, answer
    assert answer.headers["content-type"] == "application/occi+json"
    error = answer.json()["error"]
    assert error["status"] == answer.status
    assert error["code"]
    assert error["message"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head("GET", "/-/", "X: " + "x" * 100_000), 431),
        (head("GET", "/-/", *(f"X{number}: {'x' * 1000}" for number in range(90))), 431),
        (head("GET", "/-/", *(f"X{number}: y" for number in range(1000))), 431),
        (head("GET", "/" + "a" * 100_000), 414),
        (head("NOSUCH", "/"), 501),
        (head("POST", MESSAGES, TYPE, "Content-Length: ten"), 400),
        (head("POST", MESSAGES, TYPE, "Content-Length: -1"), 400),
        (head("POST", MESSAGES, TYPE, "Content-Length: 2", "Transfer-Encoding: chunked"), 400),
        (b"GET\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /-/ HTTP/9.9\r\n\r\n", 505),
        (b"GET /-/ HTTP/x.y\r\n\r\n", 400),
    ],
    ids=[
        "header",
        "headers",
        "many",
        "url",
        "method",
        "length",
        "negative",
        "both",
        "short",
        "tls",
        "version",
        "no version",
    ],
)
def test_what_is_hardly_http(shared: Broker, request_: bytes, status: int) -> None:
    """What the HTTP server itself refuses is answered like everything else: the status, a code and a sentence in JSON."""
    answer = raw(shared, request_)
    protocol_refusal(answer, status)
    codes = {414: "uri-too-long", 431: "headers-too-large", 501: "not-implemented", 505: "unsupported-protocol"}
    assert answer.json()["error"]["code"] == codes.get(status, "invalid-request")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "beginning",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(1, 200)),
        b"\x80\x2e\x01\x03\x01",
        b"\x00\x00\x00\x0c",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO there\r\n",
        b"GET /-/ HTTP/1.1\n",
        b"GET /-/ HTTP/1.1\nHost: localhost\n\n",
        b"GET /-/ HTTP/1.1\nHost: localhost\n\r\n",
        b"GET /-/\r\n",
    ],
    ids=["tls", "ssl", "binary", "ssh", "smtp", "bare-line", "bare", "half-bare", "old"],
)
def test_what_begins_as_no_request_is_answered_at_once(shared: Broker, beginning: bytes) -> None:
    """Who speaks something else waits for an answer, and not for a time-out."""
    began = time.monotonic()
    answer = raw(shared, beginning)
    assert time.monotonic() - began < 10
    protocol_refusal(answer, 400, 505)
    assert answer.json()["error"]["code"] in ("invalid-request", "unsupported-protocol")


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "x"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_encoded_body(shared: Broker, coding: str, chunked: bool) -> None:
    """RFC 9110 8.4: a content coding that the broker does not read is a 415, whether the body has it or only says so."""
    body = json.dumps(entity()).encode()
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    answer = raw(shared, head("POST", MESSAGES, TYPE, length, f"Content-Encoding: {coding}"), sent)
    refusal(answer, 415, "unsupported-media-type", "Content-Encoding")
    assert raw(shared, head("POST", MESSAGES, TYPE, length, "Content-Encoding: identity"), sent).status == 201
    assert raw(shared, head("GET", MESSAGES, f"Content-Encoding: {coding}")).status == 200


def test_a_body_of_two_lengths(shared: Broker) -> None:
    """A body whose length two servers could read differently is refused, so that no request hides in another."""
    two = head("POST", MESSAGES, TYPE, "Content-Length: 2", "Content-Length: 20")
    protocol_refusal(raw(shared, two, b"{}GET /-/ HTTP/1.1\r\n\r\n"), 400)
    for coding in ("gzip, chunked", "chunked, chunked", "xchunked", "identity"):
        protocol_refusal(raw(shared, head("POST", MESSAGES, TYPE, f"Transfer-Encoding: {coding}"), b"{}"), 501)
    twice = raw(shared, head("POST", MESSAGES, TYPE, *["Transfer-Encoding: chunked"] * 2), b"{}")
    assert "'chunked, chunked'" in refusal(twice, 501, "not-implemented")["message"]


@pytest.mark.parametrize("length", ["+2", "1_0", "0x2", "2.0", "2, 2", "2 2", "\uff19"])
def test_a_content_length_of_other_numbers(shared: Broker, length: str) -> None:
    """A Content-Length that only Python takes for a number is a 400: two servers must not read it differently."""
    request = head("POST", MESSAGES, TYPE).removesuffix(b"\r\n") + f"Content-Length: {length}\r\n\r\n{{}}".encode()
    answer = raw(shared, request, half_close=True)
    assert answer.status == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n{}\r\n", b"5\r\n{}", b"-5\r\n{}\r\n0\r\n\r\n", b"", b"2\r\n{}\r\n", b"ffffffffff\r\n{}\r\n"]
)
def test_chunks_that_are_none(shared: Broker, chunks: bytes) -> None:
    """A chunked body that breaks off or lies about its sizes is a 400."""
    answer = raw(shared, head("POST", MESSAGES, TYPE, "Transfer-Encoding: chunked"), chunks, half_close=True)
    refusal(answer, 400, answer.json()["error"]["code"])


def test_clients_that_break_off(shared: Broker) -> None:
    """A body that ends before its Content-Length is a 400 to who still listens, and creates nothing."""
    before = shared.get(MESSAGES)
    body = json.dumps(entity()).encode()
    request = head("POST", MESSAGES, TYPE, "Content-Length: 1000")
    refusal(raw(shared, request, body, half_close=True), 400, "invalid-request", "breaks off")
    for part in (request, request + body, request[:20], b"", b"POST"):
        with socket.create_connection(("127.0.0.1", shared.port)) as connection:
            connection.sendall(part)
    assert shared.get(MESSAGES) == before


def test_slow_clients_hold_up_nobody(shared: Broker) -> None:
    """Two hundred clients that send half a request and wait do not slow down those that send a whole one."""
    with contextlib.ExitStack() as stack:
        for number in range(200):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", shared.port)))
            connection.sendall(head("POST", MESSAGES, TYPE, "Content-Length: 100")[: 40 + number])
        began = time.monotonic()
        for _ in range(20):
            shared.message("l1", "x")
        assert time.monotonic() - began < 5


def test_a_client_that_does_not_read(shared: Broker) -> None:
    """Answers that no one reads hold up no one else."""
    with socket.create_connection(("127.0.0.1", shared.port)) as connection:
        connection.setblocking(False)
        request = b"GET /-/ HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
        with contextlib.suppress(BlockingIOError):
            for _ in range(20):
                connection.send(request)
        began = time.monotonic()
        shared.message("l1", "x")
        assert time.monotonic() - began < 5


def test_after_a_refusal_the_connection_is_in_step(shared: Broker) -> None:
    """On one connection, a request after one whose body was refused unread is answered as itself."""
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
    for method, path, body, status in (
        ("POST", MESSAGES, b"x" * 10_000, 400),
        ("PATCH", MESSAGES, b"y" * 10_000, 405),
        ("GET", "/nowhere", b"z" * 10_000, 404),
        ("GET", "/-/", None, 200),
    ):
        connection.request(method, path, body, JSON)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


# Everything at once


def mutated(random: random.Random, body: bytes) -> bytes:
    """The body with something wrong in it."""
    data = bytearray(body)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        match random.randrange(7):
            case 0:
                data[at : at + random.randint(1, 40)] = b""
            case 1:
                data[at:at] = random.randbytes(random.randint(1, 8))
            case 2:
                data[at:at] = data[: random.randint(0, 200)]
            case 3:
                data[at:at] = random.choice(
                    [b"null", b"{}", b"[]", b"1e999", b'""', b"\\u0000", b'"x"', b"-1", b"true"]
                )
            case _:
                return json.dumps(distorted(random, json.loads(body))).encode()
    return bytes(data)


def distorted(random: random.Random, value: Any) -> Any:
    """The JSON with a value somewhere replaced, renamed or moved: well-formed, so that it gets further."""
    odd = [None, True, 0, -1, 1.5, "", "x", "\0", [], {}, [None], {"x": {}}, 10**400, "http://a#b", "tcp://x:1", ["l1"]]
    if random.random() < 0.15:
        return random.choice(odd)
    if isinstance(value, dict) and value:
        key = random.choice(list(value))
        renamed = random.choice(
            [key, key, key, key, "", "kind", "id", "x.y", key.upper(), "occi.core.id", "attributes"]
        )
        return {
            (renamed if name == key else name): (distorted(random, one) if name == key else one)
            for name, one in value.items()
        }
    if isinstance(value, list) and value:
        at = random.randrange(len(value))
        return [*value[:at], distorted(random, value[at]), *value[at + random.randrange(2) :]]
    return random.choice(odd)


def test_fuzz(start_shared: Any) -> None:
    """Six hundred mutations of the examples, on all methods and paths, with a fixed seed: never a 5xx, never a hang."""
    broker = start_shared("--workers", "1")
    chance = random.Random(2012)
    bodies = [path.read_bytes() for path in sorted(EXAMPLES.rglob("*.json"))]
    ids = [
        "0101d860-2a9a-504f-8861-aeafd0b20101",
        "996ad860-2a9a-504f-8861-aeafd0b2ae29",
        "x",
        "%00",
        "..",
        "a%2Fb",
        "",
    ]
    folders = [
        "/",
        "/-/",
        MEMBERS,
        MESSAGES,
        "/cmbs/message/l1/",
        "/cmbs/",
        "/x/",
        "/resource/",
        "/link/",
        "/.well-known/x/",
    ]
    queries = [
        "",
        "",
        "",
        "?action=send_l1",
        "?action=",
        "?category=l1",
        "?attribute=a&value=b",
        "?action=x&action=y",
        "?%ff",
    ]
    queries += [f"?action={verb}_{layer}" for verb in ("start", "stop", "send") for layer in ("l1", "l2", "l31", "l9")]
    for number in range(600):
        method = chance.choice(["GET", "PUT", "POST", "POST", "DELETE", "HEAD", "PATCH"])
        where = chance.choice(folders) + chance.choice([*ids, "", ""]) + chance.choice(queries)
        body = mutated(chance, chance.choice(bodies)) if chance.random() < 0.9 else None
        began = time.monotonic()
        answer = broker.request(method, where, body)
        assert answer.status_code < 500, (number, method, where, body, answer.text)
        assert time.monotonic() - began < 5, (number, method, where, body)
        assert "Traceback" not in answer.text
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.json()["error"]["message"]
    assert broker.get("/-/")["kinds"]


def test_fuzz_of_members_and_sockets(shared: Broker) -> None:
    """Bytes that are no envelope, sent to a layer's socket, do not disturb it."""
    shared.become("l1", "l2")
    try:
        chance = random.Random(7)
        for layer in ("l1", "l2"):
            port = int(shared.socket(layer).rpartition(":")[2])
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", port)) as connection, contextlib.suppress(OSError):
                    connection.sendall(chance.randbytes(chance.randint(1, 3000)))
        path = shared.message("l1", "me", l1_socket_receiver_member=shared.socket("l1"))
        assert shared.send(path, "l1")["state"] == "delivered"
    finally:
        shared.ok("DELETE", f"{MEMBERS}{shared.member}")


def test_many_at_once(shared: Broker) -> None:
    """Sixteen clients that send rubbish and one that sends messages: the one is served."""
    stop = threading.Event()

    def rubbish(number: int) -> None:
        session = requests.Session()
        while not stop.is_set():
            session.post(shared.url + MESSAGES, data=b"{" * (number + 1) * 1000, headers=JSON, timeout=30)

    threads = [threading.Thread(target=rubbish, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    try:
        made = [shared.message("l1", number) for number in range(20)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(set(made)) == 20
    wait_until(lambda: shared.request("GET", made[-1]).status_code == 200)
