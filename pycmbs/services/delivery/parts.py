"""Maps changes of delivery documents to changes of their message."""

from __future__ import annotations

from pycmbs.occi import cmbs
from pycmbs.services.entities.feed import Part
from pycmbs.services.federation.health import HEALTH
from pycmbs.services.records.deliveries import DELIVERY, message_of


def _member_of(document: str) -> str:
    return cmbs.MEMBER_LOCATION + document.partition(":")[2]


PARTS: dict[str, Part] = {DELIVERY: message_of, HEALTH: _member_of}
"""By the type of document: rows of a message's ledger, and a member's health."""
