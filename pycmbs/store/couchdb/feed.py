"""The change feed of a CouchDB database: its cursors, change tokens per type, and the marks of deleted documents."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from pycmbs.runtime import Runtime, Signal, asked_at
from pycmbs.store.base import Change, Document, Query
from pycmbs.store.couchdb.answers import needed, number, rows_of, told
from pycmbs.store.couchdb.client import CouchClient
from pycmbs.store.couchdb.documents import document_from, is_document, rev_of
from pycmbs.store.couchdb.errors import Refused

log = logging.getLogger(__name__)

_PAGE = 500
_FAR = 2000
"""Changes; who is as many behind does not catch up with them."""
_MOST_LOOKED = 200
"""Changed documents of other processes that are read to see whether a question finds them."""
_MOST_WRITTEN = 4096
"""Documents of this process that are remembered, without their bodies, until the feed tells of them."""
_MOST_WATCHED = 8
"""Questions; the documents of their answers are remembered by id."""
_NO_PURGE = frozenset({400, 401, 403, 404, 405, 501})
"""What servers answer that do not purge, or not for this user."""
_MOST_PURGED = 100
"""Documents in one ``_purge``: CouchDB's default bound."""


class Feed:
    """Pages of ``_changes``. Sequences are opaque, and a server may go back and tell of changes a second time."""

    def __init__(self, client: CouchClient) -> None:
        self._client = client

    def page(self, since: str, limit: int, *, documents: bool) -> tuple[list[dict[str, Any]], str]:
        """The rows after a sequence ("": from the beginning), and the sequence to go on from."""
        query: dict[str, Any] = {"since": since or "0", "limit": limit}
        if documents:
            query["include_docs"] = True
        _, answer = self._client.call("GET", "_changes", patient=True, **query)
        found = rows_of(answer, "results", "id", "seq", "changes")
        return found, str(needed(answer, "last_seq")) if found else since

    def changes(self, since: str, types: Sequence[str], limit: int, *, marks: bool = False) -> tuple[list[Change], str]:
        """See :meth:`~pycmbs.store.base.Store.changes`."""
        found: list[Change] = []
        while len(found) < limit:
            room = limit - len(found)
            most = _PAGE if types else min(_PAGE, room)
            rows, cursor = self.page(since, most, documents=not types)
            last = len(rows) < most
            if types:  # bodies of others may be large
                rows = [row for row in rows if _type_in(row["id"]) in {"", *types}]
                if len(rows) > room:
                    del rows[room:]
                    cursor, last = str(rows[-1]["seq"]), False
                self._add_documents(rows, marks=marks)
            changes = [change for row in rows if (change := _change(row)) is not None]
            found += [one for one in changes if not types or one.type in types]
            since = cursor
            if last:
                break
        return found, since

    def _add_documents(self, rows: list[dict[str, Any]], *, marks: bool) -> None:
        there = self._client.documents([row["id"] for row in rows if not row.get("deleted")])
        for row in rows:
            id = row["id"]
            if id in there:
                row["doc"] = there[id]
            elif (type := _type_in(id)) and not (marks and row.get("deleted")):
                row["doc"] = {"type": type}
            else:
                # A mark still has its type and keys, and only this way to them.
                _, row["doc"] = self._client.call("GET", id, rev=row["changes"][0]["rev"])

    def end(self) -> str:
        """The sequence of the latest change."""
        _, answer = self._client.call("GET", "_changes", since="now", limit=1)
        return str(needed(answer, "last_seq"))


def _type_in(id: str) -> str:
    """The type that an id begins with (see couchdb_documents), empty if it does not."""
    return id.partition(":")[0] if ":" in id else ""


def _change(row: dict[str, Any]) -> Change | None:
    document = row.get("doc") or {}
    type = document.get("type")
    if row["id"].startswith("_") or not isinstance(type, str):
        return None
    cursor = str(row["seq"])
    if is_document(document):
        new = rev_of(document["_rev"]).startswith("1-")
        return Change(row["id"], type, document_from(document), cursor, new)
    keys = document.get("keys") if row.get("deleted") else None
    return Change(row["id"], type, None, cursor, keys={name: tuple(one) for name, one in (keys or {}).items()})


@dataclass(slots=True)
class _Watch:
    """A question whose answer is kept an eye on: the documents that it finds, and how often those changed."""

    query: Query
    ids: set[str] = field(default_factory=set)
    changes: int = 0
    prefix: str = field(default_factory=lambda: secrets.token_hex(4))

    def see(self, id: str, document: Document | None) -> None:
        """A document is like this now."""
        matches = document is not None and self.query.matches(document)
        if matches or id in self.ids:
            self.changes += 1
            (self.ids.add if matches else self.ids.discard)(id)


