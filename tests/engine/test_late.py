"""Rows that become visible after rows with higher numbers, as in a store that numbers documents before it writes them."""

from __future__ import annotations

import pytest

from pycmbs.engine.late import LateRows
from pycmbs.engine.route import Route
from pycmbs.services.deliveries import Delivery
from tests.engine.test_route import row as make_row
from tests.engine.test_route import send


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


@pytest.fixture
def outbox() -> Outbox:
    """An empty one."""
    return Outbox()


@pytest.fixture
def late(outbox: Outbox) -> LateRows:
    """Rows numbered above zero may be late."""
    made = LateRows(outbox)  # type: ignore[arg-type]
    assert made.read(0) == []
    return made


def numbers(rows: list[Delivery]) -> list[int]:
    """Theirs."""
    return [one.number for one in rows]


def test_a_late_row_is_found_once(outbox: Outbox, late: LateRows) -> None:
    """What appears behind the cursor is found by the next look, and not by the one after that."""
    outbox.rows = [make_row(10), make_row(12)]
    late.note(outbox.rows)
    assert late.read(12) == []
    outbox.rows += [make_row(11), make_row(13)]
    assert numbers(late.read(12)) == [11]
    assert late.read(12) == []


def test_what_is_settled_is_forgotten(outbox: Outbox, late: LateRows) -> None:
    """The numbers in memory are those above what the store calls settled, and nobody looks below that again."""
    outbox.rows = [make_row(10), make_row(12)]
    late.note(outbox.rows)
    outbox.settled = 11
    late.read(12)
    assert list(late._seen.values()) == [12]
    outbox.rows += [make_row(9)]
    assert late.read(12) == []


def test_a_store_in_order_costs_nothing(outbox: Outbox) -> None:
    """Where rows appear in the order of their numbers nobody looks behind, and nothing is remembered."""
    outbox.settled = None
    late = LateRows(outbox)  # type: ignore[arg-type]
    outbox.rows = [make_row(10)]
    late.note(outbox.rows)
    assert (late.read(10), late._seen) == ([], {})


def test_a_late_row_goes_last() -> None:
    """A route takes it in after those it has, since it was accepted last; one beyond what fits is read when there is room."""
    route = Route(4, 0.5, 30.0)
    for number in (10, 12):
        route.admit(make_row(number))
    route.admit_late(make_row(11))
    assert numbers(list(route.queue)) == [10, 12, 11]
    route.admit(make_row(14))
    route.admit_late(make_row(15))
    assert (numbers(list(route.queue)), route.more) == ([10, 12, 11, 14], True)


def test_a_late_row_survives_a_failure() -> None:
    """When all but one row are left to the store, the one with the lowest number stays, so that the others are read again."""
    route = Route(4, 0.5, 30.0)
    route.admit(make_row(12))
    send(route)
    route.admit_late(make_row(11))
    route.failed(0.0, "no answer")
    assert (numbers(list(route.queue)), route.cursor, route.more) == ([11], 11, True)
