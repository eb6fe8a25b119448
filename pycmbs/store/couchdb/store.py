"""The store in a CouchDB database: several processes, on one node or a cluster.

Nothing here needs green threads: a front hands every call to a thread of its own (``Runtime.offload``), which costs a tenth
of a millisecond where a write takes four or more.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from msgspec.structs import replace

from pycmbs.errors import RevisionConflict, StoreUnavailable
from pycmbs.runtime import Runtime
from pycmbs.store.base import Batch, Change, Document, Query, Store
from pycmbs.store.couchdb import documents as layout
from pycmbs.store.couchdb.answers import number, rows_of, told
from pycmbs.store.couchdb.client import Address, CouchClient
from pycmbs.store.couchdb.database import Database
from pycmbs.store.couchdb.errors import NotThere, Refused, TimedOut
from pycmbs.store.couchdb.feed import Feed, FeedTokens, Marks
from pycmbs.store.couchdb.seeking import Seeking
from pycmbs.store.couchdb.writer import Writer

log = logging.getLogger(__name__)

_PAGE = 200
_SEQUENCE = re.compile(r"[0-9]{1,18}(?:-[A-Za-z0-9_=-]{1,4000})?")
"""Where a feed is, as CouchDB says it."""
_LONG = 120.0
"""Seconds for a call of a command for people."""
_LOOK_SECONDS = 0.2
"""Between looks whether a compaction is over."""
_NO_COMPACTION = frozenset({400, 404, 405, 501})
"""What a server answers that cannot."""
_FEW = 65
"""Fewer rows than this are read at once, to find out how many there are."""


class CouchStore(Store):
    """See :class:`~pycmbs.store.base.Store`."""

    durable = True
    shared = True
    atomic = False
    ordered = False
    parallel_commits = 4
    scheme: ClassVar[str] = "http"

    def __init__(self, address: Address, runtime: Runtime, *, create: bool = True) -> None:
        self._client = CouchClient(address)
        self._runtime = runtime
        self._waits = False
        self._writer = Writer(self._client)
        self._feed = Feed(self._client)
        self._tokens = FeedTokens(self._client, runtime)
        self._marks = Marks(self._client)
        self._database = Database(self._client, self.url, create=create)

    @classmethod
    def open(cls, rest: str, *, home: Path, runtime: Runtime, create: bool = True, least_free: int = 0) -> Self:
        """The store at ``//user:password@host:port/database``. The first call that reaches the server makes what is missing,
        with ``create``.

        Raises ConfigurationError for an invalid URL."""
        del home, least_free  # the server's disk is the server's
        return cls(Address.parse(cls.scheme, rest), runtime, create=create)

    @property
    def url(self) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        return f"couchdb{'+https' if self.scheme == 'https' else ''}:{self._client.where.partition(':')[2]}"

    def _do(self, work: Any, *arguments: Any) -> Any:
        """Do it in a thread that may wait, when the database is ready."""

        def ready_work() -> Any:
            self._database.check()
            return work(*arguments)

        return self._runtime.offload(ready_work)

    def ready(self) -> None:
        """See :class:`~pycmbs.store.base.Store`. A server that was not asked for long, or holds what was copied into it, builds
        the view's index; it goes on with that when the question is not waited for."""
        self._do(lambda: self._view(reduce=False, limit=0))

    def take_time(self) -> None:
        """See :class:`~pycmbs.store.base.Store`. Calls have minutes, and the view as long as it takes."""
        self._client.timeout = max(self._client.timeout, _LONG)
        self._waits = True

    # Writing

    def write_batches(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        """See :class:`~pycmbs.store.base.Store`."""
        outcome: list[list[Document] | RevisionConflict] = self._do(self._write, batches)
        return outcome

    def _write(self, batches: Sequence[Batch]) -> list[list[Document] | RevisionConflict]:
        self._database.check_copies()
        outcome = self._writer.write(batches)
        self._tokens.wrote(one for written in outcome if not isinstance(written, RevisionConflict) for one in written)
        return outcome

    # Reading

    def get(self, id: str) -> Document | None:
        """See :class:`~pycmbs.store.base.Store`."""
        found = self._do(self._client.document, id)
        return layout.document_from(found) if found is not None and layout.is_document(found) else None

    def get_many(self, ids: Sequence[str]) -> dict[str, Document]:
        """See :class:`~pycmbs.store.base.Store`."""
        found: dict[str, Document] = self._do(self._get_many, list(dict.fromkeys(ids)))
        return found

    def _get_many(self, ids: Sequence[str]) -> dict[str, Document]:
        found = self._client.documents(ids)
        return {id: layout.document_from(one) for id, one in found.items() if layout.is_document(one)}

    def find(self, query: Query) -> list[Document]:
        """See :class:`~pycmbs.store.base.Store`."""
        found: list[Document] = self._do(lambda: list(self._find(query)))
        return found

    def _find(self, query: Query) -> Iterator[Document]:
        if query.limit == 0:
            return
        if query.bare and len(query.equals) < 2:
            yield from self._bare(query)
            return
        left = query.limit
        for page in self._by_keys(query):
            for document in page:
                if query.matches(document):
                    yield document
                    left = None if left is None else left - 1
                    if left == 0:
                        return

    def _bare(self, query: Query) -> Iterator[Document]:
        """Where the view's rows say all that is wanted."""
        name, after, left = next(iter(query.equals), ""), query.after, query.limit
        while left != 0:
            most = _PAGE if left is None else min(_PAGE, left)
            rows = self._view(reduce=False, limit=most, **self._range(query, name, after))
            for row in rows:
                after = int(row["key"][3])
                yield Document(row["id"], query.type, {}, number=after)
            if len(rows) < most:
                return
            left = None if left is None else left - most

    def _by_keys(self, query: Query) -> Iterator[list[Document]]:
        """Candidates by the name that the fewest documents match by."""
        names = list(query.equals)
        if len(names) < 2:
            yield from self._pages(query, names[0] if names else "")
            return
        for name in reversed(names):  # callers name what is common, like the kind, first
            rows = self._view(reduce=False, include_docs=True, limit=_FEW, **self._range(query, name, query.after))
            if len(rows) < _FEW:
                yield _documents(rows)
                return
        yield from self._pages(query, min(names, key=lambda name: self._matching(query, name)))

    def _pages(self, query: Query, name: str) -> Iterator[list[Document]]:
        """Documents by one name, in the order of creation."""
        after, most = query.after, _PAGE if query.limit is None or len(query.equals) > 1 else min(_PAGE, query.limit)
        while True:
            keys = self._range(query, name, after)
            rows = self._view(reduce=False, include_docs=True, limit=most, **keys)
            yield _documents(rows)
            if len(rows) < most:
                return
            after, most = int(rows[-1]["key"][3]), _PAGE

    def lowest_by_key(self, type: str, name: str, below: str, limit: int) -> list[Document]:
        """See :class:`~pycmbs.store.base.Store`."""
        keys = {"startkey": [type, name], "endkey": [type, name, layout.hexadecimal(below)], "inclusive_end": False}
        rows = self._do(lambda: self._view(reduce=False, include_docs=True, limit=limit, **keys))
        # A row may be older than its document.
        return [one for one in _documents(rows) if any(value < below for value in one.keys.get(name, ()))]

    def _prefix(self, query: Query, name: str) -> list[str]:
        return [query.type, name, layout.hexadecimal(query.equals[name]) if name else ""]

    def _range(self, query: Query, name: str, after: int) -> dict[str, Any]:
        prefix = self._prefix(query, name)
        return {"startkey": [*prefix, layout.number_text(after + 1)], "endkey": [*prefix, {}]}

    def _matching(self, query: Query, name: str) -> int:
        """How many documents match by one name."""
        found = self._view(group=False, **self._range(query, name, query.after))
        return number(found[0], "value") or 0 if found else 0

    def _view(self, **query: Any) -> list[dict[str, Any]]:
        while True:
            try:
                _, answer = self._client.call(
                    "GET", "_design", layout.DESIGN, "_view", layout.VIEW, patient=True, **query
                )
            except NotThere as exc:
                self._database.forget_view()
                raise StoreUnavailable(f"{self.url} has lost its view", hint="It is being recreated.") from exc
            except TimedOut:
                if not self._waits:
                    raise
                log.warning("%s: the server builds its index; waiting for it", self.url)
            else:
                return rows_of(answer, "rows", *(() if query.get("reduce", True) else ("id", "key")))

    def counts_by_index(self, query: Query) -> bool:
        """See :class:`~pycmbs.store.base.Store`. A view has one name at a time."""
        return len(query.equals) < 2

    def nth(self, query: Query, past: int) -> int | None:
        """See :class:`~pycmbs.store.base.Store`."""
        if not self.counts_by_index(query):
            return super().nth(query, past)
        seeking = Seeking(self._view, self._prefix(query, next(iter(query.equals), "")), query.after)
        found: int | None = self._do(seeking.find, past)
        return found

    def count(self, query: Query) -> int:
        """See :class:`~pycmbs.store.base.Store`."""
        matching: int = self._do(self._counted, replace(query, limit=None))
        return matching

    def _counted(self, query: Query) -> int:
        names = list(query.equals)
        if len(names) < 2:
            return self._matching(query, names[0] if names else "")
        return sum(1 for _ in self._find(query))

    # Following

    def changes(
        self, since: str, *, types: Sequence[str] = (), limit: int = 500, marks: bool = False
    ) -> tuple[list[Change], str]:
        """See :class:`~pycmbs.store.base.Store`."""
        follow = functools.partial(self._feed.changes, marks=marks)
        found: tuple[list[Change], str] = self._do(follow, since, types, limit)
        return found

    def reaches(self, cursor: str) -> bool:
        """See :class:`~pycmbs.store.base.Store`. Sequences are opaque: a server goes on from any of its own."""
        if not _SEQUENCE.fullmatch(cursor):
            raise ValueError(f"{cursor[:40]!r} is not a sequence of CouchDB")
        return True

    def latest(self) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        cursor: str = self._do(self._feed.end)
        return cursor

    def change_token(self, type: str) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        if self._database.is_to_be_checked():
            self._do(lambda: None)
        return self._tokens.change_token(type)

    def version(self, query: Query) -> str:
        """See :class:`~pycmbs.store.base.Store`."""
        if query.after or query.limit is not None:
            return super().version(query)
        if self._database.is_to_be_checked():
            self._do(lambda: None)
        return self._tokens.version(query, lambda: self.find(query)) or super().version(query)

    def shrink(self) -> None:
        """See :class:`~pycmbs.store.base.Store`. The database, and the view's index."""
        self._do(lambda: self._client.call("POST", "_view_cleanup", body={}))
        for what in ((), (layout.DESIGN,)):
            # A server that has no compaction of indexes says so.
            with contextlib.suppress(Refused):
                self._do(
                    lambda what=what: self._client.call("POST", "_compact", *what, body={}, expected=_NO_COMPACTION)
                )
        while self._do(self._compacts):
            self._runtime.sleep(_LOOK_SECONDS)

    def _compacts(self) -> bool:
        _, database = self._client.call("GET")
        view = None
        with contextlib.suppress(Refused):
            _, view = self._client.call("GET", "_design", layout.DESIGN, "_info", expected=_NO_COMPACTION)
        # Where a server does not tell, nothing can be waited for.
        return bool(told(database, "compact_running") or told(view, "view_index", "compact_running"))

    def size(self) -> int | None:
        """See :class:`~pycmbs.store.base.Store`. None where the server does not tell."""
        _, information = self._do(self._client.call, "GET")
        return number(information, "sizes", "file")

    def compact(self, keep: int = 10_000) -> int:
        """See :class:`~pycmbs.store.base.Store`. Nothing goes on a server without ``_purge``."""
        gone: int = self._do(self._marks.forget, keep)
        return gone

    def close(self) -> None:
        """See :class:`~pycmbs.store.base.Store`."""
        self._client.close()


def _documents(rows: list[dict[str, Any]]) -> list[Document]:
    """Theirs. A row may be older than its document, which may be gone, or be another by now."""
    return [layout.document_from(row["doc"]) for row in rows if layout.is_document(row.get("doc"))]


class CouchHttpsStore(CouchStore):
    """The same over TLS."""

    scheme = "https"