class FeedTokens:
    """A token per type that changes with it, and one per question that changes with what it finds.

    Neither asks the view, which a server would first have to bring up to date. Asking costs one request for the changes
    since the last time, and nothing when such a request was made after what needs to know it was asked for: so one serves a
    whole request of a client, and others that came before it began. They wait through the runtime, and take no thread from
    those who read and write.

    A process that is far behind, having been idle while others wrote, does not read all of that: every token is new then.
    """

    def __init__(self, client: CouchClient, runtime: Runtime) -> None:
        self._client = client
        self._feed = Feed(client)
        self._runtime = runtime
        self._lock = threading.Lock()  # held for a few instructions, never across a wait
        self._known_at = float("-inf")
        """All is known that was written before this, on the monotonic clock."""
        self._under_way: Signal | None = None
        self._since: str | None = None
        self._prefix = secrets.token_hex(4)
        self._changes: Counter[str] = Counter()
        self._watches: dict[object, _Watch] = {}
        self._written: dict[str, tuple[str, Document]] = {}

    def change_token(self, type: str) -> str:
        """See :meth:`~pycmbs.store.base.Store.change_token`."""
        self._catch_up()
        return f"{self._prefix}-{self._changes[type]}"

    def version(self, query: Query, find: Callable[[], list[Document]]) -> str | None:
        """See :meth:`~pycmbs.store.base.Store.version`. ``find`` asks the question. None when too many are watched."""
        key = (query.type, *query.equals.items())
        while True:
            watch = self._watches.get(key)
            if watch is None:
                if len(self._watches) >= _MOST_WATCHED:
                    return None
                self._catch_up()  # from here on no change is missed
                watch = self._watches.setdefault(key, _Watch(query))
                watch.ids |= {one.id for one in find()}
            self._catch_up()
            if self._watches.get(key) is watch:
                return f"{watch.prefix}-{watch.changes}"

    def wrote(self, documents: Iterable[Document]) -> None:
        """This process wrote these documents: they need not be read when the feed tells of them."""
        watched = {watch.query.type for watch in list(self._watches.values())}
        for one in documents:
            if one.type in watched:
                self._written[one.id] = rev_of(one.revision), replace(one, body={})
        with self._lock:
            while len(self._written) > _MOST_WRITTEN:
                del self._written[next(iter(self._written))]

    def _catch_up(self) -> None:
        """Return once all is known that was written before what this thread does was asked for."""
        asked = asked_at()
        while True:
            with self._lock:
                if self._known_at >= asked:
                    return
                other = self._under_way
                if other is None:
                    mine = self._under_way = self._runtime.signal()
                    began = time.monotonic()
            if other is not None:
                other.wait()  # the one under way may not see what this must see
                continue
            try:
                self._runtime.offload(self._follow)
                with self._lock:
                    self._known_at = began
            finally:
                with self._lock:
                    self._under_way = None
                mine.set()

    def _follow(self) -> None:
        if self._since is None:
            self._since = self._feed.end()
            return
        rows, since = self._feed.page(self._since, _FAR, documents=False)
        if len(rows) == _FAR:
            self._begin_anew()
            return
        rows = [row for row in rows if not row["id"].startswith("_")]
        self._changes.update(self._types(rows))
        self._look(rows)
        self._since = since  # last: what is not counted is read again

    def _begin_anew(self) -> None:
        self._since = self._feed.end()
        self._prefix = secrets.token_hex(4)
        self._watches = {}

    def _look(self, rows: list[dict[str, Any]]) -> None:
        """See what these changes are to the questions that are watched."""
        watches = list(self._watches.values())
        types = {watch.query.type for watch in watches}
        concerned = [row for row in rows if _type_in(row["id"]) in {"", *types}] if types else []
        found: dict[str, Document | None] = {}
        for row in concerned:
            rev, document = self._written.pop(row["id"], ("", None))
            if row.get("deleted") or rev == row["changes"][0]["rev"]:
                found[row["id"]] = None if row.get("deleted") else document
        unknown = [row["id"] for row in concerned if row["id"] not in found]
        if len(unknown) > _MOST_LOOKED:
            self._watches = {}  # asking the questions again is less
            return
        found |= self._documents(unknown)
        for id, document in found.items():
            for watch in watches:
                watch.see(id, document)

    def _documents(self, ids: list[str]) -> dict[str, Document | None]:
        """These documents as they are now, None for those that are gone."""
        there = self._client.documents(ids)
        return {id: document_from(there[id]) if is_document(there.get(id)) else None for id in ids}

    def _types(self, rows: list[dict[str, Any]]) -> list[str]:
        """Of which type each changed document is."""
        types = [type for row in rows if (type := _type_in(row["id"]))]
        unknown = [row["id"] for row in rows if not _type_in(row["id"])]
        return types + (list(self._asked_types(unknown)) if unknown else [])

    def _asked_types(self, ids: list[str]) -> Iterator[str]:
        _, answer = self._client.call("POST", "_all_docs", body={"keys": ids}, include_docs=True)
        for row in rows_of(answer, "rows"):
            document = row.get("doc")
            if document is None and told(row, "value", "deleted"):
                _, document = self._client.call("GET", row["id"], rev=row["value"]["rev"])
            if document is not None and "type" in document:
                yield document["type"]


class Marks:
    """Deleted documents: CouchDB keeps a mark of each until it is purged."""

    def __init__(self, client: CouchClient) -> None:
        self._client = client
        self._feed = Feed(client)
        self._since = ""
        """No deleted document is left before this."""
        self._told = False

    def forget(self, keep: int) -> int:
        """Purge all but the newest ``keep``; returns how many went. None goes where the server has no ``_purge``, or lets only
        its administrators do it, as Apache CouchDB does."""
        _, information = self._client.call("GET")
        surplus = (number(information, "doc_del_count") or 0) - keep
        gone = 0
        for batch in self._oldest(surplus):
            try:
                self._client.call("POST", "_purge", body=batch, expected=_NO_PURGE)
            except Refused as exc:
                if not self._told and exc.status in {401, 403}:
                    log.warning("deleted documents leave marks, which only an administrator may purge: %s", exc.message)
                    self._told = True
                return gone
            gone += len(batch)
        return gone

    def _oldest(self, most: int) -> Iterator[dict[str, list[str]]]:
        left = most
        while left > 0:
            rows, cursor = self._feed.page(self._since, _PAGE, documents=False)
            if not rows:
                return
            deleted = [row for row in rows if row.get("deleted")]
            for start in range(0, min(left, len(deleted)), _MOST_PURGED):
                some = deleted[start : min(start + _MOST_PURGED, left)]
                yield {row["id"]: [change["rev"] for change in row["changes"]] for row in some}
            if len(deleted) <= left:
                self._since = cursor
            left -= len(deleted)
