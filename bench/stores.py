"""``python -m bench.stores``: what a store costs, by how many write at a time and by how much is stored, and a plot of that.

CouchDB is the server of PYCMBS_TEST_COUCHDB_URL, or the stand-in of the tests, which is named in the output: its figures say
nothing of Apache CouchDB's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.broker import running
from bench.load import Orders, run
from bench.report import machine, milliseconds, rate, table
from bench.scenarios import http_scenarios
from pycmbs.runtime import ThreadRuntime
from pycmbs.store import open_store
from pycmbs.store.base import Batch, Document, Query, Store, Wrapper, Write
from pycmbs.store.group import GroupCommit
from tests.couchdb_server import CouchServer, running_server

_CONNECTIONS = (1, 8, 64)
_BATCH = 200
_WAITING = 50
"""Unsettled rows, at every size."""
_RARE = 20
"""Messages with the attribute that is filtered by, at every size."""
_REPEATS = 30
_BODY = {"attributes": {"cmbs.message.message_content": {"note": "x" * 300}}, "path": "/cmbs/message/x"}

Sizes = list[int]
Costs = dict[str, dict[int, float]]


class Counted(Wrapper):
    """Notes how many batches each call had."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.groups: list[int] = []

    def write_batches(self, batches: Sequence[Batch]) -> Any:
        """See :class:`~pycmbs.store.base.Store`."""
        self.groups.append(len(batches))
        return super().write_batches(batches)


def _message(topic: str = "usual") -> Write:
    id = f"entity:/cmbs/message/{uuid.uuid1()}"
    keys = {"kind": ("message",), "state": ("delivered",), "id": (id,), "topic": (topic,), "mixin": ("l1",)}
    return Write(id, "entity", _BODY, keys)


def _row() -> Write:
    id = f"delivery:/cmbs/message/{uuid.uuid1()}:1:0"
    keys = {"message": (id,), "unsettled": ("1",), "route": ("m|l1",), "deadline": ("9",)}
    return Write(id, "delivery", {"state": "pending"}, keys)


def _writers(store: Store, number: int, seconds: float) -> list[str]:
    """So many threads write single messages through a group commit."""
    counted = Counted(store)
    group, times = GroupCommit(counted, ThreadRuntime()), []
    end = time.monotonic() + seconds

    def write() -> None:
        while time.monotonic() < end:
            begin = time.perf_counter()
            group.write([_message()])
            times.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=write) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p99 = statistics.quantiles(times, n=100)[98] if len(times) > 1 else times[0]
    cells = [rate(len(times) / seconds), milliseconds(statistics.median(times)), milliseconds(p99)]
    return [*cells, f"{statistics.mean(counted.groups):.1f}", str(max(counted.groups))]


def _fill(store: Store, size: int, there: int) -> None:
    for start in range(there, size, _BATCH):
        store.write_batches([[_message()] for _ in range(min(_BATCH, size - start))])
        if start // 5000 != (start + _BATCH) // 5000:  # a server that indexes when asked is not left behind too far
            _patiently(lambda: store.find(Query("entity", {"topic": "none"}, limit=1)))


def _patiently(ask: Callable[[], object]) -> None:
    """Ask until the index is there."""
    for _ in range(600):
        try:
            ask()
        except Exception:  # noqa: BLE001 - the deadline of one call
            time.sleep(0.5)
        else:
            return
    raise RuntimeError("the index is not ready after five minutes")


