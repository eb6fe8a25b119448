"""Late answers to attempts that were given up or repeated: they correct the ledger."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from pycmbs import clock
from pycmbs.engine.answers import acknowledged
from pycmbs.engine.asked import Asked
from pycmbs.engine.awaiting import Awaiting
from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.records.deliveries import Delivery
from pycmbs.transport.envelope import ACK, OUTCOME, Envelope

_MOST = 10_000
LATE = "delivered late"
"""The reason of a row that was given up, and whose recipient has said since that it has the message."""


class Lapsed:
    """What was asked and not answered, the newest of it. An answer can come only as long as the link that it was asked on is
    there, so what an earlier engine asked need not be known."""

    def __init__(self, outbox: OutboxService, awaiting: Awaiting) -> None:
        self._outbox = outbox
        self._awaiting = awaiting
        self._asked: OrderedDict[str, tuple[str, Asked]] = OrderedDict()

    def add(self, id: str, row: str, asked: Asked) -> None:
        """An envelope that was not answered, and the id of the row that it is about."""
        self._asked[id] = row, asked
        if len(self._asked) > _MOST:
            self._asked.popitem(last=False)

    def expects(self, id: str) -> bool:
        """Whether this is an answer to one of them."""
        return id in self._asked

    def answered(self, link: str, envelope: Envelope, tried: Callable[[Delivery], Delivery]) -> Delivery | None:
        """The row as an answer over this link leaves it, and as it is stored then; None if it leaves it alone. ``tried``: the
        row with the attempt that is under way, if one is. Raises Unavailable."""
        name, asked = self._asked[envelope.id]
        if not asked.over(link) or not asked.of(envelope.sender) or envelope.type not in (ACK, OUTCOME):
            return None  # a refusal says nothing of other attempts
        row = self._outbox.row(name)
        if row is None:
            return None
        now = clock.now()
        reason = "" if row.open or row.arrived else LATE
        known = acknowledged(
            tried(row), {**envelope.body, "reply": envelope.body.get("reply") or row.answer}, now, reason
        )
        if (not known.arrived and known.outcome is None) or known.rank <= row.rank:
            return None
        corrected = self._outbox.correct(known)
        if corrected is not None and corrected.awaiting_outcome:
            self._awaiting.add(corrected, time.monotonic(), envelope.id, asked)
        return corrected
