"""The audit log: who asked for what, and what was answered. One JSON object a line, in ``audit.log`` of the home.

It has no password, no token and no content. Whoever keeps logs may move the file away; the next line begins a new one.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

from pycmbs import codec

AUDIT = "audit.log"
"""The file's name."""


@functools.lru_cache(maxsize=4)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(at))


def line(entry: dict[str, Any], at: float | None = None) -> bytes:
    """The line of an entry. ``at``: seconds since the epoch; None: now."""
    at = time.time() if at is None else at
    stamp = f"{_second(int(at))}{int(at * 1000) % 1000:03d}Z"
    return codec.dumps({"time": stamp, **entry}) + b"\n"


def append(path: Path, data: bytes) -> None:
    """Add lines to the log, which is for this user only. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)
