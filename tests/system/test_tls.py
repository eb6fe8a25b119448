"""HTTP over TLS, as the broker itself speaks it: with curl, OpenSSL's own client, Python's, and sockets that speak it badly."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.harness import JSON, Broker, head, wait_until

Start = Callable[..., Broker]

CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
REQUEST = b"GET /-/ HTTP/1.1\r\nHost: localhost\r\nAccept: application/occi+json\r\n\r\n"
FEW = (
    "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (420, 420)); "
    "runpy.run_module('pycmbs', run_name='__main__', alter_sys=True)"
)
"""A broker with few descriptors for each of its processes."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose certificates are believed here."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(start_shared: Start, authority: Authority) -> Broker:
    """A broker that speaks TLS, with one front process."""
    cert, key = authority.issue("server")
    broker = start_shared("--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key))
    broker.session.verify = str(authority.cert)
    return broker


@pytest.fixture(autouse=True)
def goes_on_serving(tls: Broker) -> Iterator[None]:
    """After every test the same front process answers, fast."""
    front = tls.pid("front")
    yield
    assert tls.request("GET", "/-/").status_code == 200
    assert tls.pid("front") == front


def client(authority: Authority, **options: object) -> ssl.SSLContext:
    """Python's client, which believes the authority."""
    context = ssl.create_default_context(cafile=str(authority.cert))
    for name, value in options.items():
        setattr(context, name, value)
    return context


@contextlib.contextmanager
def connected(broker: Broker, authority: Authority, **options: object) -> Iterator[ssl.SSLSocket]:
    """A connection whose end counts only if the broker said that it is one."""
    with (
        socket.create_connection(("127.0.0.1", broker.port), timeout=20) as plain,
        client(authority, **options).wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        ) as secure,
    ):
        yield secure


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def peer(broker: Broker) -> str:
    """The certificate that new connections see."""
    return ssl.get_server_certificate(("127.0.0.1", broker.port), timeout=20)


def hello() -> bytes:
    """What a client begins with."""
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    return out.read()


# Clients


@CURL
@pytest.mark.parametrize("flags", [(), ("--http1.1",), ("--tls-max", "1.2"), ("--tlsv1.3",)])
def test_curl_is_answered(tls: Broker, authority: Authority, flags: tuple[str, ...]) -> None:
    """With the authority's certificate curl gets its answer, and URLs that begin with https; without it curl refuses."""
    assert tls.url.startswith("https://127.0.0.1:")
    tls.message("l1", "x")
    url = f"https://localhost:{tls.port}/cmbs/message/"
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "-H", "Accept: text/uri-list", *flags]
    done = subprocess.run([*command, "--cacert", str(authority.cert), url], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"https://localhost:{tls.port}/cmbs/message/")
    assert subprocess.run([*command, url], capture_output=True, check=False).returncode == 60


