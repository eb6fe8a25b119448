"""Simulated members: ROUTER sockets of one process, which acknowledge what comes and store nothing.

So what is measured is the sender's side of a fan-out. ``python -m bench.reference.receivers serve N`` is the members,
``python -m bench.reference.receivers ask SECONDS IN_FLIGHT URL …`` the reference: the same datagrams and answers, and no more.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson
import zmq

from bench import ROOT
from bench.load import WARM_UP, Figures, figures
from bench.scenarios import message


@contextlib.contextmanager
def serving(number: int) -> Iterator[list[dict[str, str]]]:
    """So many members in a process of their own, while the context lasts; gives the ``id`` and ``url`` of each."""
    command = [sys.executable, "-m", "bench.reference.receivers", "serve", str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


def ask(members: list[dict[str, str]], seconds: float, in_flight: int) -> Figures:
    """Have a process of its own send to all of them: messages that all have acknowledged, per second."""
    command = [sys.executable, "-m", "bench.reference.receivers", "ask", str(seconds), str(in_flight)]
    command += [one["url"] for one in members]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return Figures(**json.loads(done.stdout))


def _answer(question: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type and body of the answer that a member would give."""
    if question["type"] == "message":
        return "ack", {"status": "delivered", "reply": {}}
    if question["type"] == "probe":
        return "alive", {"version": 0, "knows": 0, "digest": ""}
    return "refusal", {"error": {"code": "not-found", "message": "a simulated member knows nobody"}, "final": False}


def _serve(number: int) -> None:
    poller, members = zmq.Poller(), {}
    for _ in range(number):
        router = zmq.Context.instance().socket(zmq.ROUTER)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        poller.register(router, zmq.POLLIN)
        members[router] = {"id": str(uuid.uuid4()), "url": f"tcp://127.0.0.1:{port}"}
    print(json.dumps(list(members.values())), flush=True)
    while True:
        for router, _ in poller.poll():
            peer, data = router.recv_multipart()
            question = orjson.loads(data)
            kind, body = _answer(question)
            answer = {"cmbs": 1, "type": kind, "id": question["id"], "from": members[router]["id"], "body": body}
            router.send_multipart([peer, orjson.dumps(answer)])


def _ask(seconds: float, in_flight: int, urls: list[str]) -> Figures:
    poller, dealers = zmq.Poller(), []
    for url in urls:
        dealer = zmq.Context.instance().socket(zmq.DEALER)
        dealer.linger = 0
        dealer.connect(url)
        poller.register(dealer, zmq.POLLIN)
        dealers.append(dealer)
    open_: dict[str, tuple[float, int]] = {}
    latencies: list[float] = []

    def send(number: int) -> None:
        id = str(number)
        open_[id] = (time.perf_counter(), len(dealers))
        body = {"layer": "l2", "round": 1, "message": message("l2"), "deadline": 3600}
        data = orjson.dumps({"cmbs": 1, "type": "message", "id": id, "from": "bench", "body": body})
        for dealer in dealers:
            dealer.send(data)

    for sent in range(in_flight):
        send(sent)
    begin = time.perf_counter() + seconds * WARM_UP
    end = begin + seconds
    sent = in_flight
    while (now := time.perf_counter()) < end:
        for dealer, _ in poller.poll(1000):
            id = orjson.loads(dealer.recv())["id"]
            since, left = open_[id]
            open_[id] = (since, left - 1)
            if left == 1:
                del open_[id]
                now = time.perf_counter()
                if begin <= now < end:
                    latencies.append(now - since)
                send(sent)
                sent += 1
    return figures(latencies, seconds)


def main() -> None:
    """Play the role that the command line says."""
    role, *rest = sys.argv[1:]
    if role == "serve":
        _serve(int(rest[0]))
    seconds, in_flight, *urls = rest
    json.dump(asdict(_ask(float(seconds), int(in_flight), urls)), sys.stdout)


if __name__ == "__main__":
    main()
