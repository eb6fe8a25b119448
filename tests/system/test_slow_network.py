"""A network that is slow and nothing else: what is sent arrives, once, and no one is taken for dead."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

from tests.chaos.proxy import Faults, Proxy
from tests.harness import Broker, free_port, free_socket, wait_until

Start = Callable[..., Broker]
RATE = 50_000
LATENCY = 1.0


class Distance:
    """A way to a target that takes so many seconds, in each direction, however much goes over it."""

    def __init__(self, target: str, seconds: float) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target, self._seconds = (host, int(port)), seconds
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                server = socket.create_connection(self._target)
                self._open.append(server)
                for source, sink in ((client, server), (server, client)):
                    way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                    threading.Thread(target=self._enter, args=(source, way), daemon=True).start()
                    threading.Thread(target=self._leave, args=(way, sink), daemon=True).start()

    def _enter(self, source: socket.socket, way: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        data = b"x"
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            way.put((time.monotonic() + self._seconds, data))

    def _leave(self, way: queue.SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                at, data = way.get()
                time.sleep(max(0.0, at - time.monotonic()))  # this is the distance
                if not data:
                    break
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


def states(broker: Broker, paths: list[str]) -> list[str]:
    """The states of messages."""
    return [broker.attributes(path, "message")["state"] for path in paths]


def test_what_is_large_arrives_over_a_slow_connection(start_broker: Start) -> None:
    """1 MB at 50 kB/s arrives with the first attempt, and what was accepted after it in order, though an answer takes twenty
    seconds; meanwhile probes, which go the same way, are answered, and the member is alive."""
    one = start_broker("--workers", "1")
    one.become("l1")
    target = free_socket()
    with Proxy(target, Faults(rate=RATE)) as proxy:
        two = start_broker("--workers", "1", "--listen-at", f"{proxy.url}={target}")
        two.become("l1", neighbors=[one.socket("l1")], sockets={"l1": proxy.url})
        where = f"/cmbs/member/{two.member}"
        wait_until(lambda: two.member in one.known(), what="they know each other")
        health = lambda: one.attributes(where, "member").get("health", {})  # noqa: E731 - short
        wait_until(lambda: health().get("state") == "alive", 15, "it is alive")
        paths = [one.message("l1", "x" * 1_000_000, l1_socket_receiver_member=proxy.url)]
        paths += [one.message("l1", number, l1_socket_receiver_member=proxy.url) for number in range(5)]
        for path in paths:
            one.ok("POST", f"{path}?action=send_l1", {})
        seen = set()
        wait_until(
            lambda: seen.add(health().get("state")) or states(one, paths) == ["delivered"] * 6, 90, "all are delivered"
        )
        assert seen == {"alive"}
        assert [one.attributes(path, "message")["deliveries"][0]["attempts"] for path in paths] == [1] * 6
        assert [url.removeprefix(two.url) for url in two.get("/cmbs/message/")["X-OCCI-Location"]] == paths


def test_a_member_far_away_is_a_member(start_broker: Start) -> None:
    """With two seconds of round trip a member joins, is alive, and gets its messages in order of acceptance."""
    one = start_broker("--workers", "1")
    one.become("l1")
    targets = {layer: free_socket() for layer in ("l1", "l2")}
    with Distance(one.socket("l1"), LATENCY) as home, contextlib.ExitStack() as stack:
        ways = {layer: stack.enter_context(Distance(url, LATENCY)) for layer, url in targets.items()}
        places = ";".join(f"{ways[layer].url}={targets[layer]}" for layer in targets)
        two = start_broker("--workers", "1", "--listen-at", places)
        two.become("l1", "l2", neighbors=[home.url], sockets={layer: way.url for layer, way in ways.items()})
        wait_until(lambda: two.member in one.known(), 60, "it joins")
        where = f"/cmbs/member/{two.member}"
        health = lambda: one.attributes(where, "member").get("health", {})  # noqa: E731 - short
        wait_until(lambda: health().get("state") == "alive", 60, "it is alive")
        paths = [one.message("l2", number) for number in range(20)]
        for path in paths:
            one.ok("POST", f"{path}?action=send_l2", {})
        wait_until(lambda: states(one, paths) == ["delivered"] * 20, 60, "all are delivered")
        wait_until(lambda: health().get("round_trip_ms", 0) > 1900, 30, "what it takes is measured")
        assert health()["state"] == "alive"
        assert [url.removeprefix(two.url) for url in two.get("/cmbs/message/")["X-OCCI-Location"]] == paths
