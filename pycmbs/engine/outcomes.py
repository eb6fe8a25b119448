"""Asks for outcomes that did not come by themselves: somebody was restarted, or a connection broke."""

from __future__ import annotations

import logging

from pycmbs.engine.asked import Asked, new_id
from pycmbs.engine.awaiting import Awaiting
from pycmbs.engine.probes import Probes, Way
from pycmbs.engine.requests import Sender
from pycmbs.errors import CmbsError
from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.transport.envelope import INQUIRY, Envelope, encode

log = logging.getLogger(__name__)


class Outcomes:
    """Sends inquiries; the answers come to whoever keeps what is awaited."""

    def __init__(self, awaiting: Awaiting, outbox: OutboxService, transports: Sender, probes: Probes) -> None:
        self._awaiting = awaiting
        self._outbox = outbox
        self._transports = transports
        self._probes = probes

    def ask(self, now: float) -> None:
        """Send what is due."""
        for row in self._awaiting.due(now):
            way = self._probes.way(row.member, row.layer) if row.member else Way(row.socket, "")
            own = self._outbox.sender()
            if way is None or not own:
                continue
            body = {"message": row.message.rpartition("/")[2], "round": row.round}
            id = new_id()
            self._awaiting.asked(row.id, id, Asked(way.url, row.member, relayed=bool(way.via)))
            try:
                self._transports.send(way.url, encode(Envelope(INQUIRY, id, own, body, to=row.member)))
            except CmbsError as exc:
                log.info("the outcome of %s cannot be asked for: %s", row.message, exc)
