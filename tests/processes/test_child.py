"""What a child of the supervisor does before it serves."""

from __future__ import annotations

import gc
import json
import os

from pycmbs.config import Settings
from pycmbs.processes.child import READY, Child
from pycmbs.processes.forked import run_forked


def test_what_is_made_before_it_serves_is_not_looked_through_again() -> None:
    """A child that says that it serves has left its garbage collector little to do: nothing of the start, and not so often."""

    def work() -> str:
        reader, writer = os.pipe()
        Child("front", 0, Settings(), writer, -1, -1, 0.0).announce_ready()
        return json.dumps([os.read(reader, 9).decode(), gc.get_freeze_count(), gc.get_threshold()[0], gc.isenabled()])

    said, passed_over, unseen, goes_on = json.loads(run_forked(work))
    assert said.encode() == READY
    assert passed_over > 10_000
    assert unseen > gc.get_threshold()[0]
    assert goes_on
