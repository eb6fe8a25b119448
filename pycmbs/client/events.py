"""Event streams without I/O: parsing, and resuming after a broken connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from pycmbs.client.calls import JSON
from pycmbs.client.views import plain_id
from pycmbs.errors import CmbsError, Unavailable

SILENT_SECONDS = 45.0
"""Without a line, of which the broker sends one every 15 s: the connection is dead then."""
_PAUSE = 1.5
"""Seconds until one connects again, unless the broker says."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to an entity: ``event`` is created, changed or deleted, or ``gap`` where the broker's history is another
    one than that of the cursor (all that is there follows). ``cursor``: where to go on behind it. ``entity``: as OCCI 1.2 shows
    it."""

    event: str
    location: str
    cursor: str
    entity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The entity's id, as a person says it."""
        return plain_id(str(self.entity.get("id", "")))

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The entity's attributes; none of one that is gone."""
        found: Mapping[str, Any] = self.entity.get("attributes", {})
        return found


class Stream:
    """One stream, over as many connections as it takes."""

    def __init__(self, path: str, since: str | None, filters: Mapping[str, str], patience: float | None) -> None:
        """``filters``: attributes and their values. ``patience``: seconds without the broker until that is an error; None: for
        ever, once there was a connection."""
        pairs = [pair for name, value in filters.items() for pair in (("attribute", name), ("value", value))]
        self.path = f"{path}?{urlencode([*pairs, ('watch', '')])}"
        self._cursor = since
        self._patience = patience
        self._retry = _PAUSE
        self._without = 0.0
        self._connected = False
        self._name, self._data = "", ""

    def request(self, timeout: float) -> dict[str, Any]:
        """The arguments of a request of httpx2's. ``timeout``: seconds for the head of the answer."""
        import httpx2  # the caller has it already

        headers = {"Accept": f"text/event-stream, {JSON};q=0.5"}  # an error is no event
        if self._cursor is not None:
            headers["Last-Event-ID"] = self._cursor
        limits = httpx2.Timeout(timeout, read=max(timeout, SILENT_SECONDS))
        return {"method": "GET", "url": self.path, "headers": headers, "timeout": limits}

    def connected(self) -> None:
        """It is answered."""
        self._connected, self._without = True, 0.0
        self._name, self._data = "", ""

    def line(self, text: str) -> Change | None:
        """One line; the change that it completes."""
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self._cursor = value
        elif name == "event":
            self._name = value
        elif name == "data":
            self._data = value
        elif name == "retry" and value.isdecimal():
            self._retry = int(value) / 1000
        elif not text and self._data:
            return self._change()
        return None

    def _change(self) -> Change:
        entity, event = json.loads(self._data), self._name
        self._name, self._data = "", ""
        return Change(event, str(entity.get("location", "")), self._cursor or "", entity)

    def pause(self, error: CmbsError | None) -> float:
        """Seconds until it is asked for again. Raises the error that stands in its way."""
        if error is not None and (not self._connected or not isinstance(error, Unavailable)):
            raise error
        self._without += self._retry
        if error is not None and self._patience is not None and self._without > self._patience:
            raise error
        return self._retry
