"""Tracks delivered messages that are still being executed, and asks for their outcome.

An outcome comes by itself, unless a restart or a broken connection cost it.
"""

from __future__ import annotations

import heapq
import logging
from dataclasses import dataclass

from msgspec.structs import replace

from pycmbs.engine.asked import Asked, new_id
from pycmbs.engine.probes import Probes, Way
from pycmbs.engine.requests import Sender
from pycmbs.errors import CmbsError, from_dict
from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.federation.seals import Seals
from pycmbs.services.records.deliveries import Delivery
from pycmbs.transport.envelope import INQUIRY, OUTCOME, REFUSAL, Envelope, encode

log = logging.getLogger(__name__)

_IDS = 4
"""How many inquiries about a row may still be answered, the newest, besides the message itself."""
_FIRST, _MOST = 1.0, 30.0
"""Seconds until it is asked for an outcome that did not come by itself; doubles with every time."""


@dataclass(slots=True)
class _Awaited:
    row: Delivery
    due: float
    pause: float
    ids: list[str]


class Awaiting:
    """Rows that await an outcome, by the envelopes that may be answered with it. Pure: no I/O."""

    def __init__(self) -> None:
        self._rows: dict[str, _Awaited] = {}
        self._by_envelope: dict[str, tuple[str, Asked]] = {}
        self._due: list[tuple[float, str]] = []
        """A heap; what is not due at the time that its row says is of the past."""

    def add(self, row: Delivery, now: float, envelope: str = "", asked: Asked | None = None) -> None:
        """Await the outcome for a row. ``envelope``: the id of what was ``asked`` and answered so far; empty after a restart,
        when it is asked at once."""
        known = self._rows.get(row.id)
        if known is not None:
            known.row = row
            return
        self._schedule(_Awaited(row, now + _FIRST if envelope else now, _FIRST, []))
        if envelope and asked is not None:
            self.asked(row.id, envelope, asked)

    def _schedule(self, one: _Awaited) -> None:
        self._rows[one.row.id] = one
        heapq.heappush(self._due, (one.due, one.row.id))

    def asked(self, row: str, envelope: str, asked: Asked) -> None:
        """An envelope went out that may be answered with the outcome for a row."""
        self._by_envelope[envelope] = row, asked
        ids = self._rows[row].ids
        ids.append(envelope)
        if len(ids) > _IDS + 1:
            self._by_envelope.pop(ids.pop(1), None)

    def expects(self, envelope: str) -> bool:
        """Whether an answer to this envelope may bring an outcome."""
        return envelope in self._by_envelope

    def answered(self, link: str, envelope: Envelope, now: float) -> Delivery | None:
        """The row as the answer over this link leaves it, which awaits nothing any more; None when it still does, or the answer
        does not count."""
        name, asked = self._by_envelope[envelope.id]
        if not asked.over(link) or not asked.of(envelope.sender):
            return None
        row = self._rows[name].row
        if envelope.type == REFUSAL and envelope.body.get("final"):
            error = from_dict(envelope.body.get("error"))
            self.drop(row.id)
            return replace(row.moved(now, row.state, error.line), awaiting_outcome=False)
        outcome = envelope.body.get("outcome")
        if envelope.type != OUTCOME or not isinstance(outcome, dict):
            return None
        self.drop(row.id)
        return row.with_outcome(now, outcome)

    def refresh(self, row: Delivery) -> None:
        """A row was stored in a new state."""
        if row.id in self._rows:
            self._rows[row.id].row = row

    def drop(self, row: str) -> dict[str, Asked]:
        """Stop awaiting a row's outcome; returns what was asked for it, by envelope."""
        awaited = self._rows.pop(row, None)
        ids = awaited.ids if awaited is not None else ()
        return {id: self._by_envelope.pop(id)[1] for id in ids if id in self._by_envelope}

    def due(self, now: float) -> list[Delivery]:
        """Rows whose outcome is to be asked for now; later again, after a longer pause."""
        found = []
        while self._due and self._due[0][0] <= now:
            at, row = heapq.heappop(self._due)
            one = self._rows.get(row)
            if one is not None and one.due == at:
                one.pause = min(2 * one.pause, _MOST)
                one.due = now + one.pause
                self._schedule(one)
                found.append(one.row)
        return found

    def next_event(self) -> float | None:
        """When the next one is to be asked for."""
        while self._due and ((one := self._rows.get(self._due[0][1])) is None or one.due != self._due[0][0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None


class Outcomes:
    """Sends inquiries; the answers go to whatever keeps what is awaited."""

    def __init__(
        self,
        awaiting: Awaiting,
        outbox: OutboxService,
        transports: Sender,
        probes: Probes,
        seals: Seals | None = None,
    ) -> None:
        self._seals = seals
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
                inquiry = Envelope(INQUIRY, id, own, body, to=row.member)
                if self._seals is not None and way.via:
                    inquiry = self._seals.closed(inquiry)
                self._transports.send(way.url, encode(inquiry), peer=way.via or row.member)
            except CmbsError as exc:
                log.info("the outcome of %s cannot be asked for: %s", row.message, exc)
