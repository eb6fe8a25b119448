"""A reserve of disk space that is released when the disk is full (ADR 27).

It is deleted when the disk is full and something is to be deleted or settled: there is room for that then. As long as it is
not whole nothing new is taken in. What makes the disk full need not be the store.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

from pycmbs.store.base import OF_A_PROCESS, Batch

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Between looks at the file, and between tries to have it whole again."""


class Reserve:
    """The file. ``size`` is in bytes; with 0 there is none, and always enough."""

    def __init__(self, store: Path, size: int) -> None:
        self._path = Path(f"{store}-reserve")
        self._size = size
        self._looked_at = 0.0
        self._whole = True

    def is_whole(self) -> bool:
        """Whether all that is kept aside is there; makes it so if there is room again. As of a second ago."""
        now = time.monotonic()
        if self._size and now >= self._looked_at + _LOOK_SECONDS:
            self._looked_at = now
            self._whole = self._is_there() or self._make()
        return self._whole

    def release(self) -> bool:
        """Give the space back; whether there was any."""
        self._whole, self._looked_at = not self._size, time.monotonic()
        try:
            self._path.unlink()
        except OSError:
            return False
        log.warning("the disk is full: nothing new is accepted until there are %d bytes, and as much again", self._size)
        return True

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError):
            status = self._path.stat()
            return status.st_size == self._size
        return False

    def _make(self) -> bool:
        """Only where the disk is not full again with it."""
        try:
            state = os.statvfs(self._path.parent)
            if state.f_bavail * state.f_frsize < 2 * self._size:
                return False
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        return True


def adds(batch: Batch) -> bool:
    """Whether a batch takes something new in. Settling changes what is there, and who deletes may have to leave a note."""
    made = any(one.revision is None and one.type not in OF_A_PROCESS for one in batch)
    return made and not any(one.delete for one in batch)
