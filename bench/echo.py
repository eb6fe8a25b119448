"""Bare ZeroMQ: request and reply between two processes, a DEALER per client at one ROUTER, with nothing behind them.

Both are processes of their own: ``python -m bench.echo ROLE ENDPOINT …``.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict

import zmq

from bench import ROOT
from bench.load import WARM_UP, Figures, figures

SIZE = 1500
"""Bytes of a request and of its reply: about what an L1 message's envelope has."""


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """A process that returns what it gets, while the context lasts; gives its endpoint."""
    command = [sys.executable, "-m", "bench.echo", "server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def run(endpoint: str, clients: int, seconds: float) -> Figures:
    """Have a process of its own ask as many clients would, each waiting for its reply."""
    command = [sys.executable, "-m", "bench.echo", "clients", endpoint, str(clients), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return Figures(**json.loads(done.stdout))


def _serve() -> None:
    router = zmq.Context.instance().socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    print(f"tcp://127.0.0.1:{port}", flush=True)
    while True:
        router.send_multipart(router.recv_multipart())


def _ask(endpoint: str, number: int, seconds: float) -> Figures:
    context, poller, request = zmq.Context.instance(), zmq.Poller(), b"x" * SIZE
    since: dict[zmq.Socket[bytes], float] = {}
    for _ in range(number):
        client = context.socket(zmq.DEALER)
        client.linger = 0
        client.connect(endpoint)
        poller.register(client, zmq.POLLIN)
        since[client] = time.perf_counter()
        client.send(request)
    latencies: list[float] = []
    begin = time.perf_counter() + seconds * WARM_UP
    end = begin + seconds
    while time.perf_counter() < end:
        for client, _ in poller.poll(1000):
            client.recv()
            now = time.perf_counter()
            if begin <= now < end:
                latencies.append(now - since[client])
            since[client] = now
            client.send(request)
    for client in since:
        client.close()
    return figures(latencies, seconds)


def main() -> None:
    """Play the role that the command line says."""
    role, *rest = sys.argv[1:]
    if role == "server":
        _serve()
    endpoint, number, seconds = rest
    json.dump(asdict(_ask(endpoint, int(number), float(seconds))), sys.stdout)


if __name__ == "__main__":
    main()
