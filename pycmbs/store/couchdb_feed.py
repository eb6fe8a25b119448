"""The change feed of a CouchDB database: as it is, as tokens per type, and as the place where deleted documents linger."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pycmbs.errors import StoreUnavailable
from pycmbs.runtime import Runtime, Signal
from pycmbs.store.base import Change
from pycmbs.store.couchdb_client import CouchClient, Refused
from pycmbs.store.couchdb_documents import document_from, is_document

_PAGE = 500
_MOST_PURGED = 100
"""Documents in one ``_purge``: CouchDB's default bound."""


class Feed:
    """Pages of ``_changes``. Sequences are opaque, and a server may go back and tell of changes a second time."""

    def __init__(self, client: CouchClient) -> None:
        self._client = client

    def page(self, since: str, limit: int, *, documents: bool) -> tuple[list[dict[str, Any]], str]:
        """The rows after a sequence ("": from the beginning), and the sequence to go on from."""
        query = {"include_docs": True} if documents else {}
        start = since or "0"
        _, answer = self._client.call("GET", "_changes", since=start, limit=limit, patient=True, **query)
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


class Heads:
    """A token per type that changes with it.

    Asking costs one request for the changes since the last time. Who asks while such a request is under way waits for the
    next one, together with all others who do: it is not known whether the one under way sees what they must see. They wait
    through the runtime, and take no thread from those who read and write.
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

    def head(self, type: str) -> str:
        """See :meth:`~pycmbs.store.base.Store.head`."""
        with self._lock:
            self._asked += 1
            ticket = self._asked
        while True:
            with self._lock:
                if self._answered >= ticket:
                    return f"{self._prefix}-{self._changes[type]}"
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
            rows, self._since = self._feed.page(self._since, _PAGE, documents=False)
            ids = [row["id"] for row in rows if not row["id"].startswith("_")]
            # An id that has a colon begins with its type (see couchdb_documents); of others the document must be asked.
            self._changes.update(id.partition(":")[0] for id in ids if ":" in id)
            others = [id for id in ids if ":" not in id]
            if others:
                self._changes.update(self._types(others))
            if len(rows) < _PAGE:
                return

    def _types(self, ids: list[str]) -> Iterator[str]:
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

    def forget(self, keep: int) -> int:
        """Purge all but the newest ``keep``; returns how many went. None goes where the server has no ``_purge``."""
        _, information = self._client.call("GET")
        surplus = int(information.get("doc_del_count", 0)) - keep
        gone = 0
        for batch in self._oldest(surplus):
            try:
                self._client.call("POST", "_purge", body=batch)
            except Refused as exc:
                if exc.status in {400, 405}:
                    return gone  # a server that speaks the protocol without this
                raise StoreUnavailable(f"CouchDB does not purge: {exc.args[1]}") from exc
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
