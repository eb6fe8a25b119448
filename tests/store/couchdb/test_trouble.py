"""The CouchDB client at servers that misbehave: deadlines hold for whole calls, and what can be answered still is."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pycmbs.errors import StoreUnavailable
from pycmbs.store.base import Query, Write
from pycmbs.store.couchdb import pool as couchdb_pool
from pycmbs.store.couchdb.client import Address, CouchClient
from tests.couchdb_server import CouchServer
from tests.harness import wait_until
from tests.store.contract import create
from tests.store.couchdb.test_store import open_one


class Handler(BaseHTTPRequestHandler):
    """Answers as its server's ``script`` says."""

    protocol_version = "HTTP/1.1"
    server: Scripted

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.server.requests.append((self.command, self.path))
        with contextlib.suppress(OSError):
            self.server.script(self)

    do_GET = do_PUT = do_POST = do_DELETE = _do  # noqa: N815 - http.server's names

    def reply(self, status: int, document: Any) -> None:
        """A whole answer."""
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Not in the tests' output."""


class Scripted(ThreadingHTTPServer):
    """An HTTP server on loopback that does what a function says."""

    daemon_threads = True

    def __init__(self, script: Callable[[Handler], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.requests: list[tuple[str, str]] = []


@contextlib.contextmanager
def serving(script: Callable[[Handler], None], context: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """Such a server, running."""
    server = Scripted(script)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


def client_of(server: Scripted, timeout: float = 0.4, scheme: str = "http", host: str = "127.0.0.1") -> CouchClient:
    """A client of it with a short deadline."""
    return CouchClient(Address(f"{scheme}://{host}:{server.server_port}", None, "x", timeout))


def dripping(*, head: bool) -> Callable[[Handler], None]:
    """A script that sends a byte every twentieth of a second, for three seconds: of the head, or of the body after it."""

    def script(handler: Handler) -> None:
        if head:
            data = b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 60
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n")
            data = b'"' + b"x" * 58 + b'"'
        gone = threading.Event()
        for byte in data:
            handler.wfile.write(bytes([byte]))
            gone.wait(0.05)

    return script


def refused_after(client: CouchClient) -> float:
    """How long a call takes that must fail, saying for how long it waited."""
    begin = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.4 s"):
        client.call("GET")
    return time.monotonic() - begin


@pytest.mark.parametrize("head", [True, False], ids=["head", "body"])
def test_a_server_that_drips_does_not_keep_a_call(head: bool) -> None:
    """A deadline is for the whole call, however often a byte arrives."""
    with serving(dripping(head=head)) as server:
        client = client_of(server)
        assert 0.3 < refused_after(client) < 1.5
        client.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, found = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(found)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return found, key


@contextlib.contextmanager
def serving_tls(script: Callable[[Handler], None], certificate: tuple[Path, Path]) -> Iterator[Scripted]:
    """The same over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(script, context) as server:
        yield server


def test_tls_has_the_same_deadline(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS calls work, share a connection, and end in time as well."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    peers = set()

    def answer(handler: Handler) -> None:
        peers.add(handler.client_address)
        handler.reply(200, {"db_name": "x"})

    with serving_tls(answer, certificate) as server:
        client = client_of(server, scheme="https", host="localhost")
        assert [client.call("GET")[1] for _ in range(3)] == [{"db_name": "x"}] * 3
        assert len(peers) == 1
        server.script = dripping(head=False)
        assert 0.3 < refused_after(client) < 1.5
        client.close()


def test_what_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection serves one call after the other; after a pause it is another one, since the server may be about to close the
    first."""
    peers = []

    def answer(handler: Handler) -> None:
        peers.append(handler.client_address)
        handler.reply(200, {})

    with serving(answer) as server:
        client = client_of(server)
        for _ in range(2):
            client.call("GET")
        monkeypatch.setattr(couchdb_pool, "_LONGEST_IDLE", 0.0)
        client.call("GET")
        client.close()
    assert len(set(peers[:2])) == 1
    assert peers[2] not in peers[:2]


def test_a_certificate_that_nobody_signed_is_refused(certificate: tuple[Path, Path]) -> None:
    """TLS without trust is no TLS: the sentence says so."""
    with serving_tls(lambda handler: handler.reply(200, {}), certificate) as server:
        client = client_of(server, scheme="https", host="localhost")
        with pytest.raises(StoreUnavailable, match="certificate"):
            client.call("GET")
        client.close()


def test_a_server_that_cannot_write_can_be_read() -> None:
    """An error that was answered, like a full disk's, does not keep the next call from being made."""

    def full(handler: Handler) -> None:
        if handler.command == "GET":
            handler.reply(200, {"there": True})
        else:
            handler.reply(500, {"error": "badmatch", "reason": "enospc"})

    with serving(full) as server:
        client = client_of(server)
        with pytest.raises(StoreUnavailable, match="enospc"):
            client.call("POST", "_bulk_docs", body={})
        assert client.call("GET", "a") == (200, {"there": True})
        client.close()


def test_a_server_that_is_silent_is_asked_once() -> None:
    """After a call that was not answered others fail at once for a moment, and do not wait for a deadline each."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = CouchClient(Address(f"http://127.0.0.1:{silent.getsockname()[1]}", None, "x", 0.4))
        assert refused_after(client) > 0.3
        assert refused_after(client) < 0.2
        client.close()


def test_another_database_under_its_name_is_noticed(couchdb_server: CouchServer, couchdb_url: str) -> None:
    """A database that is deleted and recreated, empty, is not taken for the broker's: reads and writes say so within about a
    second, nothing is written to it, and another start begins with it."""
    store = open_one(couchdb_url)
    store.write([create("a", x="1")])
    name = "/" + couchdb_url.rpartition("/")[2].partition("?")[0]
    assert couchdb_server.request("DELETE", name).ok
    assert couchdb_server.request("PUT", name).ok
    calls: list[Callable[[], object]] = [
        lambda: store.get("a"),
        lambda: store.find(Query("thing", {"x": "1"})),
        lambda: store.change_token("thing"),
        lambda: store.write([create("b")]),
    ]
    wait_until(lambda: isinstance(refusal(lambda: store.get("a")), StoreUnavailable), 5, "it is noticed")
    for call in calls:
        assert "another one is in its place" in str(refusal(call))
    assert couchdb_server.request("GET", name + "/_all_docs").json()["rows"] == []
    again = open_one(couchdb_url)
    assert again.write([Write("thing:new", "thing")])
    assert again.find(Query("thing")) != []
    again.close()
    store.close()


def refusal(call: Callable[[], object]) -> StoreUnavailable | None:
    """What a call raises, None when it works."""
    try:
        call()
    except StoreUnavailable as exc:
        return exc
    return None
