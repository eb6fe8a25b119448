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

from bench.load import Figures


def median(runs: Iterable[Figures]) -> Figures:
    """The median of each figure over the repeats."""
    taken = list(runs)
    return Figures(*(statistics.median(getattr(one, name) for one in taken) for name in ("rate", "p50", "p99")))


def machine(home: Path) -> str:
    """What the figures depend on: processor, versions, and how long this disk takes to make a page durable."""
    parts = [
        f"{len(os.sched_getaffinity(0))} cores (the load runs on them too)",
        f"Python {platform.python_version()}",
        f"eventlet {version('eventlet')}",
        f"libzmq {zmq.zmq_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        f"fdatasync {_sync(home) * 1000:.2f} ms",
    ]
    return "machine: " + ", ".join(parts)


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


def rate(value: float) -> str:
    """Something per second."""
    return f"{value:,.0f}/s"


def milliseconds(seconds: float) -> str:
    """A latency."""
    return f"{seconds * 1000:.2f}"


def ratio(value: float, reference: float) -> str:
    """How much of the reference."""
    return f"{value / reference:.3f}"
