"""Counters and histograms of one process, cheap enough for every path.

No lock is taken. The interpreter switches threads only at calls and jumps, and there is neither between reading a number here
and writing it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

Labels = tuple[str, ...]
Row = list[float]
"""For a counter its value; for a histogram the count in each bucket, with a last one for larger values, and the sum."""

PREFIX = "pycmbs_"


class Metric:
    """A metric by its name (without :data:`PREFIX`) and the names of its labels, whose values are closed sets."""

    kind = ""

    def __init__(self, name: str, help: str, labels: Labels = ()) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self.rows: dict[Labels, Row] = {}


class Counter(Metric):
    """A number that only rises."""

    kind = "counter"

    def count(self, *labels: str, by: float = 1) -> None:
        """One more, or so many."""
        row = self.rows.get(labels) or self.rows.setdefault(labels, [0])
        row[0] += by


class Histogram(Metric):
    """How values are distributed over buckets."""

    kind = "histogram"

    def __init__(self, name: str, help: str, labels: Labels, bounds: tuple[float, ...]) -> None:
        """``bounds``: the upper bounds of the buckets; a last bucket takes larger values."""
        super().__init__(name, help, labels)
        self.bounds = bounds

    def observe(self, value: float, *labels: str) -> None:
        """One more value."""
        row = self.rows.get(labels) or self.rows.setdefault(labels, [0] * (len(self.bounds) + 2))
        row[bisect_left(self.bounds, value)] += 1
        row[-1] += value


class Gauge(Metric):
    """A number that rises and falls. It is not counted, but read when it is asked for."""

    kind = "gauge"
    look: Callable[[], float] | None = None
    """Returns its value in this process; None: it does not belong to processes."""


class Sampled(Metric):
    """A counter that something else counts, such as the operating system: it is read when it is asked for."""

    kind = "counter"
