"""Real brokers for the tests: started as a user starts them, in their own processes and homes, on ports of their own."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
import requests

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
COUCHDB_VARIABLE = "PYCMBS_TEST_COUCHDB_URL"
"""Where it names a CouchDB server, every broker of the tests that is given no other store has a database there."""
_SESSION = uuid.uuid4().hex[:12]
on_sqlite = pytest.mark.skipif(bool(os.environ.get(COUCHDB_VARIABLE)), reason="it is about the file of SQLite")
"""For a test of what only a broker with the embedded store has."""
databases: set[str] = set()
"""Those that brokers were given, to be deleted in the end."""
EXAMPLES = ROOT / "json_examples"
JSON = {"Content-Type": "application/occi+json", "Accept": "application/occi+json"}
LAYERS = ("l1", "l2", "l31", "l32", "l4")


def wait_until(condition: Callable[[], T], seconds: float = 10.0, what: str = "the condition") -> T:
    """The condition's value, once it is true; fails when it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s (last: {value!r})")
        time.sleep(0.01)  # the pause of a poll with a deadline


def couchdb_url(server: str, database: str, timeout: float | None = 10) -> str:
    """What the broker calls a database on a server; ``timeout``: seconds for one call, since the machine may be busy."""
    limit = f"?timeout={timeout}" if timeout else ""
    return f"{server.replace('https://', 'couchdb+https://').replace('http://', 'couchdb://')}/{database}{limit}"


def _store_of(home: Path) -> tuple[str, ...]:
    """The flags for the store of a home, when tests run on a CouchDB server."""
    server = os.environ.get(COUCHDB_VARIABLE, "").rstrip("/")
    if not server:
        return ()
    name = f"pycmbs-test-{_SESSION}-{hashlib.sha256(str(home).encode()).hexdigest()[:16]}"
    databases.add(name)
    return ("--store", couchdb_url(server, name))


_reserved: list[socket.socket] = []


def free_port() -> int:
    """A port that no one listens on, and that the kernel gives to no one else while these tests run."""
    # Bound but not listening, with SO_REUSEADDR: keeps it from ephemeral allocation, not from a server's own bind.
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _reserved.append(holder)
    return int(holder.getsockname()[1])


def free_socket() -> str:
    """A free address for a layer."""
    return f"tcp://127.0.0.1:{free_port()}"


