"""``python -m bench.stores``: what a call costs by how much is stored, and how much is written by how many.

There is a store of each size, and they are measured in turn, so that what else the machine does meets all of them alike.
CouchDB is the server of PYCMBS_TEST_COUCHDB_URL, or the stand-in of the tests (see :mod:`bench.durable`).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import ROOT, durable
from bench.durable import message, name_of
from bench.report import costs_table, machine, table
from bench.results import Scale
from pycmbs.errors import StoreUnavailable
from pycmbs.runtime import ThreadRuntime
from pycmbs.store import open_store
from pycmbs.store.base import Document, Query, Store, Write
from tests.couchdb_server import CouchServer, running_server

_BATCH = 200
_WAITING = 50
"""Unsettled rows, at every size."""
_RARE = 20
"""Messages with the attribute that is filtered by, at every size."""
_SAMPLE = 1000
"""Messages that are read, and from which pages are listed."""
_INDEXED = 2000
"""After how many messages a server that indexes when it is asked is asked."""
_REPEATS = 100

Costs = dict[str, dict[int, float]]


def _row() -> Write:
    id = f"delivery:/cmbs/message/{uuid.uuid1()}:1:0"
    keys = {"message": (id,), "unsettled": ("1",), "route": ("m|l1",), "deadline": ("9",)}
    return Write(id, "delivery", {"state": "pending"}, keys)


class Filled:
    """A store with so many messages, among them some rare ones, and some rows that wait."""

    def __init__(self, store: Store, size: int, seconds: float) -> None:
        """Fills it, for so many seconds at most."""
        self.store = store
        self.known: list[Document] = []
        store.write_batches([[_row()] for _ in range(_WAITING)])
        store.write_batches([[message("rare")] for _ in range(_RARE)])
        self.size, end = _RARE, time.monotonic() + seconds
        while self.size < size and time.monotonic() < end:
            before = self.size
            results = store.write_batches([[message()] for _ in range(min(_BATCH, size - self.size))])
            self.size += len(results)
            self.known += [one[0] for one in results[: 1 + _SAMPLE * _BATCH // size] if isinstance(one, list)]
            if before // _INDEXED != self.size // _INDEXED:
                self._index()
        self._index()

    def _index(self) -> None:
        """Ask until the index is there."""
        for _ in range(600):
            with contextlib.suppress(StoreUnavailable):  # the deadline of one call
                self.store.find(Query("entity", {"topic": "none"}, limit=1))
                return
        raise RuntimeError("the index is not ready after ten minutes")

    def calls(self) -> dict[str, Callable[[], object]]:
        """What is measured, by name."""
        store, known = self.store, random.choice(self.known)
        return {
            "create": lambda: store.write([message()]),
            "read": lambda: store.get(known.id),
            "list a page of 20": lambda: store.find(Query("entity", {"kind": "message"}, after=known.number, limit=20)),
            "filter by an attribute": lambda: store.find(Query("entity", {"kind": "message", "topic": "rare"})),
            "outbox: what is pending": lambda: store.find(Query("delivery", {"unsettled": "1"}, limit=500)),
            "outbox: settle one": self._settle,
            "outbox: what is overdue": lambda: store.lowest_by_key("delivery", "deadline", "1", 500),
        }

    def _settle(self) -> None:
        (row,) = self.store.find(Query("delivery", {"unsettled": "1"}, limit=1))
        settled = Write(row.id, row.type, row.body, {"message": (row.id,)}, row.revision)
        self.store.write_batches([[settled], [_row()]])


def _costs(stores: Sequence[Filled]) -> Costs:
    """The median of what each call costs at each size, all taken in turn."""
    taken: dict[str, dict[int, list[float]]] = {}
    for _ in range(_REPEATS):
        for one in random.sample(stores, len(stores)):
            for name, call in one.calls().items():
                begin = time.perf_counter()
                call()
                taken.setdefault(name, {}).setdefault(one.size, []).append(time.perf_counter() - begin)
    return {
        name: {size: statistics.median(times) for size, times in sorted(by_size.items())}
        for name, by_size in taken.items()
    }


def _measure(found: Scale, name: str, urls: Iterator[str], sizes: Sequence[int], home: Path, seconds: float) -> None:
    """Add a store to what was found: filled to each size, for so many seconds at most."""
    stores = []
    found.filled[name] = {}
    for size, url in zip(sizes, urls, strict=False):
        store = open_store(url, home=home, runtime=ThreadRuntime())
        begin = time.monotonic()
        stores.append(Filled(store, size, seconds))
        taken = found.filled[name][stores[-1].size] = time.monotonic() - begin
        print(f"  {name}: {stores[-1].size} messages in {taken:.0f} s", file=sys.stderr, flush=True)
        if stores[-1].size < size:
            print(f"  {name}: the time for {size} is over", file=sys.stderr, flush=True)
            break
    found.costs[name] = _costs(stores)
    for one in stores:
        one.store.close()


def _shown(found: Scale, name: str) -> str:
    return table(f"{name}: ms per call (median), by messages stored", *costs_table(found, name))


def _databases(server: CouchServer) -> Iterator[str]:
    """The URLs of new databases; they are deleted in the end."""
    with contextlib.ExitStack() as stack:
        while True:
            yield stack.enter_context(server.database())


def _all(options: argparse.Namespace, home: Path) -> Scale:
    found = Scale(machine(home))
    print(found.machine)
    found.over_http, found.alone = durable.measured(home, options.seconds)
    print(durable.shown(found.over_http, found.alone), flush=True)
    if options.sqlite:
        files = (f"sqlite:{home / str(size)}.db" for size in options.sqlite)
        _measure(found, "SQLite", files, options.sqlite, home, options.limit)
    if options.couchdb:
        (home / "scale").mkdir()
        with running_server(home / "scale") as server:
            _measure(found, name_of(server), _databases(server), options.couchdb, home, options.limit)
    for name in found.costs:
        print(_shown(found, name))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.stores", description=__doc__)
    parser.add_argument("--sqlite", type=_sizes, default=[1000, 10_000, 100_000, 1_000_000], metavar="N,N…")
    parser.add_argument("--couchdb", type=_sizes, default=[1000, 10_000, 100_000], metavar="N,N…")
    parser.add_argument(
        "--limit", type=float, default=600.0, help="seconds to fill one store; then it is as large as it is"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run of writers (default: 3)")
    parser.add_argument("--json", type=Path, help="where the results go (default: scale.json in the home)")
    parser.add_argument("--home", type=Path, default=ROOT / ".run", help="the disk that is measured")
    options = parser.parse_args(arguments)
    options.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.home.resolve()) as name:
        found = _all(options, Path(name))
    path = options.json or options.home / "scale.json"
    found.write(path)
    print(f"\nresults in {path}")
    return 0


def _sizes(text: str) -> list[int]:
    return sorted({int(one) for one in text.split(",") if one})


if __name__ == "__main__":
    sys.exit(main())
