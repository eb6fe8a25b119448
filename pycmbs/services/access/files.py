"""Watches the files of users and rules, and replaces them atomically."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_SECONDS = 0.01
"""Between looks whether a file changed. A command that changes one ends later than that after its change, so the next
request, at any front, sees its effect: a new token that is refused for half a second looks like one that does not work."""

MOST_BYTES = 8 * 1024 * 1024
"""Of such a file: some 50,000 users."""

RARELY = 20
"""How many times longer that is for files of keys: each datagram asks what they say, and they seldom change."""

_Stamp = tuple[int, int, int, int]


_AGAIN: _Stamp = (-1, -1, -1, -1)
"""The stamp of no file."""


class Watched(Generic[T]):
    """What a file says, which may not be there."""

    def __init__(self, path: Path, parse: Callable[[str], T], empty: T, *, rarely: int = 1) -> None:
        """``parse`` makes of its text what it says; ``empty`` is what it says when it is not there. ``rarely``: how many times
        longer than :data:`LOOK_SECONDS` is between two looks."""
        self._rarely = rarely
        self.path = path
        self._parse = parse
        self._empty = self.said = empty
        self._stamp: _Stamp | None = None
        self.due = 0.0
        """When to look again, on the monotonic clock."""
        self.said_version = 0
        """What :attr:`value` and :attr:`version` were at the last look: for callers that have just looked."""
        self.broken = False
        """Whether it is there and cannot be read: then it counts as it was, and nothing follows from what it does not say."""

    @property
    def value(self) -> T:
        """What it says."""
        self.look(time.monotonic())
        return self.said

    @property
    def version(self) -> int:
        """Changes with what it says, and rises."""
        self.look(time.monotonic())
        return self.said_version

    def look(self, now: float) -> None:
        """Read it again if it changed, unless it was looked at just now. ``now``: of the monotonic clock."""
        if now < self.due:
            return
        self.due = now + LOOK_SECONDS * self._rarely
        try:
            stamp = _stamp(self.path)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            value = self._parse(_text(self.path)) if stamp is not None else self._empty
        except (OSError, UnicodeError) as exc:
            if isinstance(exc, OSError):
                self._stamp = _AGAIN  # its time may come without a change of it
            if not self.broken:
                log.error("%s cannot be read; what was read before stays in force: %s", self.path, exc)  # noqa: TRY400 - once, and no fault here
            self.broken = True
            return
        self.said, self.broken = value, False
        self.said_version += 1


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size  # who may read it, is of the second


@contextlib.contextmanager
def changing(path: Path) -> Iterator[Callable[[str], None]]:
    """While this lasts no one else changes the file so; what it gives replaces the file's text at once. Raises OSError."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield lambda text: _replace(path, text, folder)
    finally:
        os.close(folder)


def text_of(path: Path) -> str:
    """The file's text; empty when it is not there. Raises OSError, UnicodeError."""
    try:
        return _text(path)
    except FileNotFoundError:
        return ""


def _text(path: Path) -> str:
    """The same of what is there. A front has one thread: it must not wait for what is no file, nor read what has no end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnicodeError("it is no file of text")
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise UnicodeError(f"it is larger than {MOST_BYTES} bytes")
    return data.decode()


def _replace(path: Path, text: str, folder: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}-new-", dir=path.parent)  # for this user only
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    os.fsync(folder)
