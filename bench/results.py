"""What was measured, as JSON: the page and the plots are made of it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench.load import Figures

C = TypeVar("C", bound=Hashable)
Points = list[tuple[int, float]]
"""Costs by size."""


@dataclass(frozen=True)
class Measured:
    """One figure over its repeats: median, lowest and highest."""

    rate: float
    low: float
    high: float
    p50: float
    p99: float

    @classmethod
    def of(cls, runs: Iterable[Figures]) -> Measured:
        """From the runs."""
        taken = list(runs)
        rates = [one.rate for one in taken]
        middle = [statistics.median(getattr(one, name) for one in taken) for name in ("rate", "p50", "p99")]
        return cls(middle[0], min(rates), max(rates), middle[1], middle[2])


@dataclass(frozen=True)
class Row:
    """A figure beside its reference, measured in turn with it. The ratio is the median of those of each turn."""

    name: str
    ours: Measured
    reference: Measured
    ratio: float
    low: float
    high: float
    each: int = 1
    """How many messages, or deliveries, one request stands for."""


@dataclass
class _Kept:
    """What is kept in a file."""

    def write(self, path: Path) -> None:
        """To a file."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


@dataclass
class Results(_Kept):
    """Everything of one run."""

    machine: str = ""
    plan: str = ""
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def add(self, table: str, rows: Iterable[Row]) -> None:
        """Rows of a table."""
        self.tables[table] = [asdict(row) for row in rows]

    def rows(self, table: str) -> list[Row]:
        """The rows of a table, in order."""
        return [
            Row(**{**row, "ours": Measured(**row["ours"]), "reference": Measured(**row["reference"])})
            for row in self.tables.get(table, [])
        ]

    @classmethod
    def read(cls, path: Path) -> Results:
        """From a file."""
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class Writing:
    """What so many who write at a time get done: answers per second, and seconds until half and until 99 % of them."""

    store: str
    writers: int
    rate: float
    p50: float
    p99: float
    group: float = 0.0
    """How many writes shared a commit, on average, and at most; 0 where that is not known."""
    largest: int = 0


@dataclass
class Scale(_Kept):
    """What stores cost: by how many write, over HTTP and without, and by how much is stored."""

    machine: str = ""
    over_http: list[Writing] = field(default_factory=list)
    alone: list[Writing] = field(default_factory=list)
    costs: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    """Seconds for a call, by store, call and size."""
    filled: dict[str, dict[int, float]] = field(default_factory=dict)
    """Seconds in which a store got so many messages, by store and size."""

    def growth(self, store: str, call: str) -> float:
        """What a call costs in the fullest store, as a multiple of what it does in the emptiest."""
        by_size = self.costs[store][call]
        return by_size[max(by_size)] / by_size[min(by_size)]

    def exponent(self, store: str, call: str) -> float:
        """See :func:`exponent`."""
        return exponent(list(self.costs[store][call].items()))

    @classmethod
    def read(cls, path: Path) -> Scale:
        """From a file."""
        document = json.loads(path.read_text())
        for name in ("over_http", "alone"):
            document[name] = [Writing(**one) for one in document[name]]
        document["filled"] = {store: _sizes(filled) for store, filled in document["filled"].items()}
        document["costs"] = {
            store: {call: _sizes(by_size) for call, by_size in calls.items()}
            for store, calls in document["costs"].items()
        }
        return cls(**document)


def _sizes(by_size: Mapping[str, float]) -> dict[int, float]:
    return {int(size): seconds for size, seconds in by_size.items()}


def exponent(points: Points) -> float:
    """That of the power of the size which fits the cost best (least squares of the logarithms)."""
    if len(points) < 2:
        return 0.0
    return statistics.linear_regression(
        [math.log(size) for size, _ in points], [math.log(cost) for _, cost in points]
    ).slope


def in_turn(repeats: int, runs: Mapping[C, Callable[[], Figures]]) -> dict[C, list[Figures]]:
    """Everything once, and all that again: what disturbs the machine for a while disturbs all alike."""
    taken: dict[C, list[Figures]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(run())
    return taken


def row(name: str, ours: Sequence[Figures], reference: Sequence[Figures], each: int = 1) -> Row:
    """A row of runs taken in turn."""
    ratios = [one.rate / other.rate for one, other in zip(ours, reference, strict=True)]
    return Row(
        name, Measured.of(ours), Measured.of(reference), statistics.median(ratios), min(ratios), max(ratios), each
    )
