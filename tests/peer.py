"""A member made of a raw socket: what it says is what a test has it say."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
import uuid
from collections import deque
from typing import Any, Self

import zmq

from tests.harness import free_socket, wait_until

Datagram = dict[str, Any]


def version(seconds: float = 0.0) -> int:
    """A member's version as of so many seconds from now."""
    return int((time.time() + seconds) * 1e6)


class Peer:
    """Listens at an address, answers probes and introductions, and keeps everything else for the test.

    ``says`` is what it answers a type of datagram with: a type and a body, or None for nothing.
    """

    def __init__(self, id: str = "", **told: Any) -> None:
        """``told``: of its introduction what is not as usual (``version``, ``instance``, ``life`` …)."""
        self.id = id or str(uuid.uuid4())
        self.url = free_socket()
        self.told = {"version": version(), "instance": uuid.uuid4().hex, **told}
        self.says: dict[str, tuple[str, Datagram] | None] = {"probe": ("alive", {}), "hello": ("welcome", {})}
        self.got: deque[tuple[bytes, Datagram]] = deque()
        """What came in and was not answered by itself, with whom to answer."""
        self.seen: list[Datagram] = []
        """Everything that came in."""
        self._context = zmq.Context()
        self._out: queue.SimpleQueue[tuple[bytes, Datagram]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join(5)
        self._context.destroy(0)

    def introduction(self, **changed: Any) -> Datagram:
        """Its description, with version and instance."""
        sockets = {f"cmbs.member.{layer}_socket": self.url for layer in ("l1", "l2")}
        description = {"kind": "http://houssem.org/cmbs#member", "id": self.id, "attributes": sockets}
        return {"description": description, **self.told, "sockets_l1": [self.url], **changed}

    def ask(self, url: str, type: str, body: Datagram, seconds: float = 10, **said: Any) -> Datagram:
        """Send something to a listener, and return what it answers. ``said``: keys of the envelope that are not as usual."""
        with self._context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.connect(url)
            id = uuid.uuid4().hex
            dealer.send(json.dumps({"cmbs": 1, "type": type, "id": id, "from": self.id, "body": body, **said}).encode())
            assert dealer.poll(int(seconds * 1000)), f"no answer to a {type} within {seconds} s"
            answer: Datagram = json.loads(dealer.recv())
            assert answer["id"] == said.get("id", id)
            return answer

    def greet(self, url: str, **changed: Any) -> Datagram:
        """Introduce itself; returns the answer."""
        return self.ask(url, "hello", {"known": {}, "left": {}, **self.introduction(**changed)})

    def next(self, type: str, seconds: float = 10) -> tuple[bytes, Datagram]:
        """The next datagram of a type that came in; others are passed over."""

        def found() -> tuple[bytes, Datagram] | None:
            with contextlib.suppress(IndexError):
                while (one := self.got.popleft())[1]["type"] != type:
                    pass
                return one
            return None

        return wait_until(found, seconds, f"a {type} arrives")  # type: ignore[return-value]

    def answer(self, to: bytes, datagram: Datagram, type: str, body: Datagram, **said: Any) -> None:
        """Answer over the connection that something came over."""
        self._out.put((to, {"cmbs": 1, "type": type, "id": datagram["id"], "from": self.id, "body": body, **said}))

    def secure(self, router: zmq.Socket[bytes]) -> None:
        """Prepare the socket before it is bound: here it needs no keys."""

    def _run(self) -> None:
        with self._context.socket(zmq.ROUTER) as router:
            router.linger = 0
            self.secure(router)
            router.bind(self.url)
            while not self._closing.is_set():
                with contextlib.suppress(queue.Empty):
                    while True:
                        to, datagram = self._out.get_nowait()
                        router.send_multipart([to, json.dumps(datagram).encode()])
                if router.poll(10):
                    to, data = router.recv_multipart()
                    self._take(to, json.loads(data))

    def _take(self, to: bytes, datagram: Datagram) -> None:
        self.seen.append(datagram)
        said = self.says.get(datagram["type"])
        if said is None:
            if datagram["type"] not in self.says:
                self.got.append((to, datagram))
        else:
            body = self.introduction() if said == ("welcome", {}) else said[1]
            self.answer(to, datagram, said[0], body)
