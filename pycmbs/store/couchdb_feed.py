"""The change feed of a CouchDB database: as it is, as tokens per type, and as the place where deleted documents linger."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycmbs.runtime import Runtime, Signal
from pycmbs.store.base import Change, Document, Query
from pycmbs.store.couchdb_client import CouchClient
from pycmbs.store.couchdb_documents import document_from, is_document
from pycmbs.store.couchdb_errors import Refused

log = logging.getLogger(__name__)

_PAGE = 500
_WATCHED_PAGE = 100
"""The same, where each comes with its document."""
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
        rows: list[dict[str, Any]] = answer["results"]
        return rows, str(answer["last_seq"]) if rows else since

    def changes(self, since: str, types: Sequence[str], limit: int) -> tuple[list[Change], str]:
        """See :meth:`~pycmbs.store.base.Store.changes`."""
        found: list[Change] = []
        while len(found) < limit:
            rows, cursor = self.page(since, limit - len(found), documents=True)
            for row in rows:
                change = _change(row)
                if change is not None and (not types or change.type in types):
                    found.append(change)
            if not rows:
                break
            since = cursor
        return found, since

    def end(self) -> str:
        """The sequence of the latest change."""
        _, answer = self._client.call("GET", "_changes", since="now", limit=1)
        return str(answer["last_seq"])


def _change(row: dict[str, Any]) -> Change | None:
    document = row.get("doc") or {}
    type = document.get("type")
    if row["id"].startswith("_") or not isinstance(type, str):
        return None
    return Change(row["id"], type, document_from(document) if is_document(document) else None)


@dataclass(slots=True)
class _Watch:
    """A question whose answer is kept an eye on: the documents that it finds, and how often those changed."""

    query: Query
    ids: set[str] = field(default_factory=set)
    changes: int = 0

    def see(self, id: str, document: Document | None) -> None:
        """A document is like this now."""
        matches = document is not None and self.query.matches(document)
        if matches or id in self.ids:
            self.changes += 1
            (self.ids.add if matches else self.ids.discard)(id)


class Heads:
    """A token per type that changes with it, and one per question that changes with what it finds.

    Neither asks the view, which a server would first have to bring up to date. Asking costs one request for the changes
    since the last time. Who asks while such a request is under way waits for the next one, together with all others who do:
    it is not known whether the one under way sees what they must see. They wait through the runtime, and take no thread
    from those who read and write.
    """

    def __init__(self, client: CouchClient, runtime: Runtime) -> None:
        self._client = client
        self._feed = Feed(client)
        self._runtime = runtime
        self._prefix = secrets.token_hex(4)
        self._lock = threading.Lock()  # held for a few instructions, never across a wait
        self._asked = 0
        self._answered = 0
        self._under_way: Signal | None = None
        self._since: str | None = None
        self._changes: Counter[str] = Counter()
        self._watches: dict[object, _Watch] = {}

    def head(self, type: str) -> str:
        """See :meth:`~pycmbs.store.base.Store.head`."""
        self._catch_up()
        return f"{self._prefix}-{self._changes[type]}"

    def version(self, query: Query, find: Callable[[], list[Document]]) -> str | None:
        """See :meth:`~pycmbs.store.base.Store.version`. ``find`` asks the question. None when too many are watched."""
        key = (query.type, *query.equals.items())
        watch = self._watches.get(key)
        if watch is None:
            if len(self._watches) >= _MOST_WATCHED:
                return None
            self._catch_up()  # from here on no change is missed
            watch = self._watches.setdefault(key, _Watch(query))
            watch.ids |= {one.id for one in find()}
        self._catch_up()
        return f"{self._prefix}-{watch.changes}"

    def _catch_up(self) -> None:
        """Return once all is known that was written before this call."""
        with self._lock:
            self._asked += 1
            ticket = self._asked
        while True:
            with self._lock:
                if self._answered >= ticket:
                    return
                other = self._under_way
                if other is None:
                    mine = self._under_way = self._runtime.signal()
                    covered = self._asked
            if other is not None:
                other.wait()
                continue
            try:
                self._runtime.offload(self._follow)
                with self._lock:
                    self._answered = covered
            finally:
                with self._lock:
                    self._under_way = None
                mine.set()

    def _follow(self) -> None:
        if self._since is None:
            self._since = self._feed.end()
            return
        while True:
            watches = list(self._watches.values())
            most = _WATCHED_PAGE if watches else _PAGE
            rows, since = self._feed.page(self._since, most, documents=bool(watches))
            self._changes.update(self._types([row for row in rows if not row["id"].startswith("_")]))
            for row in rows if watches else ():
                found: Any = row.get("doc")
                document = document_from(found) if is_document(found) else None
                for watch in watches:
                    watch.see(row["id"], document)
            self._since = since  # last: what is not counted is read again
            if len(rows) < most:
                return

    def _types(self, rows: list[dict[str, Any]]) -> list[str]:
        """Of which type each changed document is. An id that has a colon begins with it (see couchdb_documents)."""
        types = [row["id"].partition(":")[0] for row in rows if ":" in row["id"]]
        others = [row for row in rows if ":" not in row["id"]]
        types += [row["doc"]["type"] for row in others if "type" in (row.get("doc") or {})]
        unknown = [row["id"] for row in others if not row.get("doc")]
        return types + (list(self._asked_types(unknown)) if unknown else [])

    def _asked_types(self, ids: list[str]) -> Iterator[str]:
        _, answer = self._client.call("POST", "_all_docs", body={"keys": ids}, include_docs=True)
        for row in answer["rows"]:
            document = row.get("doc")
            if document is None and row.get("value", {}).get("deleted"):
                # A mark still has its type, and only this way to it.
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
        surplus = int(information.get("doc_del_count", 0)) - keep
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
