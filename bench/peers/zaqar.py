"""OpenStack's Zaqar: messages over HTTP into Redis, whose log (AOF) is written with every change and on disk every second."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from bench import peers
from bench.broker import free_port
from bench.load import Orders, Request, run
from bench.scenarios import message

NAME = "Zaqar 23 on Redis with AOF"
WHAT = "on disk within a second; HTTP, JSON, a queue per name"

_HEADERS = (("Client-ID", str(uuid.uuid4())), ("X-Project-Id", "bench"), ("Content-Type", "application/json"))
_CONFIGURATION = """
[DEFAULT]
auth_strategy =
admin_mode = true
[drivers]
transport = wsgi
message_store = redis
management_store = redis
[drivers:message_store:redis]
uri = redis://127.0.0.1:{port}
[drivers:management_store:redis]
uri = redis://127.0.0.1:{port}
"""


def _gunicorn() -> str:
    """Zaqar's gunicorn: of an environment with zaqar, gunicorn and redis, which PYCMBS_BENCH_ZAQAR names."""
    folder = os.environ.get("PYCMBS_BENCH_ZAQAR", "")
    found = peers.command("gunicorn", f"{folder}/bin") if folder else peers.command("gunicorn")
    return found if found and (Path(found).parent / "zaqar-server").exists() else ""


def missing() -> str:
    """What is not installed."""
    if not peers.command("redis-server"):
        return "redis-server"
    return "" if _gunicorn() else "zaqar with gunicorn (PYCMBS_BENCH_ZAQAR names its virtual environment)"


@contextlib.contextmanager
def serving(home: Path) -> Iterator[peers.Measure]:
    """Redis, and Zaqar on it in two processes."""
    store, port = free_port(), free_port()
    redis = [peers.command("redis-server"), "--port", str(store), "--bind", "127.0.0.1", "--dir", str(home)]
    redis += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    (home / ".zaqar").mkdir()
    (home / ".zaqar" / "zaqar.conf").write_text(_CONFIGURATION.format(port=store))
    gunicorn = [
        _gunicorn(),
        "--bind",
        f"127.0.0.1:{port}",
        "--workers",
        "2",
        "--worker-class",
        "gthread",
        "--threads",
        "8",
    ]
    gunicorn += ["--keep-alive", "75", "zaqar.transport.wsgi.app:app"]
    body = json.dumps({"messages": [{"ttl": 3600, "body": message()}]})
    post = Request("POST", "/v2/queues/bench/messages", body, 201, headers=_HEADERS)
    with peers.process(redis, home, store), peers.process(gunicorn, home, port, {"HOME": str(home)}):
        yield lambda connections, seconds: run(Orders(port, connections, seconds, [post]))
