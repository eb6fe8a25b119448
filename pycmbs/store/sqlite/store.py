"""The embedded store: one SQLite file, WAL, every commit on disk before it is answered; a feed cursor is a sequence number.

Several processes of a broker open the same file, and one commits at a time: :mod:`pycmbs.store.sqlite.file`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pycmbs import codec
from pycmbs.errors import CmbsError, ConfigurationError, RevisionConflict, StoreUnavailable
from pycmbs.runtime import Runtime
from pycmbs.store.base import Advance, Batch, Change, Document, Query, Store, StoreDamaged, cursor_number, decided
from pycmbs.store.files import SIDECARS
from pycmbs.store.index_keys import StoredKeys
from pycmbs.store.sqlite import copying, sql
from pycmbs.store.sqlite.commit import Commit, Ready, ready
from pycmbs.store.sqlite.file import SqliteFile
from pycmbs.store.sqlite.ranks import Ranks
from pycmbs.store.sqlite.reserve import Reserve, adds
from pycmbs.store.sqlite.runs import matching

_SCAN = 200
"""A read of more documents than this does not run where it would hold up other green threads."""
_ESTIMATES = (257, 1025)
"""Up to how many documents a key is counted; further only when all keys of a query reach that."""
_CHUNK = 1000
"""How many marks of deleted documents go with one commit."""


class SqliteStore(Store):
    """See :class:`~pycmbs.store.base.Store`."""

    durable = True
    shared = True
    atomic = True

    def __init__(self, path: Path, runtime: Runtime, *, create: bool = True, reserve: Reserve | None = None) -> None:
        self._path = path
        self._runtime = runtime
        self._reserve = reserve or Reserve(path, 0)
        self._file = SqliteFile(path, runtime, create=create)
        self._ranks = Ranks(self._file.rows)

    @classmethod
    def open(cls, rest: str, *, home: Path, runtime: Runtime, create: bool = True, least_free: int = 0) -> SqliteStore:
        """Open the file ``rest`` (default ``pycmbs.db``), relative to ``home``; with ``create`` it is made if it is not there.
        ``least_free``: bytes that are kept aside for a full disk.

        Raises ConfigurationError for one that cannot be opened, is not a store, or is of a newer pyCMBS.
        """
        path = path_of(rest, home)
        reserve = Reserve(path, least_free)
        try:
            try:
                opened = cls(path, runtime, create=create, reserve=reserve)
            except sqlite3.Error as exc:
                if not (_is_full(exc) and reserve.release()):
                    raise
                opened = cls(path, runtime, create=create, reserve=reserve)
            reserve.is_whole()
            return opened
        except (sqlite3.Error, OSError, CmbsError) as exc:
            hint = exc.hint if isinstance(exc, CmbsError) else ""
            raise ConfigurationError(f"the store {path} cannot be opened: {exc}", hint=hint, path=str(path)) from exc

    @property
    def url(self) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        return f"sqlite:{self._path}"

    def write_batches(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        """See :class:`~pycmbs.store.base.Store`."""
        prepared = ready(batches)
        if self._reserve.is_whole():
            try:
                return self._write(prepared)
            except _Full:
                self._reserve.release()
                if all(map(adds, batches)):
                    raise
        return self._write_what_frees(batches, prepared)

    def _write(self, prepared: Sequence[Sequence[Ready]]) -> list[list[Document] | RevisionConflict]:
        with _translated(), self._file.transaction() as connection:
            return Commit(connection).write(prepared)

    def _write_what_frees(
        self, batches: Sequence[Batch], prepared: Sequence[Sequence[Ready]]
    ) -> list[list[Document] | RevisionConflict]:
        """Write what may use the reserve, and refuse the rest."""
        written = iter(self._write([one for batch, one in zip(batches, prepared, strict=True) if not adds(batch)]))
        full = StoreUnavailable(
            "the disk is full, and nothing new is accepted", hint="Delete messages, or make room on it."
        )
        return decided([full if adds(batch) else next(written) for batch in batches])

    def get(self, id: str) -> Document | None:
        """See :class:`~pycmbs.store.base.Store`."""
        found = self._documents(sql.GET, (id,))
        return found[0] if found else None

    def get_many(self, ids: Sequence[str]) -> dict[str, Document]:
        """See :class:`~pycmbs.store.base.Store`."""
        if len(ids) > _SCAN:
            return self._runtime.offload(self._get_many, ids)
        return self._get_many(ids)

    def _get_many(self, ids: Sequence[str]) -> dict[str, Document]:
        return {one.id: one for id in dict.fromkeys(ids) for one in self._documents(sql.GET, (id,))}

    def find(self, query: Query) -> list[Document]:
        """See :class:`~pycmbs.store.base.Store`."""
        statement, parameters, narrow = self._statement(query)
        if narrow and (query.limit is None or query.limit <= _SCAN):
            # Most questions without a limit have few answers: those of one message, the members.
            most = _SCAN + 1 if query.limit is None else query.limit
            found = self._documents(statement, {**parameters, "limit": most})
            if len(found) <= _SCAN:
                return found
        return self._runtime.offload(self._documents, statement, parameters)

    def _statement(self, query: Query) -> tuple[str, dict[str, Any], bool]:
        """The statement, and whether it walks hardly more documents than it finds."""
        limit = -1 if query.limit is None else query.limit
        names, narrow = self._by_selectivity(query)
        statements, parameters = matching(query, names)
        return statements.bare if query.bare else statements.select, {**parameters, "limit": limit}, narrow

    def _by_selectivity(self, query: Query) -> tuple[list[str], bool]:
        """The query's names, that of the fewest documents first, and whether those are few."""
        names = list(query.equals)
        if len(names) < 2:
            return names, True
        for most in _ESTIMATES:
            numbers = {name: self._estimate(query, name, most) for name in names}
            if min(numbers.values()) < most:
                break
        names.sort(key=numbers.__getitem__)
        return names, numbers[names[0]] < _ESTIMATES[0]

    def _estimate(self, query: Query, name: str, most: int) -> int:
        statements, parameters = matching(query, [name])
        with _translated():
            number: int = self._file.rows(statements.estimate, {**parameters, "limit": most})[0][0]
        return number

    def lowest_by_key(self, type: str, name: str, below: str, limit: int) -> list[Document]:
        """See :class:`~pycmbs.store.base.Store`."""
        parameters = (type, sql.key(type, name), below, limit)
        if limit > _SCAN:
            return self._runtime.offload(self._documents, sql.LOWEST, parameters)
        return self._documents(sql.LOWEST, parameters)

    def count(self, query: Query) -> int:
        """See :class:`~pycmbs.store.base.Store`."""
        # Keys are enough: only documents that are there have any.
        statements, parameters = matching(query, self._by_selectivity(query)[0])
        with _translated():
            counted: int = self._runtime.offload(self._file.rows, statements.count, parameters)[0][0]
        return counted

    def total(self, query: Query) -> int:
        """See :class:`~pycmbs.store.base.Store`."""
        order = self._by_selectivity(query)[0]
        with _translated():
            return self._runtime.offload(self._ranks.total, query, order)

    def nth(self, query: Query, past: int) -> int | None:
        """See :class:`~pycmbs.store.base.Store`."""
        order = self._by_selectivity(query)[0]
        with _translated():
            return self._runtime.offload(self._ranks.nth, query, order, past)

    def changes(
        self, since: str, *, types: Sequence[str] = (), limit: int = 500, marks: bool = False
    ) -> tuple[list[Change], str]:
        """See :class:`~pycmbs.store.base.Store`."""
        del marks  # they are at hand
        return self._runtime.offload(self._changes, int(since or 0), types, limit)

    def _changes(self, since: int, types: Sequence[str], limit: int) -> tuple[list[Change], str]:
        with _translated():
            # Asked first: all up to it is seen by the query. A follower of a rare type does not walk the others twice.
            ((last,),) = self._file.rows(sql.LAST)
            rows = self._file.rows(sql.changes(len(types)), [since, *types, limit])
            found = [_change(row, since) for row in rows]
        seen = max(since, rows[-1][3] if rows else 0)
        return found, str(seen if len(rows) == limit else max(seen, last or 0))

    def latest(self) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        with _translated():
            ((last,),) = self._file.rows(sql.LAST)
        return str(last or 0)

    def reaches(self, cursor: str) -> bool:
        """See :class:`~pycmbs.store.base.Store`."""
        return cursor_number(cursor) <= int(self.latest())

    def change_token(self, type: str) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        with _translated():
            rows = self._file.rows(sql.HEAD, (type,))
        return str(rows[0][0]) if rows else ""

    def version(self, query: Query) -> str:
        """See :class:`~pycmbs.store.base.Store`. Revisions only grow: a newer one is higher than all, and where one is gone
        without that there are fewer."""
        if query.limit is not None:
            return super().version(query)
        statements, parameters = matching(query, self._by_selectivity(query)[0])
        with _translated():
            ((number, latest),) = self._file.rows(statements.version, parameters)
        return f"{number} {latest}"

    def compact(self, keep: int = 10_000) -> int:
        """See :class:`~pycmbs.store.base.Store`. In small commits, between which others get their turn."""
        total, gone = 0, _CHUNK
        while gone == _CHUNK:
            with _translated(), self._file.transaction() as connection:
                gone = connection.execute(sql.COMPACT, (keep, _CHUNK)).rowcount
                if gone:
                    connection.execute(sql.SET_HEAD, (sql.UNMARKED, connection.execute(sql.LAST).fetchone()[0], 0))
            total += gone
            self._runtime.sleep(0)
        more = True
        while more:
            begin = time.monotonic()
            with _translated():
                more = self._file.trim()
            self._runtime.sleep(time.monotonic() - begin if more else 0)
        return total

    def snapshot(self, path: Path, advance: Advance) -> int:
        """See :class:`~pycmbs.store.base.Store`."""
        try:
            return copying.snapshot(self._path, path, advance)
        except (OSError, sqlite3.Error) as exc:
            raise ConfigurationError(f"{path} cannot be made: {exc}", path=str(path)) from exc

    @classmethod
    def replace(cls, rest: str, *, home: Path, source: Path) -> tuple[str, int, Path | None]:
        """See :class:`~pycmbs.store.base.Store`."""
        target = path_of(rest, home)
        try:
            documents, kept = copying.replace(source, target)
        except (OSError, sqlite3.Error) as exc:
            raise ConfigurationError(f"{source} cannot be restored: {exc}", path=str(source)) from exc
        return f"sqlite:{target}", documents, kept

    def shrink(self) -> None:
        """See :class:`~pycmbs.store.base.Store`. Rewrites the whole file."""
        with _translated():
            self._runtime.offload(self._file.vacuum)

    def size(self) -> int:
        """See :class:`~pycmbs.store.base.Store`. With the log."""
        with _translated():
            files = [self._path, *(Path(f"{self._path}{sidecar}") for sidecar in SIDECARS)]
            return sum(path.stat().st_size for path in files if path.exists())

    def close(self) -> None:
        """See :class:`~pycmbs.store.base.Store`."""
        self._file.close()

    def _documents(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[Document]:
        with _translated():
            return [_document(row) for row in self._file.rows(statement, parameters)]


def path_of(rest: str, home: Path) -> Path:
    """The file of the store ``sqlite:`` and ``rest``. Raises ConfigurationError for what may mean something else."""
    if rest.startswith("//") and not rest.startswith("///"):
        raise ConfigurationError(
            "a store's URL with // has three of them: sqlite:///absolute/path, which is sqlite:/absolute/path",
            hint="A path without / at its beginning, as in sqlite:other.db, is in the home.",
        )
    return home / (f"/{rest.lstrip('/')}" if rest.startswith("/") else Path(rest or "pycmbs.db").expanduser())


def _document(row: tuple[Any, ...]) -> Document:
    if len(row) == 3:
        number, id, type = row
        return Document(id, type, {}, number=number)
    number, id, type, sequence, _, keys, body = row
    return Document(id, type, codec.loads(body), StoredKeys(keys), str(sequence), number)


def _change(row: tuple[Any, ...], since: int) -> Change:
    *columns, place = row
    _, id, type, sequence, deleted, keys, _ = columns
    if deleted:
        return Change(id, type, None, str(sequence), keys=StoredKeys(keys))
    return Change(id, type, _document(tuple(columns)), str(sequence), place > since)


class _Full(StoreUnavailable):
    """There is no room on the disk."""


def _is_full(error: Exception) -> bool:
    return getattr(error, "sqlite_errorname", "") in {"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"}


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """What SQLite and the file system complain of, as the store's own error; not what a caller did wrong."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.DataError):
        raise
    except (sqlite3.DatabaseError, OSError, codec.DecodeError) as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise StoreDamaged(f"the store failed: {exc}", hint="Restore a backup: pycmbs restore.") from exc
        if _is_full(exc):
            raise _Full(f"the store failed: {exc}", hint="Delete messages, or make room on the disk.") from exc
        raise StoreUnavailable(f"the store failed: {exc}", hint="See the broker's log, and its disk.") from exc
