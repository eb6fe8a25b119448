"""Whole SQLite files: created, copied while in use, replaced."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from pycmbs.errors import ConfigurationError
from pycmbs.store.base import OF_A_PROCESS, Advance
from pycmbs.store.files import SIDECARS, name_it, under_way
from pycmbs.store.sqlite import sql, wal

_STEP = 1000
"""Pages that are copied at a time."""


def make(path: Path) -> None:
    """Make an empty store, unless another process was faster. Raises OSError, sqlite3.Error."""
    with under_way(path) as new:
        with _opened(new) as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only before anything is in the file
            connection.executescript(f"BEGIN; {sql.SCHEMA} PRAGMA application_id = {wal.new_id()}; COMMIT")
        with contextlib.suppress(FileExistsError):
            name_it(new, path)


def snapshot(path: Path, target: Path, advance: Advance) -> int:
    """Copy a store as it is at one moment, even while others write to it; returns how many documents there are.

    Raises ConfigurationError for one that is damaged, FileExistsError, OSError, sqlite3.Error."""
    with under_way(target) as new:
        with _opened(path) as source, _opened(new) as copied:
            source.execute("BEGIN")  # what others write from now on is not for this connection
            source.execute("SELECT 1 FROM heads").fetchone()
            source.backup(copied, pages=_STEP, progress=lambda _, left, pages: advance(pages - left, pages))
            documents = _finish(copied, path)
        name_it(new, target)
    return documents


def replace(source: Path, target: Path) -> tuple[int, Path | None]:
    """Put a copy of ``source``, with its log if it has one, in the place of ``target``, which no process may have open.

    Returns how many documents there are, and where what was there is kept. Raises ConfigurationError for what is not a
    store, and what is damaged, which leaves all as it was; OSError, sqlite3.Error."""
    if target.exists() and source.samefile(target):
        raise ConfigurationError(f"{source} is the store itself", hint="Name a backup of it.")
    if not wal.belongs(source):
        raise ConfigurationError(
            f"the log beside {source} does not belong to it", hint="Name a file that pycmbs backup made."
        )
    with under_way(target) as new:
        shutil.copyfile(source, new)
        if Path(f"{source}-wal").exists():
            shutil.copyfile(f"{source}-wal", f"{new}-wal")
        with _opened(new) as copied:
            documents = _finish(copied, source)
        kept = _put_aside(target)
        name_it(new, target)
    return documents, kept


def _finish(connection: sqlite3.Connection, path: Path) -> int:
    """Make a file of its own of a copy: all in one file, no log fits that was begun on what this is a copy of, and nothing says
    that it is in use. Returns how many documents there are; raises ConfigurationError for what is not a whole store."""
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        there = version and connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'documents'").fetchone()
        if not there:
            raise ConfigurationError(f"{path} is not a store of pyCMBS", hint="Name a file that pycmbs backup made.")
        if version > sql.VERSION:
            raise ConfigurationError(f"{path} was written by a newer pyCMBS (schema {version})", hint="Use that one.")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise ConfigurationError(f"{path} is damaged: {' '.join(found.split())}", hint="Use another backup.")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(f"PRAGMA application_id = {wal.new_id()}")
        for type in OF_A_PROCESS:  # they have no keys
            connection.execute("DELETE FROM documents WHERE type = ?", (type,))
        documents: int = connection.execute("SELECT count(*) FROM documents WHERE deleted = 0").fetchone()[0]
    except sqlite3.DatabaseError as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        raise ConfigurationError(f"{path} is not a whole store of pyCMBS: {exc}", hint="Use another backup.") from exc
    return documents


def _put_aside(target: Path) -> Path | None:
    """The file first: until it has its new one, its log says that something is missing."""
    there = [name for name in ("", *SIDECARS) if Path(f"{target}{name}").exists()]
    kept = Path(f"{target}-replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    while kept.exists():
        kept = Path(f"{kept}+")
    for name in there:
        if name == "-shm":
            Path(f"{target}{name}").unlink()  # is recreated from the log
        else:
            Path(f"{target}{name}").rename(f"{kept}{name}")
    return kept if there else None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=1, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()
