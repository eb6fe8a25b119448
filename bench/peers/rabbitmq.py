"""RabbitMQ's HTTP publish to a durable queue, messages persistent."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench import peers
from bench.broker import free_port
from bench.load import Orders, Request, run
from bench.scenarios import message

NAME = "RabbitMQ, HTTP publish to a durable queue"
WHAT = "routed to the queue; HTTP, JSON"

_LIBRARY = "/usr/lib/rabbitmq/bin"  # the program on the path would run as another user
_HEADERS = (
    ("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode()),
    ("Content-Type", "application/json"),
)
_CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {http}
"""


def _server() -> str:
    inner = Path(_LIBRARY) / "rabbitmq-server"
    return str(inner) if inner.exists() else peers.command("rabbitmq-server")


def missing() -> str:
    """What is not installed."""
    return "" if _server() else "rabbitmq-server"


@contextlib.contextmanager
def serving(home: Path) -> Iterator[peers.Measure]:
    """A node of its own."""
    amqp, http, distribution, mapper = (free_port() for _ in range(4))
    (home / "rabbitmq.conf").write_text(_CONFIGURATION.format(amqp=amqp, http=http))
    (home / "plugins").write_text("[rabbitmq_management].")
    environ = {
        "HOME": str(home),
        "RABBITMQ_NODENAME": f"bench{amqp}@localhost",
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
        "RABBITMQ_DIST_PORT": str(distribution),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_RELAXED_COMMAND_CHECK": "true",
    }
    queue = Request("PUT", "/api/queues/%2f/bench", json.dumps({"durable": True}), 201, headers=_HEADERS)
    document = {
        "properties": {"delivery_mode": 2},
        "routing_key": "bench",
        "payload": json.dumps(message()),
        "payload_encoding": "string",
    }
    publish = Request(
        "POST", "/api/exchanges/%2f/amq.default/publish", json.dumps(document), 200, '"routed":true', headers=_HEADERS
    )
    try:
        with peers.process([_server()], home, http, environ):
            _declare(http, queue)
            yield lambda connections, seconds: run(Orders(http, connections, seconds, [publish]))
    finally:  # Erlang's port mapper stays behind
        subprocess.run(["epmd", "-port", str(mapper), "-kill"], capture_output=True, check=False)


def _declare(port: int, queue: Request) -> None:
    """The node answers before it can declare anything: until it does."""
    end = time.monotonic() + 30
    while True:
        try:
            queue.ask(port)
            return
        except (RuntimeError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.3)
