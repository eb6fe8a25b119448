"""What TLS costs: processor time of a front for a durable POST over connections that are kept, and for new connections."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from bench.broker import Broker, running
from bench.load import WARM_UP, Figures, Orders, context, figures, run
from bench.scenarios import posted
from tests.certificates import Authority

CONNECTIONS = 32
"""As many as keep a front busy, over TLS too: one that waits commits less at a time, and each answer costs it more. Their
handshakes are part of a run."""
_GET = b"GET /-/?category=none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

Runs = dict[str, Callable[[], Figures]]


@contextlib.contextmanager
def runs(home: Path, seconds: float) -> Iterator[tuple[Runs, Runs]]:
    """The runs of POST and those of new connections, by name, each time first the one without TLS, while the context lasts. A
    rate is of answers in a second of the front's processor."""
    authority = Authority(home / "certificates")
    cert, key = authority.issue("server")
    flags = ("--tls-cert", str(cert), "--tls-key", str(key))
    with running(home / "plain", 1) as plain, running(home / "tls", 1, *flags) as tls:
        plain_front, tls_front = _Front(home / "plain", seconds), _Front(home / "tls", seconds)
        ca = str(authority.cert)
        yield (
            {
                "": plain_front.measured(lambda: run(_orders(plain, seconds, ""))),
                "durable POST over TLS": tls_front.measured(lambda: run(_orders(tls, seconds, ca))),
            },
            {
                "": plain_front.measured(lambda: _connected(plain.port, seconds, None)),
                "new connection over TLS": tls_front.measured(lambda: _connected(tls.port, seconds, context(ca))),
            },
        )


def _orders(broker: Broker, seconds: float, ca: str) -> Orders:
    return Orders(broker.port, CONNECTIONS, seconds, [posted()], ca=ca)


def _connected(port: int, seconds: float, secure: ssl.SSLContext | None) -> Figures:
    """One connection after the other, each with a small request."""
    latencies = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds * (1 + WARM_UP):
        since = time.perf_counter()
        with contextlib.ExitStack() as stack:
            connection: socket.socket = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            if secure is not None:
                connection = stack.enter_context(secure.wrap_socket(connection))
            connection.sendall(_GET)
            while connection.recv(65536):
                pass
        latencies.append(time.perf_counter() - since)
    return figures(latencies, seconds * (1 + WARM_UP))


class _Front:
    """The front process of a broker."""

    def __init__(self, home: Path, seconds: float) -> None:
        children = json.loads((home / "run" / "broker.json").read_text())["children"]
        self._pid = next(one["pid"] for one in children if one["role"] == "front")
        self._seconds = seconds * (1 + WARM_UP)

    def measured(self, load: Callable[[], Figures]) -> Callable[[], Figures]:
        """The load, with its rate that of the front's processor."""

        def measure() -> Figures:
            before = self._used()
            found = load()
            return replace(found, rate=found.rate * self._seconds / (self._used() - before))

        return measure

    def _used(self) -> float:
        tasks = Path(f"/proc/{self._pid}/task").glob("*/schedstat")
        return sum(int(one.read_text().split()[0]) for one in tasks) / 1e9
