"""Durable writes, by how many write at a time: over HTTP, and to the stores themselves with the sizes of the groups they share.

CouchDB is the server of PYCMBS_TEST_COUCHDB_URL, or the stand-in of the tests, which is named in the output: its figures say
nothing of Apache CouchDB's.
"""

from __future__ import annotations

import statistics
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.broker import running
from bench.load import Orders, run
from bench.report import milliseconds, rate, table
from bench.results import Writing
from bench.scenarios import http_scenarios
from pycmbs.runtime import ThreadRuntime
from pycmbs.store import open_store
from pycmbs.store.base import Batch, Store, Wrapper, Write
from pycmbs.store.group import GroupCommit
from tests.couchdb_server import CouchServer, running_server

_BODY = {"attributes": {"cmbs.message.message_content": {"note": "x" * 300}}, "path": "/cmbs/message/x"}


class _Counted(Wrapper):
    """Notes how many batches each call had."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.groups: list[int] = []

    def write_batches(self, batches: Sequence[Batch]) -> Any:
        """See :class:`~pycmbs.store.base.Store`."""
        self.groups.append(len(batches))
        return super().write_batches(batches)


def message(topic: str = "usual") -> Write:
    """A new message, about as large as a real one, with an id in the order of time."""
    id = f"entity:/cmbs/message/{uuid.uuid1()}"
    keys = {"kind": ("message",), "state": ("delivered",), "id": (id,), "topic": (topic,), "mixin": ("l1",)}
    return Write(id, "entity", _BODY, keys)


def name_of(server: CouchServer) -> str:
    """What its figures are figures of."""
    return "stand-in of CouchDB" if server.is_stand_in else "CouchDB"


def measured(home: Path, seconds: float, writers: Sequence[int] = (1, 8, 64)) -> tuple[list[Writing], list[Writing]]:
    """Over HTTP, and without. ``seconds``: of each run. ``writers``: how many write at a time."""
    (home / "couchdb").mkdir()
    with running_server(home / "couchdb") as server, server.database() as one, server.database() as two:
        name = name_of(server)
        over_http = _over_http(home, {"SQLite": f"sqlite:{home / 'h.db'}", name: one}, seconds, writers)
        return over_http, _alone(home, {"SQLite": f"sqlite:{home / 'w.db'}", name: two}, seconds, writers)


def shown(over_http: Sequence[Writing], alone: Sequence[Writing]) -> str:
    """Both as tables."""
    rows = [[f"POST on {one.store}, {one.writers}", *_cells(one)] for one in over_http]
    first = table("durable POST of one message, 1 worker", ["store, connections", "POST/s", "p50 ms", "p99 ms"], rows)
    rows = [
        [f"write to {one.store}, {one.writers}", *_cells(one), f"{one.group:.1f}", str(one.largest)] for one in alone
    ]
    heads = ["store, threads", "writes/s", "p50 ms", "p99 ms", "mean group", "largest"]
    return first + "\n" + table("single writes through the group commit, without HTTP", heads, rows)


def _cells(one: Writing) -> list[str]:
    return [rate(one.rate), milliseconds(one.p50), milliseconds(one.p99)]


def _over_http(home: Path, urls: dict[str, str], seconds: float, writers: Sequence[int]) -> list[Writing]:
    taken = []
    for name, url in urls.items():
        with running(home / f"http-{len(taken)}-durable", 1, "--store", url) as broker:
            (post, *_) = http_scenarios(broker)
            for connections in writers:
                found = run(Orders(broker.port, connections, seconds, [post.request]))
                taken.append(Writing(name, connections, found.rate, found.p50, found.p99))
    return taken


def _alone(home: Path, urls: dict[str, str], seconds: float, writers: Sequence[int]) -> list[Writing]:
    taken = []
    for name, url in urls.items():
        store = open_store(url, home=home, runtime=ThreadRuntime())
        taken += [_writers(name, store, number, seconds) for number in writers]
        store.close()
    return taken


def _writers(name: str, store: Store, number: int, seconds: float) -> Writing:
    """So many threads write single messages through a group commit."""
    counted = _Counted(store)
    group, times = GroupCommit(counted, ThreadRuntime()), []
    group.write([message()])
    counted.groups.clear()
    start = time.monotonic()
    end = start + seconds

    def write() -> None:
        while True:  # once at least, however slow the machine is just now
            begin = time.perf_counter()
            group.write([message()])
            times.append(time.perf_counter() - begin)
            if time.monotonic() >= end:
                return

    threads = [threading.Thread(target=write) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p99 = statistics.quantiles(times, n=100)[98] if len(times) > 1 else times[0]
    groups = counted.groups
    return Writing(
        name,
        number,
        len(times) / max(seconds, time.monotonic() - start),
        statistics.median(times),
        p99,
        statistics.mean(groups),
        max(groups),
    )
