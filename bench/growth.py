"""``python -m bench.growth``: what things cost as there is more of everything, each curve with its fitted exponent.

An exponent of 0 is a flat cost, 1 one that grows as the number does. Messages stored are measured by ``make scale``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import ROOT, federation
from bench.broker import Broker, running
from bench.load import Orders, Request, run
from bench.reference import engines, receivers
from bench.results import Points, exponent
from bench.scenarios import message, posted

_DOWN = 50
"""Members that do not answer, so that what is sent to them waits."""

_CALM = 60.0
"""Seconds between two probes of a member, in a federation of many members on one machine."""
_INTERVAL = 5.0
"""The same as it comes."""
_GIVEN_UP = 60.0
DISCOVERY = "Discovery of all members from one neighbour"


@dataclass(frozen=True)
class Curve:
    """A cost by size."""

    name: str
    of: str
    """What the size is of."""
    unit: str
    points: Points

    @property
    def file(self) -> str:
        """The name of its picture."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.name.lower()).split())

    @staticmethod
    def read(path: Path) -> tuple[list[Curve], str]:
        """Curves from a file, and how they were measured."""
        document = json.loads(path.read_text())
        return [
            Curve(**{**one, "points": [(size, cost) for size, cost in one["points"]]}) for one in document["curves"]
        ], document["plan"]


def timed(broker: Broker, requests: Iterable[Request]) -> float:
    """The median time of requests, one after the other, in milliseconds."""
    taken = []
    for request in requests:
        begin = time.perf_counter()
        broker.answer(request)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1000


def members(home: Path, sizes: Sequence[int], repeats: int) -> Iterator[Curve]:
    """A send to all, a send by topic, and a read of all members, by how many members there are."""
    layers = {"l2": "L2", "l32": "L3.2"}
    sends: dict[str, Points] = {layer: [] for layer in layers}
    listed: Points = []
    body = json.dumps({"attributes": {"wait": 10}})
    for size in sizes:
        with receivers.serving(size) as simulated, running(home / f"members-{size}", 1) as broker:
            broker.become()
            federation.introduce(broker, ((one["id"], one["url"]) for one in simulated), topics=["all"])
            done = f'"delivered":{size}'
            for layer, points in sends.items():
                entity = message(layer, topics=["all"]) if layer == "l32" else message(layer)
                first, *rest = (
                    Request("POST", f"{path}?action=send_{layer}", body, contains=done)
                    for path in broker.create([entity] * (repeats + 1))
                )
                broker.answer(first)  # connects
                points.append((size, timed(broker, rest)))
            listed.append((size, timed(broker, [Request("GET", "/cmbs/member/")] * repeats)))
    for layer, points in sends.items():
        yield Curve(f"{layers[layer]} send to all members", "members", "ms until all have acknowledged", points)
    yield Curve("List of all members", "members", "ms", listed)


def discovery(home: Path, sizes: Sequence[int], repeats: int) -> Iterator[Curve]:
    """What a member's start and ``check_neighbors`` take until its report has all, by how many there are.

    Each time it is a new broker, which knows one of them, and leaves again. The others are real engines that know each other.
    """
    points: Points = []
    for size in sizes:
        with engines.serving(size, interval=_CALM) as sites:
            sites.until_calm()
            taken = []
            for number in range(repeats):
                with running(home / f"discovery-{size}-{number}", 1) as broker:
                    taken.append(_discovered(broker, sites))
            points.append((size, statistics.median(taken)))
    yield Curve(DISCOVERY, "members", "s until it was answered by all of them", points)


def _discovered(broker: Broker, sites: engines.Sites) -> float:
    size = len(sites.sockets)
    with _found(broker, sites.sockets[0], size) as taken:
        sites.until_known(size + 1, _GIVEN_UP)
    sites.until_known(size, _GIVEN_UP)
    return taken


@contextlib.contextmanager
def _found(broker: Broker, neighbor: str, size: int) -> Iterator[float]:
    """Seconds until so many answered a new member, which leaves again after the context."""
    member = federation.newcomer(broker, neighbor)
    begin = time.perf_counter()
    broker.post(f"{member}?action=start_l1", {})
    while (found := federation.neighbors(broker, member)) < size:
        if time.perf_counter() - begin > _GIVEN_UP:
            raise RuntimeError(f"{found} of {size} members were found")
    yield time.perf_counter() - begin
    broker.answer(Request("DELETE", member))


def discovery_simulated(home: Path, sizes: Sequence[int], repeats: int) -> Iterator[Curve]:
    """The same, when the others only answer: what it costs the broker that looks, on a machine which has that many others."""
    points: Points = []
    for size in sizes:
        with receivers.serving(size, acquainted=True) as simulated:
            taken = []
            for number in range(repeats):
                with (
                    running(home / f"simulated-{size}-{number}", 1) as broker,
                    _found(broker, simulated[0]["url"], size) as seconds,
                ):
                    taken.append(seconds)
            points.append((size, statistics.median(taken)))
    yield Curve("Discovery of simulated members", "members", "s until it was answered by all of them", points)


