"""Deliveries as they are stored."""

from pycmbs.services.records.deliveries import DELIVERED, EXECUTED, PENDING, SENT, Delivery, delivery_from, delivery_of
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
    assert row.write().body == {name: value for name, value in STORED.items() if value not in ("", None)}
    assert delivery_of(row.body()) == delivery_of(STORED)
    assert delivery_of(STORED).answer == {"a": [1]}


BLANK = Delivery("/cmbs/message/m", 7, 0, 1, "b", "tcp://b:1", "l2", accepted=1.0, deadline=900.0)


def steps(row):
    """Its steps as the ledger shows them, by their states and reasons."""
    return [(one["state"], one.get("reason", "")) for one in row.entry()["history"]]


def test_a_row_to_which_nothing_happened_takes_no_more_room_than_it_has_to_say():
    """What is as it always is at the beginning is not stored."""
    assert set(BLANK.body()) == {
        "message", "round", "index", "of", "member", "socket", "layer", "accepted", "deadline",
    }  # fmt: skip
    assert "history" not in BLANK.entry()
    assert delivery_of(BLANK.body()) == BLANK


def test_the_history_has_every_state_in_order():
    """Each with its time and its reason; what repeats itself is told of once."""
    row = BLANK.moved(2.0, SENT, "no answer").moved(3.0, SENT, "no answer").moved(4.0, SENT, "no answer")
    row = row.settled(DELIVERED, 5.0).with_outcome(6.0, {"result": 1})
    assert steps(row) == [
        (PENDING, ""), (SENT, "no answer"), (DELIVERED, ""), (EXECUTED, ""),
    ]  # fmt: skip
    times = [one["at"] for one in row.entry()["history"]]
    assert times == sorted(times)
    assert len(times) == len(set(times))
    assert delivery_of(row.body()) == row


def test_a_history_is_bounded():
    """The first steps and the newest; and reasons are cut, since others say them."""
    row = BLANK
    for number in range(1, 40):
        row = row.moved(float(number), SENT, f"{number}" + "x" * 500)
    shown = steps(row.settled(DELIVERED, 50.0))
    assert len(shown) == 16
    assert [shown[0], shown[-1]] == [(PENDING, ""), (DELIVERED, "")]
    assert [shown[1][1][:2], shown[-2][1][:2]] == ["1x", "39"]
    assert max(len(reason) for _, reason in shown) == 200
