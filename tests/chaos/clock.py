"""A wall clock of a broker's own, which can be stepped while it runs. Monotonic time goes on, as when a clock is set.

It is a ``sitecustomize`` module on the broker's path, which every Python process imports first: libfaketime would reach
libraries in C, too, but that of Debian 12 makes ``time.sleep`` fail in a process whose monotonic time it leaves alone.
"""

from __future__ import annotations

from pathlib import Path

_SHIM = """
import time

FILE = {file!r}
with open("/proc/self/cmdline") as file:
    CONCERNED = {only!r} in file.read()
_real, _monotonic, _offset, _until = time.time, time.monotonic, 0.0, 0.0


def _ahead():
    global _offset, _until
    if _monotonic() >= _until:
        with open(FILE) as file:
            _offset = float(file.read())
        _until = _monotonic() + 0.1
    return _offset


if CONCERNED:
    time.time = lambda: _real() + _ahead()
    time.time_ns = lambda: int(time.time() * 1e9)
"""


class Clock:
    """The wall clock of the Python processes that have ``modules`` in their PYTHONPATH, and this in their command line."""

    def __init__(self, modules: Path, only: str = "") -> None:
        self._file = modules / "clock.txt"
        self.step(0)
        (modules / "sitecustomize.py").write_text(_SHIM.format(file=str(self._file), only=only), encoding="utf-8")

    def step(self, seconds: float) -> None:
        """From now on (within 0.1 s) it is so far ahead of the machine's, or behind it."""
        written = self._file.with_suffix(".new")
        written.write_text(str(seconds), encoding="ascii")
        written.replace(self._file)