class Background:
    """Something that goes on in a thread of its own, within its context: what :meth:`_run` does, until ``_over`` is set."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        raise NotImplementedError


class Broker:
    """One broker, as ``pycmbs serve`` starts it."""

    def __init__(
        self,
        home: Path,
        *flags: str,
        port: int = 0,
        environ: dict[str, str] | None = None,
        program: Sequence[str] = ("-m", "pycmbs", "serve"),
    ) -> None:
        """``program``: what Python runs, without the flags."""
        self.home = home
        self._program = program
        self.port = port
        given = "--store" in flags or "PYCMBS_STORE" in (environ or {})
        self._flags = flags if given else (*_store_of(home), *flags)
        self._environ = {**os.environ, **(environ or {})}
        self._log = home.with_suffix(".log")
        self.process: subprocess.Popen[str] | None = None
        self.member = ""
        self.url = ""
        self.session = requests.Session()
        self.session.trust_env = False

    def start(self) -> Broker:
        """Start it and wait for its line."""
        where = ["--home", str(self.home), "--port", str(self.port)]
        command = [sys.executable, *self._program, *where, *self._flags]
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environ,
                start_new_session=True,
                cwd=ROOT,
            )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        assert "listening on" in self.line, self.line + self.log()
        self.url = self.line.split("listening on ")[1].split("/, ")[0]
        self.port = int(self.url.rpartition(":")[2])
        return self

    @property
    def store_url(self) -> str:
        """Where its documents are."""
        given = self._flags.index("--store") + 1 if "--store" in self._flags else 0
        return self._flags[given] if given else f"sqlite:{self.home / 'pycmbs.db'}"

    def log(self) -> str:
        """What it logged so far, over all its starts."""
        return self._log.read_text() if self._log.exists() else ""

    def state(self) -> dict[str, Any]:
        """The supervisor's own record: process ids by role."""
        return json.loads((self.home / "run" / "broker.json").read_text())

    def pid(self, role: str) -> int:
        """The process id of its ``engine``, or of its first ``front``, that is ready."""
        return next(one["pid"] for one in self.state()["children"] if one["role"] == role and one["ready"])

    def stop(self) -> int:
        """SIGTERM, as a service manager does; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        self._close()
        return code

    def kill(self) -> None:
        """SIGKILL to the whole process group: the machine's power is gone, as far as processes can tell."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._close()

    def _close(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.session.close()

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        """An OCCI JSON request; ``body`` is bytes as they are, a path to a file, or what to encode."""
        data = body.read_bytes() if isinstance(body, Path) else body
        if data is not None and not isinstance(data, bytes):
            data = json.dumps(data).encode()
        headers = {**JSON, **options.pop("headers", {})}
        return self.session.request(method, self.url + path, data=data, headers=headers, timeout=30, **options)

    def get(self, path: str) -> Any:
        """The JSON of a GET that must succeed."""
        answer = self.request("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a request that must succeed."""
        answer = self.request(method, path, body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json() if answer.content else None

    def attributes(self, path: str, kind: str) -> dict[str, Any]:
        """The CMBS attributes of an entity; ``kind``: ``member`` or ``message``."""
        return self.get(path)["attributes"]["cmbs"][kind]

    def become(
        self,
        *layers: str,
        neighbors: list[str] | None = None,
        topics: list[str] | None = None,
        sockets: dict[str, str] | None = None,
    ) -> str:
        """Create its local member and start these layers; returns the member's id. ``sockets``: by layer; free ones for
        the rest."""
        self.member = str(uuid.uuid4())
        urls = {layer: free_socket() for layer in LAYERS} | (sockets or {})
        described = {f"{layer}_socket": url for layer, url in urls.items()}
        attributes = {**described, "state": "active", "neighbors_socket": neighbors or [], "topics": topics or []}
        entity = {
            "kind": "http://houssem.org/cmbs#member",
            "id": self.member,
            "attributes": {"cmbs": {"member": attributes}},
        }
        self.ok("POST", "/cmbs/member/", {"resources": [entity]})
        for layer in layers:
            self.ok("POST", f"/cmbs/member/{self.member}?action=start_{layer}", {})
        return self.member

    def socket(self, layer: str) -> str:
        """The local member's address of a layer."""
        return self.attributes(f"/cmbs/member/{self.member}", "member")[f"{layer}_socket"]

    def message(self, layer: str, content: Any = None, **attributes: Any) -> str:
        """Create a message; returns its path."""
        entity = {
            "kind": "http://houssem.org/cmbs#message",
            "mixins": [f"http://houssem.org/cmbs#{layer}"],
            "attributes": {"cmbs": {"message": {"cmbs_layer": layer, "message_content": content, **attributes}}},
        }
        url = self.ok("POST", "/cmbs/message/", {"resources": [entity]})["Location"][0]
        return url.removeprefix(self.url)

    def send(self, path: str, layer: str, wait: float = 10) -> dict[str, Any]:
        """Send a message and wait until it is settled; returns the report."""
        return self.ok("POST", f"{path}?action=send_{layer}", {"attributes": {"wait": wait}})

    def known(self) -> set[str]:
        """The ids of the members it knows."""
        return {url.rpartition("/")[2] for url in self.get("/cmbs/member/")["X-OCCI-Location"]}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, whoever asked for it. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def with_curl(method: str, url: str, data: Path, *options: str) -> Answer:
    """The call as the README prints it; through requests where there is no curl."""
    if shutil.which("curl") is None:
        return with_requests(method, url, data)
    command = [
        "curl",
        "--silent",
        "--noproxy",
        "*",
        "-X",
        method,
        f"-d@{data}",
        "-H",
        "content-type: application/occi+json",
    ]
    command += ["-H", "accept: application/occi+json", *options, "-v", url]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    head = [line[2:] for line in done.stderr.decode().splitlines() if line.startswith("< ")]
    pairs = (line.partition(": ") for line in head if ": " in line)
    return Answer(int(head[0].split()[1]), {name.lower(): value for name, _, value in pairs}, done.stdout)


def with_requests(method: str, url: str, data: Path, *_options: str) -> Answer:
    """The call with the file's bytes as they are."""
    answer = requests.request(method, url, data=data.read_bytes(), headers=JSON, timeout=30)
    return Answer(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.content)


def raw(broker: Broker, *parts: bytes, half_close: bool = False, seconds: float = 20) -> Answer:
    """Bytes as they are to the broker, and its answer. ``half_close``: tell it that nothing follows."""
    with socket.create_connection(("127.0.0.1", broker.port), timeout=seconds) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it answered without waiting for the rest
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def head(method: str, path: str, *headers: str) -> bytes:
    """The head of a request; the connection ends with its answer, which is JSON unless the headers ask for another."""
    if not any(one.lower().startswith("accept:") for one in headers):
        headers = (*headers, f"Accept: {JSON['Accept']}")
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def listens(url: str) -> bool:
    """Whether someone accepts connections at a socket URL."""
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, int(port))) == 0


def is_free(url: str) -> bool:
    """Whether a socket URL could be listened on."""
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            probe.listen(1)
        except OSError:
            return False
        return True


def refusal(answer: Any, status: int, code: str, *named: str) -> dict[str, Any]:
    """The error of an answer that must be this refusal and name these words, whatever else it says."""
    text = answer.text if isinstance(answer, requests.Response) else answer.body.decode()
    assert (answer.status_code if isinstance(answer, requests.Response) else answer.status) == status, text
    error: dict[str, Any] = answer.json()["error"]
    assert (error["status"], error["code"]) == (status, code), error
    for word in named:
        assert word in json.dumps(error, ensure_ascii=False), error
    assert error["message"]
    assert "Traceback" not in text
    return error