@OPENSSL
@pytest.mark.parametrize(("version", "spoken"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
def test_versions(tls: Broker, authority: Authority, version: str, spoken: bool) -> None:
    """TLS 1.2 and 1.3, and nothing older, whatever ciphers the client is content with."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{tls.port}", "-CAfile", str(authority.cert), version]
    cipher = ["-cipher", "DEFAULT@SECLEVEL=0"]
    done = subprocess.run(
        [*command, *cipher, "-verify_return_error", "-ign_eof"],
        input=head("GET", "/-/"),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (b"HTTP/1.1 200 OK" in done.stdout) == spoken, done.stdout + done.stderr


@OPENSSL
def test_a_client_that_renegotiates_is_not_served_anew(tls: Broker, authority: Authority) -> None:
    """A handshake costs the broker more than the client: there is one for a connection."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{tls.port}", "-tls1_2", "-CAfile", str(authority.cert)]
    done = subprocess.run(command, input=b"R\n" * 5, capture_output=True, timeout=30, check=False)
    assert b"no renegotiation" in done.stdout + done.stderr


def test_the_end_is_said(tls: Broker, authority: Authority) -> None:
    """A connection that the broker ends is ended in TLS too: the client knows that nothing was cut off."""
    for data in (head("GET", "/-/"), b"GET /\r\n\r\n", b"x" * 70_000):
        with connected(tls, authority) as connection:
            connection.sendall(data)
            found = b""
            while piece := connection.recv(65536):
                found += piece
            assert found.startswith(b"HTTP/1.1 ")


# Records and requests divide the bytes as they like


def test_pipelined_requests_in_one_record(tls: Broker, authority: Authority) -> None:
    """All requests that one record holds are answered, though the socket has no more to read; and a part of the next one."""
    with connected(tls, authority) as connection:
        connection.sendall(REQUEST * 3 + REQUEST[:20])
        assert [answer(connection)[0] for _ in range(3)] == [200] * 3
        connection.sendall(REQUEST[20:])
        assert answer(connection)[0] == 200


def test_a_record_for_each_byte(tls: Broker, authority: Authority) -> None:
    """A request in as many records as it has bytes is a request."""
    with connected(tls, authority) as connection:
        for byte in REQUEST:
            connection.send(bytes([byte]))
        assert answer(connection)[0] == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_records_cut_anywhere(tls: Broker, authority: Authority, version: ssl.TLSVersion) -> None:
    """Handshake and requests arrive in pieces of any size, at the seams of records and in their middle."""
    random.seed(13)
    context = client(authority, maximum_version=version)
    for size in (1, 2, 5, 6, 100, None):
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = context.wrap_bio(into, out, server_hostname="localhost")
        with socket.create_connection(("127.0.0.1", tls.port), timeout=20) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def flush(size: int | None = size, out: ssl.MemoryBIO = out, plain: socket.socket = plain) -> None:
                while piece := out.read(size or random.randint(1, 400)):
                    plain.sendall(piece)

            def until_done(
                step: Callable[[], object], into: ssl.MemoryBIO = into, plain: socket.socket = plain
            ) -> object:
                while True:
                    try:
                        return step()
                    except ssl.SSLWantReadError:
                        flush()
                        into.write(plain.recv(random.randint(1, 100)))
                    finally:
                        flush()

            until_done(secure.do_handshake)
            secure.write(REQUEST * 2)
            flush()
            found = b""
            while found.count(b"HTTP/1.1 200 OK") < 2:
                found += until_done(lambda secure=secure: secure.read(65536))


def test_large_bodies_both_ways(tls: Broker) -> None:
    """A megabyte comes whole and goes whole."""
    content = "".join(random.choices("abcdef", k=1_000_000))
    path = tls.message("l1", content)
    assert tls.attributes(path, "message")["message_content"] == content


def test_an_early_answer_can_be_read(tls: Broker, authority: Authority) -> None:
    """Who is refused in the middle of a body reads why, though it still sends."""
    with connected(tls, authority) as connection:
        lines = (
            "POST /cmbs/message/ HTTP/1.1",
            "Host: localhost",
            "Content-Length: 100000000",
            "Content-Type: text/plain",
        )
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + b"x" * 3_000_000)
        assert answer(connection)[0] == 413


def test_who_reads_slowly_holds_up_nobody(tls: Broker, authority: Authority) -> None:
    """A client that takes no answers waits for itself only."""
    path = tls.message("l1", "x" * 1_000_000)
    with connected(tls, authority) as slow:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {JSON['Accept']}\r\n\r\n".encode()
        slow.sendall(request * 20)
        began = time.monotonic()
        for _ in range(5):
            assert tls.request("GET", "/-/").status_code == 200
        assert time.monotonic() - began < 5
        assert [len(answer(slow)[1]) > 1_000_000 for _ in range(20)] == [True] * 20


