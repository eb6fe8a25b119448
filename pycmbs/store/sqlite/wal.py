"""Whether SQLite's log (``-wal``) belongs to the file beside it (ADR 25).

SQLite goes by names: a log that is left beside another file, or beside an older copy of its own, is put into that, and what
comes out is neither. So each log says what it was begun on. A file has an *id* (``application_id``, in its first page): a
random number when it is made, and with every new log another one, which follows from the one before and from the random numbers
in the log's head. The page that holds it goes to the log first, and reaches the file when the log is put into it.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

HEAD = 32
"""Bytes of a log before its first frame."""
_FRAME_HEAD = 24
_SALT = slice(16, 24)
_ID = slice(68, 72)  # within the first page
_HALF = 0xFFFF
_TRIES, _PAUSE = 50, 0.02

_ids_lock = threading.Lock()
_in_use: Counter[tuple[int, int]] = Counter()
"""How often this process has which file open. What SQLite locks is free again as soon as any thread of the process closes
the file: such a one must not be read past SQLite."""


def new_id() -> int:
    """The id of a file that follows no other."""
    return random.SystemRandom().randrange(1, 2**31)


def following(id: int, salt: bytes) -> int:
    """The id after ``id`` for a log with this salt."""
    return _signed((_digest(salt) << 16) | ((id + 1) & _HALF))


def is_marked(id: int, salt: bytes) -> bool:
    """Whether this is an id for the log with this salt."""
    return (id >> 16) & _HALF == _digest(salt)


def salt_of(head: bytes) -> bytes:
    """The random numbers in the head of a log; none in one that has not begun."""
    return head[_SALT] if len(head) >= HEAD else b""


@contextlib.contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Note that this process has the file open."""
    status = path.stat()
    inode = status.st_dev, status.st_ino
    with _ids_lock:
        _in_use[inode] += 1
    try:
        yield
    finally:
        with _ids_lock:
            _in_use[inode] -= 1


def belongs(path: Path) -> bool:
    """Whether the log beside a file was begun on it. One without a log has none that does not. Raises OSError."""
    log = Path(f"{path}-wal")
    status = path.stat()
    with _ids_lock:
        if _in_use[status.st_dev, status.st_ino]:
            return True  # it was checked when it was opened
        for _ in range(_TRIES):
            before = _heads(path, log)
            found = _ids(log)
            if before == _heads(path, log):
                return _fits(before, found)
            time.sleep(_PAUSE)  # another process writes
    return True


def _heads(path: Path, log: Path) -> tuple[bytes, bytes]:
    return _begin(path, 100), _begin(log, HEAD)


def _begin(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except FileNotFoundError:
        return b""


def _fits(heads: tuple[bytes, bytes], found: set[int]) -> bool:
    here, salt = _number(heads[0][_ID]), salt_of(heads[1])
    # The file has the id from before the log, or already the one that the log brought; so has each first page in the log.
    return all(one == here or one == _after(here, salt, one) or here == _after(one, salt, here) for one in found)


def _after(id: int, salt: bytes, other: int) -> int | None:
    return following(id, salt) if is_marked(other, salt) else None


def _ids(log: Path) -> set[int]:
    """The ids in all first pages that were committed with the log. The last transaction may be torn: of that only what is an id
    for this log, and only if there is no other."""
    sure: set[int] = set()
    try:
        file = log.open("rb")
    except FileNotFoundError:
        return sure
    with file:
        head = file.read(HEAD)
        salt, size = salt_of(head), int.from_bytes(head[8:12], "big")
        begun: set[int] = set()
        last: set[int] = set()
        place = HEAD
        while salt and size:
            file.seek(place)
            frame = file.read(_FRAME_HEAD + _ID.stop)
            if len(frame) < _FRAME_HEAD + _ID.stop or frame[8:16] != salt:
                break
            if int.from_bytes(frame[:4], "big") == 1:
                begun.add(_number(frame[_FRAME_HEAD:][_ID]))
            if frame[4:8] != b"\0\0\0\0":  # the end of a transaction: all before it is on the disk
                sure |= last
                last, begun = begun, set()
            place += _FRAME_HEAD + size
    return sure or {one for one in last if is_marked(one, salt)}


def mark(connection: sqlite3.Connection, log: int) -> bytes:
    """Give the file the id for its log, which is open as ``log``; returns the salt of that. In a transaction of its own.

    Raises sqlite3.Error, having changed nothing."""
    while True:
        salt = salt_of(os.pread(log, HEAD, 0))
        connection.execute("BEGIN IMMEDIATE")
        try:
            (id,) = connection.execute("PRAGMA application_id").fetchone()
            if not salt or is_marked(id, salt):
                connection.execute("ROLLBACK")
                return salt
            connection.execute(f"PRAGMA application_id = {following(id, salt)}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if salt == salt_of(os.pread(log, HEAD, 0)):
            return salt  # else this very transaction began the next log


def _digest(salt: bytes) -> int:
    return zlib.crc32(salt) & _HALF


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number