def rest(home: Path, sizes: Sequence[int], seconds: float) -> Iterator[Curve]:
    """The processor time of a member that does nothing but watch the others, by how many there are."""
    del home
    points: Points = []
    for size in sizes:
        with engines.serving(size, interval=_INTERVAL) as sites:
            time.sleep(seconds)  # they get to know each other's health
            before, begin = sites.processor(), time.perf_counter()
            time.sleep(seconds)
            used = (sites.processor() - before) / (time.perf_counter() - begin)
            points.append((size, used * 60 / size))
    yield Curve("A member at rest", "members", "s of processor time each minute", points)


def topics(home: Path, sizes: Sequence[int], repeats: int) -> Iterator[Curve]:
    """Who gets a message of one topic, by how many topics a member has."""
    points: Points = []
    dry = json.dumps({"attributes": {"dry_run": True}})
    with running(home / "topics", 1) as broker:
        broker.become()
        for size in sizes:
            names = [f"site.{number}.alarms" for number in range(size)]
            federation.introduce(broker, [(f"with-{size}", f"tcp://127.0.0.1:{20000 + size}")], topics=names)
            (path,) = broker.create([message("l32", topics=[names[-1]])])
            points.append((size, timed(broker, [Request("POST", f"{path}?action=send_l32", dry)] * repeats)))
    yield Curve("L3.2 matching", "topics of a member", "ms", points)


def pending(home: Path, sizes: Sequence[int], repeats: int) -> Iterator[Curve]:
    """A durable POST and a send, by how many deliveries wait."""
    post: Points = []
    send: Points = []
    with running(home / "pending", 1) as broker:
        broker.become()
        federation.introduce_down(broker, _DOWN)
        waiting = 0
        for size in sizes:
            waiting += _DOWN * len(federation.send_to_all(broker, max(1, (size - waiting) // _DOWN)))
            post.append((waiting, timed(broker, [posted()] * repeats)))
            paths = broker.create([message("l2")] * repeats)
            send.append((waiting, timed(broker, [Request("POST", f"{path}?action=send_l2", "{}") for path in paths])))
            waiting += _DOWN * repeats
    yield Curve("Durable POST while deliveries wait", "deliveries that wait", "ms", post)
    yield Curve(f"Send to {_DOWN} members while deliveries wait", "deliveries that wait", "ms", send)


def connections(home: Path, sizes: Sequence[int], busy: Sequence[int], seconds: float) -> Iterator[Curve]:
    """A durable POST by how many connections are idle beside, and by how many are busy."""
    idle_points: Points = []
    busy_points: Points = []
    with running(home / "connections", 1) as broker, contextlib.ExitStack() as stack:
        broker.become()
        idle = 0
        for size in sizes:
            for _ in range(size - idle):
                stack.enter_context(socket.create_connection(("127.0.0.1", broker.port)))
            idle = size
            idle_points.append((size, _per_post(broker, 8, seconds)))
        for size in busy:
            busy_points.append((size, _per_post(broker, size, seconds)))
    yield Curve("Durable POST beside idle connections", "idle connections", "ms of the broker for each", idle_points)
    yield Curve("Durable POST with busy connections", "busy connections", "ms of the broker for each", busy_points)


def _per_post(broker: Broker, clients: int, seconds: float) -> float:
    return 1000 / run(Orders(broker.port, clients, seconds, [posted()])).rate


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs")
    parser.add_argument("--home", type=Path, default=ROOT / ".run", help="where the brokers get their homes")
    parser.add_argument("--json", type=Path, help="where the results go (default: growth.json in the home)")
    options = parser.parse_args(arguments)
    options.home.mkdir(parents=True, exist_ok=True)
    quick, curves = options.quick, []
    with tempfile.TemporaryDirectory(prefix="growth-", dir=options.home.resolve()) as name:
        home = Path(name)
        repeats = 3 if quick else 15
        for found in (
            members(home, [2, 4] if quick else [2, 10, 50, 200], repeats),
            discovery(home, [2, 4] if quick else [2, 10, 50, 100], 1 if quick else 5),
            discovery_simulated(home, [2, 4] if quick else [2, 10, 50, 100, 200], 1 if quick else 5),
            rest(home, [2, 4] if quick else [2, 10, 25, 50], 0.5 if quick else 10),
            topics(home, [10, 100] if quick else [10, 100, 1000, 10_000], repeats),
            pending(home, [50, 1000] if quick else [100, 1000, 10_000, 100_000], repeats),
            connections(
                home,
                [1, 10] if quick else [1, 20, 200, 2000],
                [1, 4] if quick else [1, 4, 16, 64],
                0.3 if quick else 2,
            ),
        ):
            for curve in found:
                curves.append(curve)
                costs = ", ".join(f"{size:,}: {cost:.3g}" for size, cost in curve.points)
                print(
                    f"{curve.name}, {curve.unit} by {curve.of}: {costs}; exponent {exponent(curve.points):.2f}",
                    flush=True,
                )
    path = options.json or options.home / "growth.json"
    plan = (
        "medians of 15 calls one after the other; discovery: of 5 new brokers; at rest: 10 s; connections: runs of 2 s"
    )
    path.write_text(json.dumps({"plan": plan, "curves": [asdict(one) for one in curves]}, indent=1) + "\n")
    print(f"results in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