def _timed(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _costs(store: Store, known: Document) -> Iterator[tuple[str, float]]:
    """What one call of each kind costs now."""
    last = Query("entity", {"kind": "message"}, after=known.number, limit=100)
    yield "create", _timed(lambda: store.write([_message()]))
    yield "read", _timed(lambda: store.get(known.id))
    yield "list a page of 100", _timed(lambda: store.find(last))
    yield "filter by an attribute", _timed(lambda: store.find(Query("entity", {"kind": "message", "topic": "rare"})))
    yield "outbox: pending", _timed(lambda: store.find(Query("delivery", {"unsettled": "1"}, limit=500)))

    def settle() -> None:
        (row,) = store.find(Query("delivery", {"unsettled": "1"}, limit=1))
        store.write([Write(row.id, row.type, row.body, {"message": (row.id,)}, row.revision)])
        store.write([_row()])

    yield "outbox: settle", _timed(settle)


def _scale(store: Store, sizes: Sizes) -> Costs:
    costs: Costs = {}
    store.write_batches([[_row()] for _ in range(_WAITING)])
    (known,) = store.write([_message()])
    store.write_batches([[_message("rare")] for _ in range(_RARE)])
    there = 0
    for size in sizes:
        _fill(store, size, there)
        there = size
        _patiently(lambda: store.find(Query("entity", {"topic": "none"}, limit=1)))
        for name, seconds in _costs(store, known):
            costs.setdefault(name, {})[size] = seconds
        print(f"  {size} messages are stored", file=sys.stderr, flush=True)
    return costs


def _plot(found: dict[str, Costs], file: Path) -> None:
    import matplotlib as mpl  # an extra: not everybody plots

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(6 * len(found), 4.5), squeeze=False)
    for axis, (name, costs) in zip(axes[0], found.items(), strict=True):
        for what, by_size in costs.items():
            axis.plot(list(by_size), [seconds * 1000 for seconds in by_size.values()], marker="o", label=what)
        axis.set(xscale="log", yscale="log", title=name, xlabel="messages stored", ylabel="ms per call (median)")
        axis.legend(fontsize="small")
        axis.grid(visible=True, alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def _http(home: Path, stores: dict[str, str], seconds: float) -> str:
    rows = []
    for name, url in stores.items():
        with running(home / f"http-{len(rows)}", 1, "--store", url) as broker:
            (post, *_) = http_scenarios(broker)
            for connections in _CONNECTIONS:
                found = run(Orders(broker.port, connections, seconds, [post.request]))
                rows.append(
                    [f"{name}, {connections}", rate(found.rate), milliseconds(found.p50), milliseconds(found.p99)]
                )
    return table("durable POST of one message, 1 worker", ["store, connections", "POST/s", "p50 ms", "p99 ms"], rows)


def _measure(options: argparse.Namespace, home: Path, server: CouchServer) -> None:
    print(machine(home))
    couch = "pouchdb-server (stand-in)" if server.is_stand_in else "CouchDB"
    with server.database() as one, server.database() as two, server.database() as three:
        urls = {"SQLite": (f"sqlite:{home / 'a.db'}", f"sqlite:{home / 'b.db'}", f"sqlite:{home / 'c.db'}")}
        urls[couch] = (one, two, three)
        print(_http(home, {name: url[0] for name, url in urls.items()}, options.seconds), flush=True)
        opened = {
            (name, part): open_store(url[part], home=home, runtime=ThreadRuntime())
            for name, url in urls.items()
            for part in (1, 2)
        }
        rows = [
            [f"{name}, {number}", *_writers(opened[name, 1], number, options.seconds)]
            for name in urls
            for number in _CONNECTIONS
        ]
        heads = ["store, threads", "writes/s", "p50 ms", "p99 ms", "mean group", "largest"]
        print(table("single writes through the group commit, without HTTP", heads, rows), flush=True)
        sizes = {"SQLite": options.sqlite, couch: options.couchdb}
        found = {name: _scale(opened[name, 2], sizes[name]) for name in urls}
        for name, costs in found.items():
            cells = [
                [
                    what,
                    *(milliseconds(one) for one in by_size.values()),
                    f"{by_size[max(by_size)] / by_size[min(by_size)]:.1f}",
                ]
                for what, by_size in costs.items()
            ]
            print(
                table(
                    f"{name}: ms per call (median), by messages stored",
                    ["", *map(str, sizes[name]), "last/first"],
                    cells,
                )
            )
        if options.plot is not None:
            _plot(found, options.plot)
            print(f"plotted to {options.plot}")
        for store in opened.values():
            store.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.stores", description=__doc__)
    parser.add_argument("--sqlite", type=_sizes, default=[1000, 10_000, 100_000, 1_000_000], metavar="N,N…")
    parser.add_argument("--couchdb", type=_sizes, default=[1000, 10_000, 100_000], metavar="N,N…")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run of writers (default: 3)")
    parser.add_argument("--plot", type=Path, help="PNG file for cost against size")
    parser.add_argument("--home", type=Path, default=ROOT / ".run", help="the disk that is measured")
    options = parser.parse_args(arguments)
    options.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.home.resolve()) as name:
        home = Path(name)
        (home / "couchdb").mkdir()
        with running_server(home / "couchdb") as server:
            _measure(options, home, server)
    return 0


def _sizes(text: str) -> Sizes:
    return sorted({int(one) for one in text.split(",")})


if __name__ == "__main__":
    sys.exit(main())
