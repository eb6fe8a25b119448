"""Rows that become visible after rows with higher numbers, as in a store that numbers documents before it writes them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pycmbs.engine.inquiry import Inquiries
from pycmbs.engine.outbound import Outbound
from pycmbs.services.deliveries import Delivery
from tests.engine.test_route import row as make_row


class Outbox:
    """What the store holds now; ``settled``: what it says of numbers."""

    def __init__(self) -> None:
        self.rows: list[Delivery] = []
        self.settled: int | None = 0

    def pending(self, *, after: int, limit: int, route: str = "") -> list[Delivery]:
        """As the service of this name."""
        found = [one for one in self.rows if one.number > after and route in ("", one.route)]
        return sorted(found, key=lambda one: one.number)[:limit]

    def settled_before(self) -> int | None:
        """As the service of this name."""
        return self.settled

    def overdue(self, now: float, limit: int) -> list[Delivery]:
        """Nothing is."""
        return []


@pytest.fixture
def outbox() -> Outbox:
    """An empty one."""
    return Outbox()


@pytest.fixture
def outbound(outbox: Outbox) -> Outbound:
    """Not started: its turns are taken by hand."""
    made = Outbound(outbox, None, Inquiries(None), window=4, retry_first=1, retry_most=1, poll=0)  # type: ignore[arg-type]
    made._load_late()
    return made


def queued(outbound: Outbound) -> list[int]:
    """The numbers of the rows that wait, in their order."""
    return [one.number for route in outbound._routes.values() for one in route.queue]


def test_a_late_row_is_sent_once(outbox: Outbox, outbound: Outbound) -> None:
    """It is taken in with the next look behind the cursor, after the others, and not again with the one after that."""
    first, late, last = (make_row(number) for number in (10, 11, 12))
    outbox.rows = [first, last]
    outbound._load()
    assert queued(outbound) == [10, 12]
    outbox.rows.append(late)
    outbound._load()
    for _ in range(2):
        outbound._load_late()
        assert queued(outbound) == [10, 12, 11]


def test_what_did_not_fit_is_not_doubled(outbox: Outbox, outbound: Outbound) -> None:
    """Rows beyond the window are read when there is room, late or not, each once."""
    outbox.rows = [make_row(number) for number in (10, 12, 14, 16, 18, 20)]
    outbound._load()
    outbox.rows += [make_row(13), make_row(19)]
    outbound._load_late()
    (route,) = outbound._routes.values()
    assert queued(outbound) == [10, 12, 14, 16, 13]
    route.queue.clear()
    outbound._load()
    assert queued(outbound) == [18, 19, 20]


def test_what_is_settled_is_forgotten(outbox: Outbox, outbound: Outbound) -> None:
    """The numbers in memory are those above what the store calls settled."""
    outbox.rows = [make_row(number) for number in (10, 12)]
    outbound._load()
    outbox.settled = 11
    outbound._load_late()
    assert list(outbound._seen.values()) == [12]


def test_a_store_in_order_costs_nothing(outbox: Outbox, outbound: Outbound) -> None:
    """Where documents appear in the order of their numbers nobody looks behind, and nothing is remembered."""
    outbox.settled = None
    outbound._load_late()
    outbox.rows = [replace(make_row(10))]
    outbound._load()
    outbound._load_late()
    assert (outbound._seen, queued(outbound)) == ({}, [10])
