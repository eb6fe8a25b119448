"""Recipients that have their message and execute it: whose outcome is awaited, and when to ask for it. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from pycmbs.engine.asked import Asked
from pycmbs.errors import from_dict
from pycmbs.services.deliveries import Delivery
from pycmbs.transport.envelope import OUTCOME, REFUSAL, Envelope

_FIRST, _MOST = 1.0, 30.0
"""Seconds until it is asked for an outcome that did not come by itself; doubles with every time."""


@dataclass(slots=True)
class _Awaited:
    row: Delivery
    due: float
    pause: float
    ids: list[str]


class Awaiting:
    """Rows that await an outcome, by the envelopes that may be answered with it."""

    def __init__(self) -> None:
        self._rows: dict[str, _Awaited] = {}
        self._by_envelope: dict[str, tuple[str, Asked]] = {}

    def add(self, row: Delivery, now: float, envelope: str = "", asked: Asked | None = None) -> None:
        """Await the outcome for a row. ``envelope``: the id of what was ``asked`` and answered so far; empty after a restart,
        when it is asked at once."""
        known = self._rows.get(row.id)
        if known is not None:
            known.row = row
            return
        self._rows[row.id] = _Awaited(row, now + _FIRST if envelope else now, _FIRST, [])
        if envelope and asked is not None:
            self.asked(row.id, envelope, asked)

    def asked(self, row: str, envelope: str, asked: Asked) -> None:
        """An envelope went out that may be answered with the outcome for a row."""
        self._by_envelope[envelope] = row, asked
        self._rows[row].ids.append(envelope)

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
            return replace(row, awaits=False, updated=now, reason=error.line)
        outcome = envelope.body.get("outcome")
        if envelope.type != OUTCOME or not isinstance(outcome, dict):
            return None
        self.drop(row.id)
        return row.with_outcome(now, outcome)

    def refresh(self, row: Delivery) -> None:
        """A row was stored anew."""
        if row.id in self._rows:
            self._rows[row.id].row = row

    def drop(self, row: str) -> dict[str, Asked]:
        """Await a row's outcome no more; returns what was asked for it, by envelope."""
        awaited = self._rows.pop(row, None)
        ids = awaited.ids if awaited is not None else ()
        return {id: self._by_envelope.pop(id)[1] for id in ids if id in self._by_envelope}

    def due(self, now: float) -> list[Delivery]:
        """Rows whose outcome is to be asked for now; later again, after a longer pause."""
        found = [one for one in self._rows.values() if one.due <= now]
        for one in found:
            one.pause = min(2 * one.pause, _MOST)
            one.due = now + one.pause
        return [one.row for one in found]

    def next_event(self) -> float | None:
        """When the next one is to be asked for."""
        return min((one.due for one in self._rows.values()), default=None)
