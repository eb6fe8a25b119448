"""Time that only goes on, whatever is done to the wall clock."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pycmbs import clock


@pytest.fixture(autouse=True)
def _as_it_was():
    origin = clock._origin
    yield
    clock.begin(origin)


def test_a_clock_that_is_set_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time goes on as before, and is shown as the wall clock has it."""
    wall = time.time
    before = clock.now()
    assert clock.ahead() == 0
    monkeypatch.setattr(time, "time", lambda: wall() + 3 * 86400)
    assert 0 <= clock.now() - before < 60
    assert clock.ahead() == pytest.approx(3 * 86400, abs=60)
    assert clock.by_wall(before) == before + clock.ahead()


def test_a_slow_correction_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a second nothing is shown otherwise, so that what was read twice is the same."""
    wall = time.time
    clock.begin(wall() - clock._forward())
    monkeypatch.setattr(time, "time", lambda: wall() + 0.4)
    assert clock.by_wall(12.5) == 12.5


def test_the_next_broker_counts_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the wall clock says meanwhile; but not once the machine was restarted, or the file is unreadable."""
    file, wall = tmp_path / "clock.json", time.time
    origin = clock.resumed(file)
    monkeypatch.setattr(time, "time", lambda: wall() + 3600)
    assert clock.resumed(file) == origin
    kept = json.loads(file.read_text())
    for text in (
        json.dumps({**kept, "boot": "another"}),
        "",
        "[]",
        '{"boot": 1}',
        json.dumps({**kept, "origin": None}),
    ):
        file.write_text(text)
        assert clock.resumed(file) - origin == pytest.approx(3600, abs=60)
        assert json.loads(file.read_text())["boot"] == kept["boot"]


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    """The broker starts all the same."""
    assert clock.resumed(tmp_path / "nowhere" / "clock.json") == pytest.approx(clock._origin, abs=60)
