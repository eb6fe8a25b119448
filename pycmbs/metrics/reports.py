"""Merges the metrics of several processes: fronts report to the engine.

A report is numbered, and repeated with the same number until the engine has accepted it, so that it counts once, however often
it arrives. When the engine ends, the sum starts again at zero, as counters may.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from pycmbs.metrics.counting import Counter, Gauge, Histogram, Labels, Row
from pycmbs.metrics.table import BY_NAME, METRICS

Counts = dict[tuple[str, Labels], Row]
"""Rows by the name of their metric and the values of its labels."""

_MOST_REPORTERS = 256
"""Front processes whose last report is remembered; the one silent for longest is forgotten."""
_FRESH_SECONDS = 5.0
"""How long the gauges in a report count."""


def counted() -> Counts:
    """What this process has counted since it began."""
    return {
        (one.name, labels): list(row)
        for one in METRICS
        if isinstance(one, Counter | Histogram)
        for labels, row in one.rows.copy().items()
    }


def gauges() -> dict[str, float]:
    """The gauges that this process reads itself, by name."""
    return {one.name: one.look() for one in METRICS if isinstance(one, Gauge) and one.look is not None}


def as_counts(values: Mapping[str, float]) -> Counts:
    """Values without labels, by the names of their metrics."""
    return {(name, ()): [value] for name, value in values.items() if name in BY_NAME}


def add(counts: Counts, more: Counts) -> None:
    """Add the second to the first."""
    for key, row in more.items():
        known = counts.get(key)
        counts[key] = (
            row if known is None or len(known) != len(row) else [a + b for a, b in zip(known, row, strict=True)]
        )


def as_json(counts: Mapping[tuple[str, Labels], Row]) -> list[list[Any]]:
    """Rows as they go over the control socket."""
    return [[name, labels, row] for (name, labels), row in counts.items()]


def from_json(rows: Iterable[Any]) -> Counts:
    """Read what :func:`as_json` wrote, as far as this version knows the metrics."""
    return {(name, tuple(labels)): list(row) for name, labels, row in rows if name in BY_NAME}


def _since(now: Counts, before: Counts) -> Counts:
    """What was counted between two readings."""
    found: Counts = {}
    for key, row in now.items():
        known = before.get(key)
        if known is None:
            found[key] = row
        elif row != known:
            found[key] = [a - b for a, b in zip(row, known, strict=True)]
    return found


class Reporter:
    """What a front has to report."""

    def __init__(self) -> None:
        self._life = os.urandom(8).hex()
        self._number = 0
        self._taken: Counts = {}
        """The counts that the engine had after the last report."""
        self._due: tuple[Counts, list[list[Any]]] | None = None
        """The counts that it will have after the report under way, and that report."""

    def report(self) -> dict[str, Any]:
        """The next report for the engine, with the gauges of this process."""
        if self._due is None:
            now = counted()
            self._number += 1
            self._due = now, as_json(_since(now, self._taken))
        return {"life": self._life, "number": self._number, "counts": self._due[1], "gauges": gauges()}

    def taken(self, number: int) -> None:
        """Note that the engine has the report of this number."""
        if number == self._number and self._due is not None:
            self._taken, self._due = self._due[0], None


class Tally:
    """What all processes have counted since the engine began. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # never held across a wait
        self._sum: Counts = {}
        self._last: OrderedDict[str, tuple[int, float, dict[str, float]]] = OrderedDict()
        """For each reporter: the number of its last report, when that came, and its gauges."""

    def take(self, report: Mapping[str, Any]) -> None:
        """Add a report, unless it was added before."""
        life, number = str(report["life"]), int(report["number"])
        counts = from_json(report["counts"])
        present = {str(name): float(value) for name, value in report["gauges"].items()}
        with self._lock:
            if number > self._last.get(life, (0, 0.0, {}))[0]:
                add(self._sum, counts)
            self._last[life] = number, time.monotonic(), present
            self._last.move_to_end(life)
            if len(self._last) > _MOST_REPORTERS:
                self._last.popitem(last=False)

    def total(self) -> Counts:
        """The sum, including what this process counted itself, and the gauges of the fronts that report."""
        total = counted()
        fresh = time.monotonic() - _FRESH_SECONDS
        with self._lock:
            add(total, self._sum)
            recent = [present for _, at, present in self._last.values() if at > fresh]
        for present in recent:
            add(total, as_counts(present))
        return total
