"""The access log says what was refused, and a flood of refused requests does not fill the disk."""

from __future__ import annotations

import logging

import pytest

from pycmbs.wsgi import access_log
from pycmbs.wsgi.access_log import MOST_LINES, AccessLog
from tests.wsgi.conftest import Front

FLOOD = 10 * MOST_LINES


class Clock:
    """A runtime and a clock that are told what time it is."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        self.due = []
        monkeypatch.setattr(access_log.time, "monotonic", lambda: self.now)

    def spawn(self, _name, work):
        """It is done with the next second."""
        self.due.append(work)

    def sleep(self, seconds):
        """It is over."""
        assert seconds == 1.0

    def next_second(self):
        """All that waited for it is done."""
        self.now += 1.0
        due, self.due = self.due, []
        for work in due:
            work()


@pytest.fixture
def clock(monkeypatch, caplog):
    """One, with all lines kept."""
    caplog.set_level(logging.INFO, "pycmbs.access")
    return Clock(monkeypatch)


def note(log, status, times=1):
    """Requests with this answer."""
    for _ in range(times):
        log.note({"REQUEST_METHOD": "GET", "PATH_INFO": "/x"}, "id", status, 0.001, {})


def test_a_flood_of_refused_requests_is_some_lines_a_second_and_a_number(clock, caplog):
    """None is lost from the number, and the next second has lines again."""
    log = AccessLog(clock, "errors")
    for second in range(3):
        note(log, "401 Unauthorized", FLOOD)
        clock.next_second()
        assert len(caplog.messages) == (second + 1) * (MOST_LINES + 1)
        assert caplog.messages[-1].startswith(f"{FLOOD - MOST_LINES} more requests were answered with 4xx")
    clock.next_second()
    note(log, "404 Not Found")
    assert len(caplog.messages) == 3 * (MOST_LINES + 1) + 1
    assert clock.due == []


def test_refusals_leave_room_for_failures(clock, caplog):
    """What the broker itself does wrong is not hidden by what others do."""
    log = AccessLog(clock, "errors")
    note(log, "401 Unauthorized", FLOOD)
    note(log, "503 Service Unavailable")
    assert " 503 " in caplog.messages[-1]


def test_what_was_left_out_is_said_when_the_process_ends(clock, caplog):
    """Once."""
    log = AccessLog(clock, "errors")
    note(log, "401 Unauthorized", MOST_LINES + 7)
    log.flush()
    clock.next_second()
    assert caplog.messages[MOST_LINES:] == [
        f"7 more requests were answered with 4xx, and have no lines: there are {MOST_LINES} a second"
    ]


def test_who_wants_all_lines_gets_all(clock, caplog):
    """Then errors are no more than the rest."""
    note(AccessLog(clock, "all"), "401 Unauthorized", FLOOD)
    assert len(caplog.messages) == FLOOD


def test_a_front_bounds_what_it_writes(caplog):
    """Any error counts, with any client."""
    caplog.set_level(logging.INFO, "pycmbs.access")
    front = Front(access_log="errors")
    for _ in range(2 * MOST_LINES):
        assert front.request("GET", "/nothing/here").status_code == 404
    front.application.close()
    lines = [one for one in caplog.messages if " 404 " in one]
    seconds = 1 + max(one.created for one in caplog.records) - min(one.created for one in caplog.records)
    assert len(lines) <= MOST_LINES * (seconds + 1)
    left_out = sum(int(one.split()[0]) for one in caplog.messages if "more requests" in one)
    assert len(lines) + left_out == 2 * MOST_LINES
