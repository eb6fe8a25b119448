"""Gives new files their names once they are complete and on the disk; replaces none."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

SIDECARS = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file in use: the log, an index of it, and the log of another mode. All go by the file's name."""


@contextlib.contextmanager
def under_way(path: Path) -> Iterator[Path]:
    """An empty file beside ``path``, for what is to become that; gone afterwards, whatever became of it. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}-new-", dir=path.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        for sidecar in ("", *SIDECARS):
            Path(f"{name}{sidecar}").unlink(missing_ok=True)


def name_it(new: Path, path: Path) -> None:
    """Give what is complete its name, and have both on the disk. Raises FileExistsError, OSError."""
    _sync(new)
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without a second name for a file
        if path.exists():
            raise FileExistsError(f"{path} is there already") from None
        new.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
