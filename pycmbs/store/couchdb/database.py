"""The database itself: created if it is missing, refused if it is not a store of this version, checked to be still the same."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from typing import Any

from pycmbs.errors import ConfigurationError, StoreUnavailable
from pycmbs.store.couchdb import documents as layout
from pycmbs.store.couchdb.answers import number, rows_of
from pycmbs.store.couchdb.client import CouchClient
from pycmbs.store.couchdb.errors import BadCredentials, Refused

_LOOK_SECONDS = 1.0
"""How often it is looked whether the database is still the same."""


class Database:
    """Everything but the documents. Every call to the store begins with :meth:`check`."""

    def __init__(self, client: CouchClient, url: str, *, create: bool = True) -> None:
        """``url``: what people call it. ``create``: whether one that is not there is made."""
        self._create = create
        self._client = client
        self._url = url
        self._lock = threading.Lock()
        self._ready = False
        self._instance: str | None = None
        """What tells this database from one that is made later under its name."""
        self._copies = 1
        self._look_again = 0.0
        self._lost: StoreUnavailable | None = None

    def check(self) -> None:
        """Make the database and its view, once, if they are not there; afterwards look, once a second, whether it is the same.

        Raises ConfigurationError, StoreUnavailable."""
        if not self._ready:
            with self._lock:
                if not self._ready:
                    try:
                        self._prepare()
                    except BadCredentials as exc:
                        raise ConfigurationError(exc.message, hint=exc.hint) from exc
                    self._ready = True
        elif time.monotonic() >= self._look_again:
            self._look_again = time.monotonic() + _LOOK_SECONDS  # first: others go on meanwhile
            self._lost = self._loss()
        if self._lost is not None:
            raise copy.copy(self._lost)

    def check_copies(self) -> None:
        """Raises ConfigurationError for a database of which a cluster keeps several copies: each takes writes on its own, so an
        acknowledged change may lose against another one later."""
        if self._copies > 1:
            raise ConfigurationError(
                f"the cluster keeps {self._copies} copies of {self._url}, and changes that were acknowledged may be lost then",
                hint="Copy it to a new one with pycmbs store copy: the broker makes it with one copy.",
            )

    def is_to_be_checked(self) -> bool:
        """Whether :meth:`check` would do or raise anything now."""
        return not self._ready or self._lost is not None or time.monotonic() >= self._look_again

    def forget_view(self) -> None:
        """The view is not there: the next call makes it again, if this is still the same database."""
        self._ready = False

    def _prepare(self) -> None:
        if self._instance is None:
            self._instance = self._opened()
        elif (lost := self._loss()) is not None:
            raise lost
        self._put_view()
        self._look_again = time.monotonic() + _LOOK_SECONDS

    def _loss(self) -> StoreUnavailable | None:
        """What is wrong when this is not the database that it was. Raises StoreUnavailable when none is there."""
        mark = self._client.document(layout.MARK)
        if mark is not None and mark.get("instance", "") == self._instance:
            return None
        return StoreUnavailable(
            f"the database {self._url} was deleted, and another one is in its place",
            hint="Restore it, or restart the broker to begin with that one.",
        )

    def _opened(self) -> str:
        """Make what is missing; returns the instance."""
        information = self._client.information()
        if information is None:
            if not self._create:
                raise ConfigurationError(f"there is no store {self._url}", hint="A broker that starts on it makes it.")
            self._make()
            information = self._client.information() or {}
        self._copies = _copies(information)
        mark = self._client.document(layout.MARK)
        if mark is None:
            self._make_layout()
            mark = self._client.document(layout.MARK) or {}
        if mark.get("layout", 0) > layout.LAYOUT:
            raise ConfigurationError(
                f"{self._url} was written by a newer pyCMBS (layout {mark['layout']})", hint="Use that one."
            )
        return str(mark.get("instance", ""))

    def _make(self) -> None:
        try:
            # One shard: the feed is then in the order of changes, and a question asks one index. One copy: see check_copies.
            self._client.call("PUT", q="1", n="1", expected={400, 412})
        except Refused as exc:
            if exc.status != 412:  # another process was faster
                raise ConfigurationError(f"{self._url} cannot be made: {exc.message}") from exc

    def _make_layout(self) -> None:
        _, answer = self._client.call("GET", "_all_docs", limit=1, startkey='"a"')
        foreign = [row["id"] for row in rows_of(answer, "rows", "id") if row["id"] != layout.MARK]
        if foreign:
            raise ConfigurationError(
                f"{self._url} is not a store of pyCMBS: it holds {foreign[0]!r}",
                hint="Name another database.",
            )
        mark = {"layout": layout.LAYOUT, "instance": uuid.uuid4().hex, "about": "The store of a pyCMBS broker."}
        self._put(layout.MARK, mark)

    def _put_view(self) -> None:
        design = self._client.document(f"_design/{layout.DESIGN}")
        if design is None or {name: design.get(name) for name in layout.DESIGN_DOCUMENT} != layout.DESIGN_DOCUMENT:
            self._put(f"_design/{layout.DESIGN}", {**(design or {}), **layout.DESIGN_DOCUMENT})

    def _put(self, id: str, document: dict[str, Any]) -> None:
        try:
            self._client.call("PUT", *id.split("/"), body=document, expected={409})
        except Refused as exc:
            if exc.status != 409:  # another process was faster
                raise


def _copies(information: dict[str, Any]) -> int:
    """How many nodes keep each document, by what the server says of the database; one by a server that knows no clusters."""
    copies = number(information, "cluster", "n")
    return 1 if copies is None else copies
