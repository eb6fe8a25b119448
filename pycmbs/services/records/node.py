"""Keeps a store to one broker at a time (ADR 26).

A document says which, and is renewed for as long as that broker runs. Whether it still is, no wall clock decides: who
wants the store watches the document's revision, by its own clock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from pycmbs.errors import ConfigurationError, RevisionConflict, Unavailable
from pycmbs.store.base import Document, Store, Write

log = logging.getLogger(__name__)

NODE = "node"
_ID = "node:broker"
RENEW_SECONDS = 2.0
"""Between two renewals."""
DEAD_SECONDS = 10.0
"""A document that is not renewed for so long is of a broker that has ended."""
_LOOK_SECONDS = 0.2


class Node(Struct, frozen=True):
    """A broker as others see it who want its store.

    ``identity`` is its home's, and another one in a copy of that. ``life`` is this run's: two brokers of one identity have two.
    """

    identity: str
    life: str
    home: str
    host: str
    pid: int

    def body(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)


class NodeService:
    """Takes a store for a broker, and keeps it."""

    def __init__(self, store: Store, node: Node) -> None:
        self._store = store
        self._node = node
        self._revision: str | None = None
        self._closing = threading.Event()

    def take(self, sleep: Callable[[float], object] = time.sleep) -> None:
        """Take the store. At once if it is free, or this home had it; if another one has, after watching whether that lives.

        Raises ConfigurationError if it does; StoreUnavailable."""
        while True:
            found = self.look(sleep)
            if self._write(found.revision if found is not None else None):
                return

    def look(self, sleep: Callable[[float], object] = time.sleep) -> Document | None:
        """The document of the broker that has, or had, the store. Raises ConfigurationError if that is another home's
        broker, and runs; StoreUnavailable."""
        found = self._store.get(_ID)
        if found is not None and found.body.get("identity") != self._node.identity:
            if self._lives(found, sleep):
                raise ConfigurationError(self._who(found), hint=_HINT)
            log.warning("taking over the store of %s, which is silent", _described(found))
        return found

    def _lives(self, found: Document, sleep: Callable[[float], object]) -> bool:
        """Whether its document changes while one looks."""
        log.info("the store belongs to %s: checking whether that still runs", _described(found))
        end = time.monotonic() + DEAD_SECONDS
        while time.monotonic() < end:
            sleep(_LOOK_SECONDS)
            now = self._store.get(_ID)
            if now is None:
                return False  # it was given back
            if now.revision != found.revision:
                return True
        return False

    def _write(self, revision: str | None) -> bool:
        """Whether the document could be written over this revision."""
        try:
            (written,) = self._store.write([Write(_ID, NODE, self._node.body(), revision=revision)])
        except RevisionConflict:
            return False
        self._revision = written.revision
        return True

    def renew(self) -> None:
        """Say that this broker still runs. Raises ConfigurationError when the store is another's now; StoreUnavailable."""
        while not self._write(self._revision):
            found = self._store.get(_ID)
            if found is not None and found.body.get("life") != self._node.life:
                raise ConfigurationError(self._who(found), hint=_HINT)
            # What was written and not acknowledged, or a process of this broker; or a copy, which never has the document.
            self._revision = found.revision if found is not None else None

    def keep(self, lost: Callable[[ConfigurationError], object]) -> None:
        """Renew from now on until :meth:`stop`. ``lost`` is called, and this returns, if another broker has the store."""
        while not self._closing.wait(RENEW_SECONDS):
            try:
                self.renew()
            except Unavailable as exc:
                log.debug("the store could not be told that this broker runs: %s", exc)
            except ConfigurationError as exc:
                self._revision = None
                lost(exc)
                return

    def stop(self) -> None:
        """Stop renewing."""
        self._closing.set()

    def release(self) -> None:
        """Give the store back: the next one need not wait."""
        if self._revision is not None:
            try:
                self._store.write([Write(_ID, NODE, revision=self._revision, delete=True)])
            except (RevisionConflict, Unavailable) as exc:
                log.info("the store could not be released: %s", exc)

    def _who(self, found: Document) -> str:
        return f"the store {self._store.url} is used by {_described(found)}"


_HINT = "Stop that one, or name another store with --store."


def _described(found: Document) -> str:
    told = {name: str(found.body.get(name, "unknown")) for name in ("home", "host", "pid")}
    return f"another broker, with the home {told['home']} on {told['host']} (pid {told['pid']})"