def test_a_client_that_waits_to_go_on(tls: Broker, authority: Authority) -> None:
    """100 Continue comes over TLS as well."""
    with connected(tls, authority) as connection:
        body = b'{"resources": [{"kind": "http://houssem.org/cmbs#message"}]}'
        type_ = f"Content-Type: {JSON['Accept']}"
        connection.sendall(
            head("POST", "/cmbs/message/", type_, f"Content-Length: {len(body)}", "Expect: 100-continue")
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert answer(connection)[0] == 201


# What is no TLS, or not whole


@pytest.mark.parametrize(
    "data",
    [
        REQUEST,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + b"\x01" * 66_000,
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x17\x03\x03\x00\x20" + b"x" * 32,
        b"\x80\x2e\x01\x00\x02" + b"\x00" * 44,
        b"\x00" * 1000,
        bytes(range(256)) * 40,
    ],
    ids=["http", "ssh", "http2", "too-long", "alert", "data", "sslv2", "zeros", "bytes"],
)
def test_what_is_no_tls_is_closed(tls: Broker, data: bytes) -> None:
    """The connection ends within moments, with an alert at most, and nothing is answered."""
    with socket.create_connection(("127.0.0.1", tls.port), timeout=5) as connection:
        connection.sendall(data)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(1000):
                found += piece
        assert found == b"" or found[:1] == b"\x15"


def test_a_half_open_handshake_ends(tls: Broker) -> None:
    """Whoever opens a connection and does not get on with the handshake is gone after ten seconds, however much he has sent;
    others meanwhile are served."""
    whole = hello()
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        waiting = []
        for data in [b"", whole[:1], whole[:5], whole[:-1], whole] * 40:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", tls.port), timeout=20))
            connection.sendall(data)
            waiting.append(connection)
        for _ in range(5):
            asked = time.monotonic()
            assert tls.request("GET", "/-/").status_code == 200
            assert time.monotonic() - asked < 2
        for connection in waiting:
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass
        assert 8 < time.monotonic() - began < 20


def test_a_dripped_handshake_is_no_longer_than_a_silent_one(tls: Broker) -> None:
    """Every byte does not begin the ten seconds again."""
    with socket.create_connection(("127.0.0.1", tls.port), timeout=0.2) as connection:
        began, data = time.monotonic(), iter(hello() + bytes(1000))
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 30:
                connection.sendall(bytes([next(data)]))
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(1):
                        break
        assert time.monotonic() - began < 20


def test_half_open_handshakes_give_way(start_broker: Start, authority: Authority) -> None:
    """With more connections than there is room for, those that make no handshake go, and clients that do are served."""
    cert, key = authority.issue("few")
    broker = start_broker(
        "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key), program=("-c", FEW, "serve")
    )
    broker.session.verify = str(authority.cert)
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(socket.create_connection(("127.0.0.1", broker.port), timeout=20))
        assert broker.request("GET", "/-/").status_code == 200
        assert broker.request("GET", "/-/").status_code == 200


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_request_that_is_cut_off_does_nothing(tls: Broker, authority: Authority, part: float) -> None:
    """An end in TLS, or of the connection alone, in the middle of a body makes no entity."""
    before = len(tls.get("/cmbs/message/")["X-OCCI-Location"])
    body = b'{"resources": [{"kind": "http://houssem.org/cmbs#message"}]}'
    data = head("POST", "/cmbs/message/", f"Content-Type: {JSON['Accept']}", f"Content-Length: {len(body)}") + body
    for end_in_tls in (True, False):
        with connected(tls, authority) as connection:
            connection.sendall(data[: int(len(data) * part)])
            if end_in_tls:
                with contextlib.suppress(OSError):
                    connection.unwrap()
            connection.shutdown(socket.SHUT_RDWR)
    assert tls.request("GET", "/-/").status_code == 200
    assert len(tls.get("/cmbs/message/")["X-OCCI-Location"]) == before


def test_damaged_records(tls: Broker, authority: Authority) -> None:
    """A bit that was changed on the way ends the connection, wherever it is; so does anything behind the handshake that is no
    record of it."""
    random.seed(7)
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", tls.port), timeout=20) as plain:
            into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
            secure = client(authority).wrap_bio(into, out, server_hostname="localhost")
            while True:
                try:
                    secure.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    plain.sendall(out.read())
                    into.write(plain.recv(65536))
            plain.sendall(out.read())
            secure.write(REQUEST)
            data = bytearray(out.read())
            data[random.randrange(5, len(data))] ^= 1 << random.randrange(8)
            with contextlib.suppress(ConnectionError):
                plain.sendall(data)
                while piece := plain.recv(65536):
                    into.write(piece)
            with pytest.raises(ssl.SSLError):
                secure.read(65536)


# Certificates change


def test_a_certificate_is_read_anew(start_broker: Start, authority: Authority, tmp_path: Path) -> None:
    """A file that was replaced is what new connections see within moments; those that are open go on. One that cannot be used
    is logged, and the old one stays. SIGHUP asks for nothing else."""
    cert, key = authority.issue("changing")
    broker = start_broker("--workers", "2", "--tls-cert", str(cert), "--tls-key", str(key))
    fronts = {one["pid"] for one in broker.state()["children"]}
    assert broker.process is not None
    with connected(broker, authority) as connection:

        def goes_on() -> None:
            connection.sendall(REQUEST)
            assert answer(connection)[0] == 200

        def seen() -> set[str]:
            return {peer(broker) for _ in range(8)}

        goes_on()
        first = cert.read_text()
        assert seen() == {first}
        authority.issue("changing")
        second = cert.read_text()
        wait_until(lambda: seen() == {second}, what="the new certificate")
        goes_on()
        other, _ = authority.issue("other")
        other.replace(cert)
        wait_until(lambda: "it does not belong to the certificate" in broker.log(), what="the log of the broken one")
        assert seen() == {second}
        cert.unlink()
        wait_until(lambda: f"tls_cert {cert} cannot be read" in broker.log(), what="the log of the missing one")
        broker.process.send_signal(signal.SIGHUP)
        assert seen() == {second}
        authority.issue("changing")
        broker.process.send_signal(signal.SIGHUP)
        third = cert.read_text()
        wait_until(lambda: seen() == {third}, what="the third certificate")
        goes_on()
    assert {one["pid"] for one in broker.state()["children"]} == fronts


def test_a_terminal_that_hangs_up_still_stops_the_broker(authority: Authority, tmp_path: Path) -> None:
    """The same signal as that which has certificates read again, but no one is there any more."""
    cert, key = authority.issue("terminal")
    near, far = os.openpty()
    command = [sys.executable, "-m", "pycmbs", "serve", "--home", str(tmp_path / "h"), "--port", "0", "--workers", "1"]
    script = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", script, *command, "--tls-cert", str(cert), "--tls-key", str(key)],
        stdin=far,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        os.close(far)
        assert process.stdout is not None
        assert b"listening on https://" in process.stdout.readline()
        port = json.loads((tmp_path / "h" / "run" / "broker.json").read_text())["port"]
        authority.issue("terminal")
        process.send_signal(signal.SIGHUP)
        new = cert.read_text()
        wait_until(
            lambda: ssl.get_server_certificate(("127.0.0.1", port), timeout=20) == new, what="the new certificate"
        )
        os.close(near)
        assert process.wait(20) == 0


def test_sighup_reads_files_that_look_the_same(start_broker: Start, authority: Authority) -> None:
    """A file that was overwritten in place, with its time put back, is read when someone says so."""
    cert, key = authority.issue("same")
    cert.write_text(cert.read_text().ljust(1000, "\n"))
    key.write_text(key.read_text().ljust(500, "\n"))
    broker = start_broker("--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key))
    new, new_key = authority.issue("new")
    for path, other, size in ((key, new_key, 500), (cert, new, 1000)):
        status = path.stat()
        with path.open("r+") as file:
            file.write(other.read_text().ljust(size, "\n"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert broker.process is not None
    broker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: peer(broker) == new.read_text(), what="the new certificate")


def test_a_certificate_that_cannot_be_used_keeps_the_broker_from_starting(authority: Authority, tmp_path: Path) -> None:
    """One sentence names the file and what is wrong with it, and the exit code is 2."""
    cert, key = authority.issue("one")
    _, other_key = authority.issue("two")
    wrong = ("--tls-cert", str(cert), "--tls-key", str(other_key))
    for flags, sentence in {
        wrong: f"tls_key {other_key} cannot be used: it does not belong to the certificate",
        ("--tls-key", str(key)): "tls_key is for TLS, and there is no tls_cert: name the certificate with --tls-cert",
    }.items():
        command = [sys.executable, "-m", "pycmbs", "serve", "--home", str(tmp_path / "h"), "--port", "0", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (2, f"pycmbs: {sentence}\n")
        assert not (tmp_path / "h").exists()
