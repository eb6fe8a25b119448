"""Guessing passwords: how fast, and what it costs others."""

import threading
import time

import pytest

from pycmbs.errors import QueueFull, TooManyAttempts
from pycmbs.runtime import ThreadRuntime
from pycmbs.wsgi import attempts
from pycmbs.wsgi.attempts import Attempts, Desk


def pause(one, user="u", address="192.0.2.1"):
    """For how long the next password is not looked at."""
    try:
        one.begin(user, address)
    except TooManyAttempts as exc:
        return exc.retry_after
    return 0


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when told."""
    now = [1000.0]
    monkeypatch.setattr(attempts.time, "monotonic", lambda: now[0])
    return now


def test_wrong_ones_have_pauses_that_grow(tmp_path, clock):
    """After five: one second, two, four, to thirty; whatever comes in between is not looked at."""
    one = Attempts(tmp_path / "attempts")
    assert [pause(one) for _ in range(5)] == [0] * 5
    for expected in (1, 2, 4, 8, 16, 30, 30):
        assert expected <= pause(one) <= expected + 1
        clock[0] += expected - 0.5
        assert pause(one) == 1
        clock[0] += 0.6
        assert pause(one) == 0
    clock[0] += attempts.FORGET_SECONDS + 1
    assert [pause(one) for _ in range(5)] == [0] * 5


def test_others_are_not_held_up(tmp_path, clock):
    """Another user from there, the same user from elsewhere; of IPv6 a network is one place."""
    one = Attempts(tmp_path / "attempts")
    for _ in range(6):
        pause(one)
    assert pause(one) > 0
    assert pause(one, user="v") == 0
    assert pause(one, address="192.0.2.2") == 0
    for number in range(6):
        pause(one, address=f"2001:db8::{number}")
    assert pause(one, address="2001:db8::ffff") > 0
    assert pause(one, address="2001:db8:0:1::1") == 0


def test_the_right_one_ends_the_count(tmp_path, clock):
    """Who mistyped his own is as before."""
    one = Attempts(tmp_path / "attempts")
    for _ in range(4):
        pause(one)
    one.right("u", "192.0.2.1")
    assert [pause(one) for _ in range(5)] == [0] * 5


def test_the_count_is_of_all_fronts(tmp_path, clock):
    """They share a file; without a place for it each counts for itself."""
    some = [Attempts(tmp_path / "attempts") for _ in range(2)]
    assert [pause(some[number % 2]) for number in range(5)] == [0] * 5
    assert all(pause(one) > 0 for one in some)
    assert pause(Attempts(tmp_path / "nowhere" / "attempts")) == 0


def test_very_many_forget_the_oldest(tmp_path, clock):
    """The file has its size, whoever guesses."""
    one = Attempts(tmp_path / "attempts")
    for number in range(10_000):
        clock[0] += 0.001
        pause(one, user=f"u{number}")
    assert (tmp_path / "attempts").stat().st_size == attempts._SIZE


def test_a_few_are_looked_at_at_a_time(monkeypatch):
    """Two, whoever waits; and beyond a hundred that wait, the next is told to come again."""
    monkeypatch.setattr(attempts, "MOST_WAITING", 3)
    desk, busy, most, gate = Desk(ThreadRuntime()), [], [], threading.Event()

    def work():
        busy.append(1)
        most.append(len(busy))
        gate.wait(10)
        busy.pop()

    threads = [threading.Thread(target=desk.look, args=(work,)) for _ in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        deadline = time.monotonic() + 10
        while desk._busy + len(desk._queue) < number + 1 and time.monotonic() < deadline:
            time.sleep(0.001)
    with pytest.raises(QueueFull):
        desk.look(work)
    gate.set()
    for thread in threads:
        thread.join(10)
    assert max(most) == 2


def test_so_many_in_a_second(monkeypatch):
    """Twenty at once, and then twenty a second."""
    now, slept = [0.0], []
    monkeypatch.setattr(attempts.time, "monotonic", lambda: now[0])
    runtime = ThreadRuntime()
    monkeypatch.setattr(runtime, "sleep", slept.append)
    desk = Desk(runtime)
    for _ in range(30):
        desk.look(lambda: None)
    assert len(slept) in (10, 11)
    assert slept[-1] == pytest.approx(0.5)
