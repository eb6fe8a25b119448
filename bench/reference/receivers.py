"""Simulated members: ROUTER sockets of one process, which acknowledge what comes and store nothing.

So what is measured is the sender's side of a fan-out, or of a discovery: ``python -m bench.reference.receivers serve N`` is
members that no one introduced to each other, with ``greet`` for ``serve`` such that know each other and tell so;
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
def serving(number: int, *, acquainted: bool = False) -> Iterator[list[dict[str, str]]]:
    """So many members in a process of their own, while the context lasts; gives the ``id`` and ``url`` of each."""
    role = "greet" if acquainted else "serve"
    command = [sys.executable, "-m", "bench.reference.receivers", role, str(number)]
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


class _Acquainted:
    """What members know of each other, and of those that introduced themselves: each in its first version."""

    def __init__(self, members: list[dict[str, str]]) -> None:
        self._introductions = {one["id"]: _introduction(one["id"], one["url"]) for one in members}
        self._sockets = [one["url"] for one in members]
        self._met: dict[tuple[str, str], int] = {}

    def answer(self, own: str, question: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """Type and body of a member's answer; None for what strangers answer alike."""
        sender, body = question["from"], question["body"]
        if question["type"] == "probe":
            return "alive", {"version": 1, "knows": self._met.get((own, sender), 0), "digest": ""}
        if question["type"] == "leave":
            self._met.pop((own, sender), None)
            return "ack", {"status": "delivered"}
        if question["type"] != "hello":
            return None
        self._met[own, sender] = body["version"]
        lacking = [one for id, one in self._introductions.items() if id != own and body["known"].get(id, -1) < 1]
        known = {**dict.fromkeys(self._introductions, 1), sender: body["version"]}
        told = {"sockets_l1": self._sockets, "known": known, "left": {}, "members": lacking}
        return "welcome", {**self._introductions[own], **told}


def _introduction(id: str, url: str) -> dict[str, Any]:
    attributes = {"cmbs": {"member": {"l1_socket": url, "l2_socket": url, "state": "active"}}}
    description = {"kind": "http://houssem.org/cmbs#member", "id": id, "attributes": attributes}
    return {"description": description, "version": 1, "instance": id}


def _answer(question: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type and body of the answer that a member would give that knows no one."""
    if question["type"] == "message":
        return "ack", {"status": "delivered", "reply": {}}
    if question["type"] == "probe":
        return "alive", {"version": 0, "knows": 0, "digest": ""}
    return "refusal", {"error": {"code": "not-found", "message": "a simulated member knows nobody"}, "final": False}


def _serve(number: int, *, acquainted: bool) -> None:
    poller, members = zmq.Poller(), {}
    for _ in range(number):
        router = zmq.Context.instance().socket(zmq.ROUTER)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        poller.register(router, zmq.POLLIN)
        members[router] = {"id": str(uuid.uuid4()), "url": f"tcp://127.0.0.1:{port}"}
    print(json.dumps(list(members.values())), flush=True)
    acquaintances = _Acquainted(list(members.values()) if acquainted else [])
    while True:
        for router, _ in poller.poll():
            peer, data = router.recv_multipart()
            question = orjson.loads(data)
            own = members[router]["id"]
            known = acquaintances.answer(own, question) if acquainted else None
            kind, body = known or _answer(question)
            answer = {"cmbs": 1, "type": kind, "id": question["id"], "from": own, "body": body}
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
    if role in ("serve", "greet"):
        _serve(int(rest[0]), acquainted=role == "greet")
    seconds, in_flight, *urls = rest
    json.dump(asdict(_ask(float(seconds), int(in_flight), urls)), sys.stdout)


if __name__ == "__main__":
    main()
