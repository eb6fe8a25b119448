"""The clock for deadlines, expiries and ages: monotonic across restarts, and expressed in seconds since the epoch.

The wall clock of a machine may be set, while the broker runs or between two runs: deadlines would pass that have not passed,
and what is to be kept would be taken for old. So all processes of a broker, and the next ones until the machine is
restarted, count from one moment, by a clock that cannot be set. Its times are seconds since the epoch, as the wall clock was at
that moment; people are shown them as the wall clock has them now.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

NOTICED = 1.0
"""Seconds between this time and the wall clock from which on the wall clock counts as set: slower it is corrected."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FORWARD = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, and is corrected, but never set."""


def _forward() -> float:
    return time.clock_gettime(_FORWARD)


_origin = time.time() - _forward()


def now() -> float:
    """Seconds since the epoch."""
    return _origin + _forward()


def ahead() -> float:
    """Seconds by which the wall clock is ahead of this time; 0 while they agree but for what is corrected."""
    difference = time.time() - now()
    return float(round(difference)) if abs(difference) > NOTICED else 0.0


def by_wall(seconds: float) -> float:
    """A time of this clock, as the wall clock has it now."""
    return seconds + ahead()


def begin(origin: float) -> None:
    """Count from where the other processes of this broker do: what :func:`resumed` returned."""
    global _origin  # noqa: PLW0603 - one process, one clock
    _origin = origin


def resumed(file: Path) -> float:
    """Where to count from: where the broker before counted from, if the machine was not started since; else what the wall clock
    says now, which is written to ``file``."""
    boot = ""
    with contextlib.suppress(OSError):
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        kept = json.loads(file.read_text(encoding="utf-8"))
        if boot and kept["boot"] == boot:
            return float(kept["origin"])
    origin = time.time() - _forward()
    with contextlib.suppress(OSError):  # a full disk: the broker after this one counts from its own start
        new = file.with_suffix(".new")
        new.write_text(json.dumps({"boot": boot, "origin": origin}) + "\n", encoding="utf-8")
        new.replace(file)
    return origin
