"""Background thread that deletes expired records. Deliveries expire in outbound.py."""

from __future__ import annotations

import logging
import threading

from pycmbs.errors import Unavailable
from pycmbs.services.delivery.inbox import InboxService
from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.delivery.retention import RetentionService
from pycmbs.services.federation.gossip import FederationService
from pycmbs.store.base import Store
from pycmbs.workers import new_thread

log = logging.getLogger(__name__)

_SECONDS = 60.0
_FIRST_SECONDS = 1.0


class Housekeeping:
    """Every minute: states behind their rows are brought up to date, what is old goes, and its space is given back."""

    def __init__(
        self,
        store: Store,
        outbox: OutboxService,
        inbox: InboxService,
        federation: FederationService,
        retention: RetentionService,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._inbox = inbox
        self._federation = federation
        self._retention = retention
        self._closing = threading.Event()

    def start(self) -> None:
        """Begin to work, after a second."""
        new_thread("housekeeping", self._run, vital=True).start()

    def close(self) -> None:
        """Stop after the commit under way."""
        self._closing.set()

    def _run(self) -> None:
        pause = _FIRST_SECONDS
        while not self._closing.wait(pause):
            pause = _SECONDS
            try:
                self._work()
            except Unavailable as exc:
                log.warning("housekeeping is paused: %s", exc)
            except Exception:
                log.exception("housekeeping failed; it is tried again")

    def _work(self) -> None:
        self._outbox.reconcile()
        while self._inbox.forget_receipts() or self._federation.departures.forget():
            if self._closing.is_set():
                return
        gone = self._retention.expire(self._closing.wait)
        if gone:
            log.info("%d settled messages were past their retention time and are removed", gone)
        if not self._closing.is_set():
            self._store.compact()
