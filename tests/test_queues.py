"""Queues that are bounded in number and in bytes."""

from __future__ import annotations

import logging

import pytest

from pycmbs import seldom
from pycmbs.queues import SMALL, BoundedQueue, Budget
from pycmbs.seldom import Seldom


def test_a_queue_is_bounded_in_number() -> None:
    """No more items are taken than the queue may have, however small, until some are taken out."""
    queue: BoundedQueue[int] = BoundedQueue(3, 10**9)
    assert [queue.offer(one, 1) for one in range(5)] == [True, True, True, False, False]
    assert queue.turn(2, 10**9) == [0, 1]
    assert queue.offer(5, 1)
    assert queue.turn(9, 10**9) == [2, 5]


def test_a_queue_is_bounded_in_bytes() -> None:
    """No more bytes are taken than the queue may have, but for a single item, and for small ones."""
    queue: BoundedQueue[str] = BoundedQueue(100, 10 * SMALL)
    assert queue.offer("large", 8 * SMALL)
    assert not queue.offer("too much", 3 * SMALL)
    assert queue.offer("small", SMALL)
    assert queue.turn(9, 10**9) == ["large", "small"]
    assert queue.offer("a giant, alone", 100 * SMALL)
    assert queue.turn(9, 10**9) == ["a giant, alone"]


def test_a_turn_is_bounded_in_bytes() -> None:
    """A turn ends with the item that makes it large enough; what is left comes in the next one."""
    queue: BoundedQueue[int] = BoundedQueue(100, 10**9)
    for one in range(5):
        queue.offer(one, 10)
    assert queue.turn(100, 20) == [0, 1]
    assert queue.turn(100, 21) == [2, 3, 4]
    assert queue.turn(100, 20, timeout=0) == []


def test_what_is_put_takes_no_room() -> None:
    """What the broker says to itself gets into a queue that others have filled."""
    queue: BoundedQueue[str] = BoundedQueue(1, 1)
    assert queue.offer("from others", 10)
    queue.put("stop")
    assert queue.turn(9, 10**9) == ["from others", "stop"]


def test_a_budget_is_shared() -> None:
    """What one place has taken another one lacks, until it is given back."""
    budget = Budget(10 * SMALL)
    assert budget.take(6 * SMALL)
    assert not budget.take(6 * SMALL)
    budget.give(6 * SMALL)
    assert budget.take(6 * SMALL)


def test_what_happens_often_is_logged_seldom(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line in a while, which says how many others there were."""
    now = [1000.0]
    monkeypatch.setattr("pycmbs.seldom.time.monotonic", lambda: now[0])
    say = Seldom(logging.getLogger("test"))
    for one in range(1000):
        say("number %d is dropped", one)
    now[0] += seldom.SECONDS
    say("number %d is dropped", 1000)
    assert [one.getMessage() for one in caplog.records] == [
        "number 0 is dropped",
        "number 1000 is dropped (and 999 more like it)",
    ]
