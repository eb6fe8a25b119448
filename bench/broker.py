"""Brokers under measurement: started as a user starts them, each in a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.load import Request


class Broker:
    """One running broker."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.member = ""
        self.socket_l1 = ""
        self.socket_l32 = ""

    def answer(self, request: Request) -> str:
        """The body. Raises RuntimeError for another status than the request expects."""
        return request.ask(self.port)

    def post(self, target: str, document: Any, status: int = 200) -> Any:
        """POST a document; the decoded answer."""
        return json.loads(self.answer(Request("POST", target, json.dumps(document), status)))

    def create(self, entities: Sequence[dict[str, Any]]) -> list[str]:
        """Create messages with one request; their paths."""
        created = self.post("/cmbs/message/", {"resources": list(entities)}, 201)
        return ["/" + url.split("/", 3)[3] for url in created["Location"]]

    def become(self, *topics: str) -> None:
        """Create its member, interested in these topics, and start its L1 and L3.2."""
        self.socket_l1, self.socket_l32 = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        sockets = {"l1_socket": self.socket_l1, "l32_socket": self.socket_l32}
        attributes = {"cmbs": {"member": {**sockets, "topics": list(topics), "state": "active"}}}
        entity = {"kind": "http://houssem.org/cmbs#member", "attributes": attributes}
        created = self.post("/cmbs/member/", {"resources": [entity]}, 201)
        self.member = created["Location"][0].rpartition("/")[2]
        for layer in ("l1", "l32"):
            self.post(f"/cmbs/member/{self.member}?action=start_{layer}", {})


@contextlib.contextmanager
def running(home: Path, workers: int, *flags: str) -> Iterator[Broker]:
    """A broker with its home there, and further flags, while the context lasts. Raises RuntimeError when it does not start."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYCMBS_")}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "pycmbs", "serve", "--home", str(home), "--port", "0", "--workers", str(workers)]
    command += flags
    log = home.with_suffix(".log")
    with (
        log.open("w") as errors,
        # Not in the checkout: its conf/ is none of the benchmark's.
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environ, cwd=home.parent
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "listening on" not in line:
                raise RuntimeError(f"a broker did not start: {line}{log.read_text()}")
            yield Broker(int(line.split("listening on ")[1].split("/, ")[0].rpartition(":")[2]))
        finally:
            process.terminate()
            process.wait(10)


def free_port() -> int:
    """A port that no one listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
