"""Metrics of the processes: processor time, memory, restarts."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from pycmbs.metrics import table
from pycmbs.metrics.reports import Counts

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CPU = slice(11, 13)
"""Where processor time is in ``/proc/PID/stat``, after the name: the process's own, in user mode and in the kernel."""


def processes(record: Path) -> Counts:
    """What is known of each process. ``record``: the supervisor's file of processes, which may not exist yet."""
    try:
        document = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    restarts = document.get("restarts", {})
    found: Counts = {(table.PROCESS_RESTARTS.name, (name,)): [number] for name, number in restarts.items()}
    found |= {(table.PROCESS_UP.name, (name,)): [0.0] for name in restarts}
    supervisor = {"name": "supervisor", "pid": document["pid"], "ready": True}
    for child in [supervisor, *document["children"]]:
        found[table.PROCESS_UP.name, (child["name"],)] = [float(child["ready"])]
        with contextlib.suppress(OSError, ValueError, IndexError):  # it ended just now
            found |= _used(child)
    return found


def _used(child: dict[str, Any]) -> Counts:
    folder = Path("/proc", str(int(child["pid"])))
    ticks = folder.joinpath("stat").read_text(encoding="utf-8").rpartition(")")[2].split()[_CPU]
    pages = folder.joinpath("statm").read_text(encoding="utf-8").split()[1]
    return {
        (table.PROCESS_CPU.name, (child["name"],)): [sum(map(int, ticks)) / _TICKS],
        (table.PROCESS_BYTES.name, (child["name"],)): [int(pages) * _PAGE],
    }
