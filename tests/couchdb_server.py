"""A CouchDB server for the tests: one that is there already, or a stand-in from the npm registry, started for them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.harness import COUCHDB_VARIABLE, ROOT, couchdb_url, free_port, wait_until

_PROGRAM = ROOT / ".venv" / "couchdb-server" / "node_modules" / "pouchdb-server" / "bin" / "pouchdb-server"


class CouchServer:
    """A server at an HTTP URL, which may hold credentials. ``process`` is there if these tests started it."""

    def __init__(self, url: str, folder: Path | None = None) -> None:
        self.url = url.rstrip("/").replace("couchdb://", "http://").replace("couchdb+https://", "https://")
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.session = requests.Session()
        self.session.trust_env = False

    @property
    def is_stand_in(self) -> bool:
        """Whether it is the stand-in, which cannot do all that CouchDB can."""
        return self._folder is not None

    def start(self) -> None:
        """Start the stand-in, with what it kept, and wait until it answers."""
        assert self._folder is not None
        node = shutil.which("node") or str(ROOT / ".venv" / "bin" / "node")
        command = [node, str(_PROGRAM), "-d", str(self._folder), "-n", "-p", str(urlsplit(self.url).port)]
        with (self._folder / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "-o", "127.0.0.1"], cwd=self._folder, stdout=output, stderr=output, start_new_session=True
            )
        wait_until(self._answers, 30, "a CouchDB server")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self._folder / "output.txt").read_text() if self._folder else ""
        try:
            return self.session.get(self.url, timeout=5).ok
        except requests.ConnectionError:
            return False

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def pause(self, *, paused: bool) -> None:
        """Have it hang, or go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def store_url(self, database: str, timeout: float | None = 10) -> str:
        """What the broker calls a database here; ``timeout``: seconds for one call, since the machine may be busy."""
        return couchdb_url(self.url, database, timeout)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The store URL of a new name; the database is deleted afterwards."""
        name = f"pycmbs-test-{uuid.uuid4().hex}"
        yield self.store_url(name)
        with contextlib.suppress(requests.ConnectionError):
            self.request("DELETE", f"/{name}")

    def request(self, method: str, path: str, body: Any = None) -> requests.Response:
        """A request beside the store."""
        return self.session.request(method, self.url + path, json=body, timeout=30)


def stand_in(folder: Path) -> CouchServer:
    """One that is not started yet, on a port of its own, with its data in ``folder``."""
    return CouchServer(f"http://127.0.0.1:{free_port()}", folder)


@contextlib.contextmanager
def running_server(folder: Path) -> Iterator[CouchServer]:
    """The server of the environment variable, or a stand-in."""
    if os.environ.get(COUCHDB_VARIABLE):
        yield CouchServer(os.environ[COUCHDB_VARIABLE])
        return
    server = stand_in(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
        server.session.close()
