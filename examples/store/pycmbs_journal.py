"""The store ``journal:PATH``: a file to which every accepted batch of writes is appended, as one line of JSON.

What is in memory follows from the lines: every process reads what the others have appended before it answers, and takes the
file's lock while it appends. A line counts once its end is there; what a crash left of another is cut off by the next writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pycmbs.errors import ConfigurationError, RevisionConflict, StoreUnavailable
from pycmbs.runtime import Runtime
from pycmbs.store.base import Batch, Change, Document, Query, Store, Write
from pycmbs.store.memory import MemoryStore

T = TypeVar("T")


@dataclass
class _State:
    """The documents, and how many bytes of the file they follow from."""

    documents: MemoryStore
    read: int = 0


class JournalStore(Store):
    """See :class:`~pycmbs.store.base.Store`."""

    durable: ClassVar[bool] = True
    shared: ClassVar[bool] = True
    atomic: ClassVar[bool] = True

    def __init__(self, path: Path, runtime: Runtime, *, create: bool = True) -> None:
        self._path = path
        self._runtime = runtime
        self._lock = threading.Lock()
        self._state = _State(MemoryStore())
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        except OSError as error:
            raise ConfigurationError(f"the journal {path} cannot be opened: {error.strerror}") from error
        self._closed = False

    @classmethod
    def open(cls, rest: str, *, home: Path, runtime: Runtime, create: bool = True, least_free: int = 0) -> Self:
        """The file ``rest``, by default ``journal``, relative to ``home``."""
        del least_free
        return cls(home / (rest or "journal"), runtime, create=create)

    @property
    def url(self) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        return f"journal:{self._path}"

    def write_batches(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        """See :class:`~pycmbs.store.base.Store`. It waits for the disk, so a front process has a thread do it."""
        return self._runtime.offload(self._write, batches)

    def _write(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        with self._lock, self._locked(fcntl.LOCK_EX):
            self._follow()
            os.ftruncate(self._file, self._state.read)  # a line without an end, of a writer that was killed
            outcomes = self._state.documents.write_batches(batches)
            accepted = [
                batch for batch, one in zip(batches, outcomes, strict=True) if not isinstance(one, RevisionConflict)
            ]
            lines = b"".join(_line(batch) for batch in accepted)
            try:
                _write_whole(self._file, lines, self._state.read)
                os.fsync(self._file)
            except OSError:
                self._state = _State(MemoryStore())  # it is ahead of the file now: read that again
                raise
            self._state.read += len(lines)
            return outcomes

    def _read(self, question: Callable[[MemoryStore], T]) -> T:
        """What the documents answer, with all that is in the file by now."""
        with self._lock:
            if os.fstat(self._file).st_size != self._state.read:
                with self._locked(fcntl.LOCK_SH):  # whoever appends has it on the disk when it gives the lock back
                    self._follow()
            return question(self._state.documents)

    def _follow(self) -> None:
        """Read what was appended since."""
        size = os.fstat(self._file).st_size
        if size > self._state.read:
            lines = os.pread(self._file, size - self._state.read, self._state.read).split(b"\n")[:-1]
            for line in lines:
                self._state.documents.write_batches([_batch(line)])
                self._state.read += len(line) + 1

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        try:
            fcntl.flock(self._file, how)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError as error:
            raise StoreUnavailable(f"the journal {self._path} cannot be used: {error.strerror}") from error

    def get(self, id: str) -> Document | None:
        """See :class:`~pycmbs.store.base.Store`."""
        return self._read(lambda documents: documents.get(id))

    def get_many(self, ids: Sequence[str]) -> dict[str, Document]:
        """See :class:`~pycmbs.store.base.Store`."""
        return self._read(lambda documents: documents.get_many(ids))

    def find(self, query: Query) -> list[Document]:
        """See :class:`~pycmbs.store.base.Store`."""
        return self._read(lambda documents: documents.find(query))

    def lowest_by_key(self, type: str, name: str, below: str, limit: int) -> list[Document]:
        """See :class:`~pycmbs.store.base.Store`."""
        return self._read(lambda documents: documents.lowest_by_key(type, name, below, limit))

    def count(self, query: Query) -> int:
        """See :class:`~pycmbs.store.base.Store`."""
        return self._read(lambda documents: documents.count(query))

    def changes(
        self, since: str, *, types: Sequence[str] = (), limit: int = 500, marks: bool = False
    ) -> tuple[list[Change], str]:
        """See :class:`~pycmbs.store.base.Store`."""
        return self._read(lambda documents: documents.changes(since, types=types, limit=limit, marks=marks))

    def reaches(self, cursor: str) -> bool:
        """See :class:`~pycmbs.store.base.Store`."""
        return self._read(lambda documents: documents.reaches(cursor))

    def latest(self) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        return self._read(lambda documents: documents.latest())

    def change_token(self, type: str) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        return self._read(lambda documents: documents.change_token(type))

    def compact(self, keep: int = 10_000) -> int:
        """See :class:`~pycmbs.store.base.Store`. The marks go from memory; the file stays as long as it is."""
        return self._read(lambda documents: documents.compact(keep))

    def size(self) -> int | None:
        """See :class:`~pycmbs.store.base.Store`."""
        return os.fstat(self._file).st_size

    def close(self) -> None:
        """See :class:`~pycmbs.store.base.Store`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._file)


def _line(batch: Batch) -> bytes:
    fields = [[one.id, one.type, one.body, one.keys, one.revision, one.delete] for one in batch]
    return json.dumps(fields).encode("ascii") + b"\n"


def _batch(line: bytes) -> list[Write]:
    fields: list[list[Any]] = json.loads(line)
    return [
        Write(id, type, body, {name: tuple(values) for name, values in keys.items()}, revision, delete)
        for id, type, body, keys, revision, delete in fields
    ]


def _write_whole(file: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, at)
        rest, at = rest[written:], at + written
