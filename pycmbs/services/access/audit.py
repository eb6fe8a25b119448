"""Audit log: one JSON line per event, in ``audit.log`` of the home.

It has no password, no token and no content. Log rotation may move the file away; the next line begins a new one.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import msgspec
from msgspec import Struct

AUDIT = "audit.log"
"""The file's name."""


class Line(Struct, omit_defaults=True):
    """A line of the log. ``time``: as :func:`stamp` has it; ``name``: whom or what a command was about; ``code``: of the error
    of what a member had executed, where ``request`` is the message."""

    time: str
    subject: str
    via: str
    operation: str
    address: str = ""
    request: str = ""
    path: str = ""
    name: str = ""
    status: int = 0
    code: str = ""
    dropped: int = 0


lines = msgspec.json.Encoder().encode_lines
"""The bytes of some lines."""


_THOUSANDTHS = tuple(f"{number:03d}Z" for number in range(1000))


@functools.lru_cache(maxsize=4)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(at))


def stamp(at: float) -> str:
    """A time, in seconds since the epoch, as lines have it."""
    thousandths = int(at * 1000)
    return _second(thousandths // 1000) + _THOUSANDTHS[thousandths % 1000]


def append(path: Path, data: bytes) -> None:
    """Add lines to the log, which is for this user only. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)
