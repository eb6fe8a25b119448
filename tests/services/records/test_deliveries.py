"""Deliveries as they are stored."""

from pycmbs.services.records.deliveries import delivery_from, delivery_of
from pycmbs.store.base import Document

STORED = {
    "message": "/cmbs/message/m", "round": 7, "index": 1, "of": 3, "member": "b", "socket": "tcp://b:1", "layer": "l2",
    "accepted": 1, "deadline": 9.5, "state": "delivered", "attempts": 2, "vain": 1, "updated": 2.5, "reason": "",
    "why": "all members", "answer": {"a": [1]}, "awaits": True, "outcome": None,
}  # fmt: skip
"""A row as version 0.3 wrote it."""


def test_a_row_of_an_earlier_version_is_read_and_written_as_it_was():
    """The fields have other names in the code than in a store, where they keep those of version 0.3."""
    row = delivery_from(Document("delivery:/cmbs/message/m:7:1", "delivery", STORED, revision="r", number=4))
    assert (row.recipient_count, row.awaiting_outcome, row.accepted, row.revision, row.number) == (3, True, 1.0, "r", 4)
    assert row.write().body == STORED
    assert delivery_of(row.body()) == delivery_of(STORED)
    assert delivery_of(STORED).answer == {"a": [1]}
