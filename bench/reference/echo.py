"""Bare ZeroMQ: request and reply between two processes, a DEALER per client at one ROUTER.

With FOLDER, also the commits that a round trip over L1 cannot do without: the sender's before it sends, the receiver's before
it answers, the sender's of the answer. What is ready at the same time shares a commit.

``python -m bench.reference.echo server|clients …``
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import zmq

from bench import ROOT
from bench.load import WARM_UP, Figures, figures
from bench.reference import running

SIZE = 1500
"""Bytes of a request and of its reply: about what an L1 message's envelope has."""


@contextlib.contextmanager
def serving(folder: Path | None = None) -> Iterator[str]:
    """A process that returns what it gets, from disk with ``folder``, while the context lasts; gives its endpoint."""
    with running("echo", "server", *([str(folder)] if folder else [])) as endpoint:
        yield endpoint


def run(endpoint: str, clients: int, seconds: float, folder: Path | None = None) -> Figures:
    """Have a process of its own ask as many clients would, each waiting for its reply."""
    command = [sys.executable, "-m", "bench.reference.echo", "clients", endpoint, str(clients), str(seconds)]
    command += [str(folder)] if folder else []
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return Figures(**json.loads(done.stdout))


class Disk:
    """A table; nothing happens without a folder."""

    def __init__(self, folder: str, name: str) -> None:
        self._connection = sqlite3.connect(f"{folder}/{name}.db", isolation_level=None) if folder else None
        if self._connection is not None:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, body BLOB)")

    def write(self, rows: list[bytes]) -> None:
        """Returns when they are on disk."""
        if self._connection is not None and rows:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO rows (body) VALUES (?)", [(row,) for row in rows])
            self._connection.execute("COMMIT")


def _serve(folder: str) -> None:
    disk = Disk(folder, "receiver")
    router = zmq.Context.instance().socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    print(f"tcp://127.0.0.1:{port}", flush=True)
    while True:
        received = [router.recv_multipart()]
        with contextlib.suppress(zmq.Again):
            while True:
                received.append(router.recv_multipart(zmq.NOBLOCK))
        disk.write([frames[-1] for frames in received])
        for frames in received:
            router.send_multipart(frames)


def _ask(endpoint: str, number: int, seconds: float, folder: str) -> Figures:
    disk = Disk(folder, "sender")
    context, poller, request = zmq.Context.instance(), zmq.Poller(), b"x" * SIZE
    clients = []
    for _ in range(number):
        client = context.socket(zmq.DEALER)
        client.linger = 0
        client.connect(endpoint)
        poller.register(client, zmq.POLLIN)
        clients.append(client)
    since = dict.fromkeys(clients, time.perf_counter())
    latencies: list[float] = []
    begin = time.perf_counter() + seconds * WARM_UP
    end = begin + seconds
    ready = clients
    while (now := time.perf_counter()) < end:
        disk.write([request] * len(ready))
        for client in ready:
            client.send(request)
        ready = [client for client, _ in poller.poll(1000)]
        disk.write([client.recv() for client in ready])
        now = time.perf_counter()
        for client in ready:
            if begin <= now < end:
                latencies.append(now - since[client])
            since[client] = now
    for client in clients:
        client.close()
    return figures(latencies, seconds)


def main() -> None:
    """Play the role that the command line says."""
    role, *rest = sys.argv[1:]
    if role == "server":
        _serve(rest[0] if rest else "")
    endpoint, number, seconds, *folder = rest
    json.dump(asdict(_ask(endpoint, int(number), float(seconds), folder[0] if folder else "")), sys.stdout)


if __name__ == "__main__":
    main()
