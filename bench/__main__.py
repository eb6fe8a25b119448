"""``python -m bench``: measure, print, end with 0; with 1 and a sentence when something was not answered as it should."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench import ROOT, bare, durable, echo, federation, receivers
from bench.broker import Broker, running
from bench.load import Figures, Orders, Request, run
from bench.report import machine, median, milliseconds, rate, ratio, table
from bench.scenarios import http_scenarios, round_trips

C = TypeVar("C")

_CONNECTIONS = 8
_CLIENTS = (1, 8)


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    workers: tuple[int, ...]
    repeats: int
    seconds: float
    messages: int
    """How many messages there are to be sent in the round trips; then they are sent again."""
    undelivered: tuple[int, int]
    """How many members are down, and how many messages each of them does not get."""
    writers: tuple[int, ...]
    """How many write at a time, to each store."""


_MEMBERS = (2, 8, 32)
_FULL = Plan((2, 1), 5, 0.6, 2000, (100, 1000), (1, 8, 64))
_QUICK = Plan((1,), 1, 0.2, 200, (10, 20), (1,))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds in all: shows that it runs, measures little"
    )
    parser.add_argument(
        "--home", type=Path, default=ROOT / ".run", help="where the brokers get their homes: the disk that is measured"
    )
    options = parser.parse_args(arguments)
    plan = _QUICK if options.quick else _FULL
    options.home.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.home.resolve()) as name:
            _measure(plan, Path(name))
    except RuntimeError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(plan: Plan, home: Path) -> None:
    print(machine(home))
    print(
        f"each figure is the median of {plan.repeats} runs of {plan.seconds} s, taken in turn with its reference's",
        flush=True,
    )
    for workers in plan.workers:
        with running(home / f"http-{workers}", workers) as broker:
            print(_http(plan, broker, workers), flush=True)
    workers = plan.workers[0]
    with running(home / "one", workers) as one, running(home / "two", workers) as two:
        print(_l1(plan, one, two, workers), flush=True)
    print(_l2(plan, home), flush=True)
    print(_memory(plan, home), flush=True)
    print(durable.figures(home, plan.seconds * 4, plan.writers), flush=True)


def _http(plan: Plan, broker: Broker, workers: int) -> str:
    scenarios = http_scenarios(broker)
    answers = {scenario.bare.target: broker.answer(scenario.request) for scenario in scenarios}
    with bare.serving(workers, answers) as port:
        measured = _in_turn(
            plan,
            scenarios,
            lambda scenario: _load(plan, broker.port, [scenario.request]),
            lambda scenario: _load(plan, port, [scenario.bare]),
        )
    rows = []
    for scenario, (found, reference) in measured.items():
        rows.append(
            [
                scenario.name,
                rate(found.rate),
                rate(found.rate * scenario.messages) if scenario.messages else "",
                milliseconds(found.p50),
                milliseconds(found.p99),
                rate(reference.rate),
                milliseconds(reference.p99),
                ratio(found.rate, reference.rate),
            ]
        )
    return table(
        f"HTTP, {_workers(workers)}, {_CONNECTIONS} connections; "
        "bare: the same server and as many workers, answering the same bytes at once",
        ["", "requests", "messages", "p50 ms", "p99 ms", "bare", "p99 ms", "of bare"],
        rows,
    )


def _in_turn(
    plan: Plan, cases: Iterable[C], ours: Callable[[C], Figures], reference: Callable[[C], Figures]
) -> dict[C, tuple[Figures, Figures]]:
    """Each case measured on the broker and on its reference, one after the other and all that again: their medians."""
    runs: dict[C, list[tuple[Figures, Figures]]] = {case: [] for case in cases}
    for _ in range(plan.repeats):
        for case, taken in runs.items():
            taken.append((ours(case), reference(case)))
    return {case: (median(one for one, _ in taken), median(two for _, two in taken)) for case, taken in runs.items()}


def _load(plan: Plan, port: int, requests: list[Request], connections: int = _CONNECTIONS) -> Figures:
    return run(Orders(port, connections, plan.seconds, requests))


def _l1(plan: Plan, one: Broker, two: Broker, workers: int) -> str:
    one.become()
    two.become()
    requests = deque(round_trips(one, two, plan.messages))

    def round_trip(clients: int) -> Figures:
        figures = _load(plan, one.port, list(requests), clients)
        requests.rotate(-1000)  # the next run begins where this one hardly came
        return figures

    with echo.serving() as endpoint:
        measured = _in_turn(plan, _CLIENTS, round_trip, lambda clients: echo.run(endpoint, clients, plan.seconds))
    rows = []
    for clients, (found, reference) in measured.items():
        rows.append(
            [
                f"L1 round trip, {clients} client{'s' * (clients > 1)}",
                rate(found.rate),
                milliseconds(found.p50),
                milliseconds(found.p99),
                rate(reference.rate),
                milliseconds(reference.p50),
                milliseconds(reference.p99),
                ratio(found.rate, reference.rate),
            ]
        )
    return table(
        f"L1 between two brokers of {_workers(workers)} each: POST ?action=send_l1 until the answer is stored, "
        "durable on both sides;\nbare: ZeroMQ request and reply between two processes, nothing stored",
        ["", "round trips", "p50 ms", "p99 ms", "bare", "p50 ms", "p99 ms", "of bare"],
        rows,
    )


def _l2(plan: Plan, home: Path) -> str:
    rows = []
    for number in _MEMBERS:
        with receivers.serving(number) as members, running(home / f"l2-{number}", 1) as broker:
            found, reference = federation.fan_out(
                broker,
                members,
                messages=plan.messages // 4,
                connections=_CONNECTIONS,
                seconds=plan.seconds * 2,
                repeats=plan.repeats,
            )
        rows.append(
            [
                f"L2 to {number} members",
                rate(found.rate),
                rate(found.rate * number),
                milliseconds(found.p50),
                milliseconds(found.p99),
                rate(reference.rate),
                rate(reference.rate * number),
                ratio(found.rate, reference.rate),
            ]
        )
    return table(
        f"L2 from a broker of 1 worker to simulated members, {_CONNECTIONS} connections: POST ?action=send_l2 until all have "
        "acknowledged,\ndurable at the sender; bare: the same datagrams and acknowledgements, nothing stored",
        ["", "messages", "deliveries", "p50 ms", "p99 ms", "bare", "deliveries", "of bare"],
        rows,
    )


def _memory(plan: Plan, home: Path) -> str:
    members, messages = plan.undelivered
    with running(home / "memory", 1) as broker:
        before, after = federation.undelivered(broker, home / "memory", members=members, messages=messages)
    rows = [[f"{members * messages:,} undelivered", f"{before:.0f} MB", f"{after:.0f} MB", f"{after - before:.0f} MB"]]
    return table(
        f"resident memory of the engine, {messages:,} messages to {members} members that are down",
        ["", "before", "after", "more"],
        rows,
    )


def _workers(number: int) -> str:
    return f"{number} worker{'s' * (number > 1)}"


if __name__ == "__main__":
    sys.exit(main())
