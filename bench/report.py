"""The figures as people read them."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import zmq

from bench.results import Row, Scale


def machine(home: Path) -> str:
    """What the figures depend on: processor, versions, and how long this disk takes to make a page durable."""
    parts = [
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores (the load runs on them too)",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        f"eventlet {version('eventlet')}",
        f"httptools {version('httptools')}",
        f"libzmq {zmq.zmq_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        f"fdatasync {_sync(home) * 1000:.2f} ms",
    ]
    return ", ".join(parts)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _sync(home: Path) -> float:
    taken = []
    path = home / "sync"
    with path.open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begin)
    path.unlink()
    return statistics.median(taken)


def rows_table(rows: Iterable[Row], unit: str, *, reference: str) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of rows beside their reference. ``unit``: of what a request stands for."""
    taken = list(rows)
    several = any(one.each > 1 for one in taken)
    heads = ["", "per second", *([unit] if several else []), "p50 ms", "p99 ms", reference, "p50 ms", "p99 ms", "ratio"]
    cells = [
        [
            one.name,
            spread(one.ours.rate, one.ours.low, one.ours.high),
            *([f"{one.ours.rate * one.each:,.0f}" if one.each > 1 else ""] if several else []),
            milliseconds(one.ours.p50),
            milliseconds(one.ours.p99),
            spread(one.reference.rate, one.reference.low, one.reference.high),
            milliseconds(one.reference.p50),
            milliseconds(one.reference.p99),
            f"{number(one.ratio)} ({number(one.low)}-{number(one.high)})",
        ]
        for one in taken
    ]
    return heads, cells


def costs_table(found: Scale, store: str) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of what each call costs a store by how much is in it, in ms."""
    costs = found.costs[store]
    sizes = [f"{size:,}" for size in next(iter(costs.values()))]
    rows = [
        [
            call,
            *map(milliseconds, by_size.values()),
            f"{found.growth(store, call):.1f}",
            f"{found.exponent(store, call):.2f}",
        ]
        for call, by_size in costs.items()
    ]
    return ["", *sizes, "last/first", "exponent"], rows


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: its first column to the left, figures to the right."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in [heads, *rows]
    ]
    return "\n".join(["", title, *("  " + line.rstrip() for line in lines)])


def spread(value: float, low: float, high: float) -> str:
    """A median with the lowest and the highest."""
    return f"{value:,.0f} ({low:,.0f}-{high:,.0f})"


def rate(value: float) -> str:
    """Something per second."""
    return f"{value:,.0f}/s"


def milliseconds(seconds: float) -> str:
    """A latency."""
    return f"{seconds * 1000:.2f}"


def number(value: float) -> str:
    """A ratio, with as many places as it needs."""
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:.0f}"
