"""Rows are read once they are written, in whatever order their numbers appear."""

from __future__ import annotations

import functools
import time
import uuid

import pytest
from msgspec.structs import replace

from pycmbs.engine.accepted import AcceptedRows
from pycmbs.engine.route import Route
from pycmbs.occi.entity import Invocation
from pycmbs.services.records.deliveries import DELIVERED, Delivery
from pycmbs.store.couchdb.documents import Clock
from tests.engine.test_route import refill, send
from tests.engine.test_route import row as make_row
from tests.services.world import add_member, add_message, add_own, make_broker
from tests.store.couchdb.test_store import open_one


class Outbox:
    """What the store holds now, and the order in which it was written; ``ordered``: whether numbers tell that."""

    def __init__(self, *, ordered: bool = False) -> None:
        self.feed: list[Delivery] = []
        self.ordered = ordered

    def pending(self, *, after: int, limit: int) -> list[Delivery]:
        """As the service of this name."""
        found = [one for one in self.feed if one.number > after and one.unsettled]
        return sorted(found, key=lambda one: one.number)[:limit]

    def latest(self) -> str:
        """As the service of this name."""
        return "" if self.ordered else str(len(self.feed))

    def changed(self, since: str, limit: int) -> tuple[list[Delivery], str, bool]:
        """As the service of this name."""
        assert not self.ordered
        page = self.feed[int(since) :][:limit]
        return [one for one in page if one.unsettled], str(int(since) + len(page)), len(page) == limit


def read(rows: AcceptedRows) -> list[int]:
    """The numbers of what there is to be read."""
    return [one.number for page in rows.pages() for one in page]


@pytest.mark.parametrize("ordered", [True, False])
def test_rows_are_read_once(ordered: bool) -> None:
    """What is there at first, in pages, and what comes later."""
    outbox = Outbox(ordered=ordered)
    outbox.feed = [make_row(number) for number in range(1, 1201)]
    rows = AcceptedRows(outbox)  # type: ignore[arg-type]
    assert read(rows) == list(range(1, 1201))
    assert read(rows) == []
    outbox.feed += [make_row(number) for number in range(1201, 1212)]
    assert read(rows) == list(range(1201, 1212))


def test_a_row_of_a_clock_that_is_behind_is_read() -> None:
    """However low its number is: what counts is when it was written."""
    outbox = Outbox()
    outbox.feed = [make_row(10**9)]
    rows = AcceptedRows(outbox)  # type: ignore[arg-type]
    assert read(rows) == [10**9]
    outbox.feed += [make_row(3), make_row(10**9 + 1), make_row(2)]
    assert read(rows) == [3, 10**9 + 1, 2]


def test_what_is_settled_is_not_read_again() -> None:
    """The feed tells of it, and it is no row to be sent."""
    outbox = Outbox()
    rows = AcceptedRows(outbox)  # type: ignore[arg-type]
    assert read(rows) == []
    outbox.feed += [replace(make_row(1), state=DELIVERED), make_row(2)]
    assert read(rows) == [2]


def test_a_page_that_could_not_be_used_is_read_again() -> None:
    """Who fails in the middle of a page has not read it."""
    outbox = Outbox()
    rows = AcceptedRows(outbox)  # type: ignore[arg-type]
    assert read(rows) == []
    outbox.feed += [make_row(1)]
    for page in rows.pages():
        assert page
        break
    assert read(rows) == [1]


def test_a_front_whose_clock_is_behind_is_heard(couchdb_url: str) -> None:
    """On CouchDB numbers are the writer's clock: what a front accepts a minute before the present is sent at once all the same,
    and what its clock says has no say in what is seen of it again."""
    store = open_one(couchdb_url)
    broker = make_broker(store)
    add_own(broker)
    add_member(broker, str(uuid.uuid4()), 1)
    rows = AcceptedRows(broker.outbox)
    broker.entities.act(add_message(broker, "l2", "now").path, Invocation("send_l2"))
    assert len(read(rows)) == 1
    clock = store._writer._clock
    clock._last, clock.next = 0, functools.partial(_behind, clock)  # type: ignore[method-assign]
    broker.entities.act(add_message(broker, "l2", "behind").path, Invocation("send_l2"))
    (number,) = read(rows)
    assert number < read(AcceptedRows(broker.outbox))[-1]
    assert read(rows) == []
    store.close()


def _behind(clock: Clock) -> int:
    clock._last = max(clock._last + 1, time.time_ns() // 1000 - 60_000_000)
    return (clock._last << 40) | clock._node


def numbers(rows: list[Delivery]) -> list[int]:
    """Theirs."""
    return [one.number for one in rows]


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


def test_late_rows_are_left_to_the_store_where_there_is_no_room() -> None:
    """However many come late, a route holds no more than its window; it reads all in the end, and each once."""
    route = Route(4, 0.5, 30.0)
    late, usual = list(range(1, 21)), list(range(100, 104))
    for number in usual:
        route.admit(make_row(number))
    sent = send(route)
    for number in late:
        route.admit_late(make_row(number))
    assert len(route.queue) + len(route.flights) <= 4
    there = [*late, *usual]
    while there:
        for id in list(route.flights):
            answered = route.answered(id)
            assert answered is not None
            there.remove(answered.row.number)
        if route.more and route.room:
            refill(route, there)
        sent += send(route)
    assert sorted(sent) == [*late, *usual]
