"""One SQLite file that several processes write: its connections, its lock, and whether it is still the same file.

Waiting goes through the runtime, since SQLite's own busy timeout sleeps in C and would freeze every green thread of a
front process.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pycmbs.errors import StoreUnavailable
from pycmbs.runtime import Runtime
from pycmbs.store.sqlite import copying, sql
from pycmbs.store.sqlite.wal import HEAD as LOG_HEAD
from pycmbs.store.sqlite.wal import belongs, in_use, mark, salt_of

_WAIT_SECONDS = 0.8
"""Seconds that a writer or reader waits for others, the queue of its own process included: within a second in all it is told
that the store is busy."""
_SHORT_WAIT_SECONDS = 0.05
"""The same, once another thread has waited in vain for the process that keeps the file locked."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.001
_WAIT = "Try again in a second."
_INCREMENTAL = 2
"""SQLite's number of the mode in which free pages can be given back a few at a time."""
_STEP = 256
"""Pages given back with one commit: a megabyte."""
_LOG_BYTES = 64_000_000
"""A log that a long transaction made longer is cut to this when it is next put into the file."""
_SPARE = 10
"""A tenth of the pages may be free: what is written next takes them, and the file does not grow and shrink by turns."""

Inode = tuple[int, int] | None


class SqliteFile:
    """The open file. Raises what SQLite and the file system raise, and StoreUnavailable."""

    def __init__(self, path: Path, runtime: Runtime, *, create: bool = True) -> None:
        """``create``: whether a file that is not there is made."""
        self._path = str(path)
        self._log = f"{path}-wal"
        self._uri = path.absolute().as_uri()
        self._runtime = runtime
        self._writing = threading.Lock()  # only ever tried: who waits for it lets the other green threads run
        self._idle: list[tuple[int, sqlite3.Connection]] = []
        self._generation = 0
        self._closed = False
        self._kept_busy = False
        self._users = contextlib.ExitStack()
        self._log_fd = -1
        self._log_salt = b""
        if not path.exists():
            if os.path.exists(self._log):  # noqa: PTH110
                # SQLite would make an empty file, and throw the log of the lost one away.
                raise StoreUnavailable(f"it is not there, but its log {self._log} is")
            if not create:
                raise StoreUnavailable("it is not there")
            copying.make(path)
        self._writer: sqlite3.Connection | None = self._open_writer()
        self._inodes = self._identity()

    # Writing

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection in a write transaction, which is on disk when this is left without an exception. Nothing may wait in
        it: all green threads of a process would share it."""
        end = time.monotonic() + (_SHORT_WAIT_SECONDS if self._kept_busy else _WAIT_SECONDS)
        with self._turn(end):
            connection = self._checked_writer()
            try:
                self._patiently(connection, "BEGIN IMMEDIATE", end=end)
            except StoreUnavailable:
                self._kept_busy = True
                raise
            self._kept_busy = False
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._undo(connection)
                raise
            if self._identity() != self._inodes:
                raise StoreUnavailable(f"{self._path} was moved while it was written")
            self._mark_log(connection)

    def _mark_log(self, connection: sqlite3.Connection) -> None:
        """Have a log that has just begun say what it belongs to: see :mod:`pycmbs.store.sqlite.wal`. It can be done later."""
        if salt_of(os.pread(self._log_fd, LOG_HEAD, 0)) == self._log_salt:
            return
        with contextlib.suppress(sqlite3.Error):
            self._log_salt = mark(connection, self._log_fd)

    def trim(self) -> bool:
        """Give some free pages back to the file system, in one short transaction; tells whether there are more to give. Some
        stay, for what comes next. Of a file that an earlier version made none goes, until :meth:`vacuum` rewrote it."""
        with self.transaction() as connection:
            ((mode,), (free,), (pages,)) = (
                connection.execute(f"PRAGMA {name}").fetchone()
                for name in ("auto_vacuum", "freelist_count", "page_count")
            )
            surplus = (free * _SPARE - pages) // (_SPARE - 1) if mode == _INCREMENTAL else 0
            for _ in range(
                min(surplus, _STEP)
            ):  # the library takes one step of a statement without rows: that is one page
                connection.execute("PRAGMA incremental_vacuum")
        if 0 < surplus <= _STEP:
            with (
                self._turn()
            ):  # the file gets shorter when the log is put into it, which is empty then, unless another process reads
                self._checked_writer().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return bool(surplus > _STEP)

    def vacuum(self) -> None:
        """Rewrite the file, without free pages, and empty the log."""
        with self._turn():
            connection = self._checked_writer()
            connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")  # of an older file, from now on
            self._patiently(connection, "VACUUM")
            self._patiently(connection, "PRAGMA wal_checkpoint(TRUNCATE)")

    @contextlib.contextmanager
    def _turn(self, end: float | None = None) -> Iterator[None]:
        """For one writer at a time in this process; it has to come before ``end``."""
        for pause in self._pauses("other writers of this process", end):
            if self._writing.acquire(blocking=False):
                break
            self._runtime.sleep(pause)
        try:
            yield
        finally:
            self._writing.release()

    def _checked_writer(self) -> sqlite3.Connection:
        """What is written to a file that was moved away would be lost: notice it, and go on with the one that is there."""
        self._check_open()
        inodes = self._identity()
        if inodes != self._inodes:
            one_changed = inodes[0] == self._inodes[0] or inodes[1] == self._inodes[1]
            if self._writer is not None and one_changed:  # without a writer the log may have gone with the last user
                # One without the other: SQLite would apply the log to a file that it does not belong to.
                raise StoreUnavailable(
                    f"{self._path} and its log {self._log} do not belong together",
                    hint="Put back both, or put one file in place and remove the log.",
                )
            self._forget_writer()
            self._users.close()  # only now: readers may go on with the file of a writer that failed
        if self._writer is None:
            self._writer = self._open_writer()
            self._inodes = self._identity()
            self._generation += 1
        return self._writer

    def _undo(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._forget_writer()  # its state is unknown; the next writer opens another

    def _forget_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._log_fd >= 0:
            os.close(self._log_fd)
            self._log_fd = -1

    def _check_files(self) -> None:
        """Raise StoreUnavailable for what SQLite would take for a store, or make one of."""
        if os.stat(self._path).st_size == 0:  # noqa: PTH116
            raise StoreUnavailable(
                "it is empty, and not a store of pyCMBS",
                hint="Restore a backup (pycmbs restore), or remove it to begin with a new one.",
            )
        if not belongs(Path(self._path)):
            raise StoreUnavailable(
                f"its log {self._log} does not belong to it, but to another file or to a later state of it",
                hint="Restore a backup with pycmbs restore, put back the file that was there, or remove the log: "
                "what only that has is lost then.",
            )

    def _open_writer(self) -> sqlite3.Connection:
        self._check_files()
        connection = self._connect()
        try:
            if self._patiently(connection, "PRAGMA journal_mode = WAL") != [("wal",)]:
                raise StoreUnavailable("its file system cannot share it between processes (no WAL)")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            self._patiently(connection, "BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > sql.VERSION:
                raise StoreUnavailable(f"it was written by a newer pyCMBS (schema {version})")
            if version == 0:
                raise StoreUnavailable("it is not a store of pyCMBS")
            for statement in sql.TAKE_OVER.get(version, "").split(";"):
                connection.execute(statement)
            connection.execute("COMMIT")
            self._log_fd = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
            self._log_salt = b""
            self._users.enter_context(in_use(Path(self._path)))
        except BaseException:
            connection.close()
            raise
        return connection

    # Reading

    def rows(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        self._check_open()
        if _inode(self._path) != self._inodes[0]:
            with self._turn():
                self._checked_writer()
        generation, connection = self._take_reader()
        try:
            found = self._patiently(connection, statement, parameters)
        except BaseException:
            connection.close()
            raise
        self._idle.append((generation, connection))
        if self._closed:
            self._close_idle()
        return found

    def _take_reader(self) -> tuple[int, sqlite3.Connection]:
        """A connection for one user, until it is back among the idle ones."""
        while True:
            try:
                generation, connection = self._idle.pop()
            except IndexError:
                break
            if generation == self._generation:
                return generation, connection
            connection.close()
        generation, connection = self._generation, self._connect()
        connection.execute("PRAGMA query_only = 1")
        return generation, connection

    def _close_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop()[1].close()

    # Both

    def close(self) -> None:
        """Close every connection; those in use, when their users are done. What is in the log goes into the file, unless others
        still use it."""
        self._closed = True
        while not self._writing.acquire(blocking=False):  # its holder gives up within a second
            self._runtime.sleep(_LONGEST_PAUSE)
        try:
            self._close_idle()
            if self._writer is not None:
                with contextlib.suppress(sqlite3.Error, OSError):
                    if self._identity() == self._inodes:
                        self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._forget_writer()
            self._users.close()
        finally:
            self._writing.release()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    def _identity(self) -> tuple[Inode, Inode]:
        """Which files these names stand for. Raises OSError if there is none; a missing log is None."""
        try:
            log = _inode(self._log)
        except FileNotFoundError:
            log = None
        return _inode(self._path), log

    def _connect(self) -> sqlite3.Connection:
        # Used by several threads, but by one at a time.
        return sqlite3.connect(
            f"{self._uri}?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )

    def _patiently(
        self,
        connection: sqlite3.Connection,
        statement: str,
        parameters: Sequence[Any] | Mapping[str, Any] = (),
        *,
        end: float | None = None,
    ) -> list[tuple[Any, ...]]:
        """The rows of a statement that may find the file locked, as soon as it is not, but before ``end``."""
        pauses: Iterator[float] | None = None
        while True:
            try:
                return connection.execute(statement, parameters).fetchall()
            except sqlite3.OperationalError as exc:
                if getattr(exc, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            # Made only now: the file is seldom locked, and this is on the way of every read.
            pauses = pauses or self._pauses("another process", end)
            self._runtime.sleep(next(pauses))

    def _pauses(self, holder: str, end: float | None) -> Iterator[float]:
        """Growing pauses until the ``end``, or until the patience is over. Raises StoreUnavailable then."""
        pause = _FIRST_PAUSE
        end = end or time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < end:
            yield pause
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        raise StoreUnavailable(f"the store is kept busy by {holder}", hint=_WAIT)


def _inode(path: str) -> Inode:
    status = os.stat(path)  # noqa: PTH116 - on the way of every read
    return status.st_dev, status.st_ino
