"""The numbers of the whole broker, as the engine tells them."""

from __future__ import annotations

import threading

from pycmbs.engine import numbers
from pycmbs.engine.numbers import Numbers
from pycmbs.errors import StoreUnavailable
from pycmbs.metrics.reports import from_json
from pycmbs.store.memory import MemoryStore

REPORT = {"life": "front", "number": 1, "counts": [], "gauges": {}}


class Measured:
    """Probes of two members, and a member that listens on one layer."""

    def __init__(self):
        self.bound = {"l2": "tcp://127.0.0.1:1"}

    def measured(self):
        return {"rome": ("alive", 0.001), "oslo": ("", 0.0)}


class Hanging(MemoryStore):
    """A store whose counts take as long as one lets them."""

    def __init__(self):
        super().__init__()
        self.go_on = threading.Event()
        self.away = False
        self.go_on.set()
        self.asked = 0

    def count(self, query):
        self.asked += 1
        self.go_on.wait(20)
        if self.away:
            raise StoreUnavailable("away")
        return super().count(query)


def told(made, **more):
    """What a front is told."""
    return from_json(made.operations["metrics"]({"report": REPORT, **more})["counts"])


def of(store):
    """The numbers over a store."""
    return Numbers(store, Measured(), Measured(), bound=10)


def test_members_are_counted_by_state_and_named_on_request():
    """One that was not measured yet is one, too."""
    made = of(Hanging())
    found = told(made)
    assert [found["members", (state,)] for state in ("alive", "dead", "unknown")] == [[1], [0], [1]]
    assert ("member_up", ("rome",)) not in found
    assert told(made, members=True)["member_up", ("rome",)] == [1.0]


def test_a_store_that_takes_long_to_count_is_not_waited_for(monkeypatch):
    """The numbers come in time, with what was counted before; it is counted once at a time; after a while it counts as away."""
    monkeypatch.setattr(numbers, "_WAIT_SECONDS", 0.02)
    monkeypatch.setattr(numbers, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(numbers, "_SHARE", 0)
    store = Hanging()
    made = of(store)
    while ("store_up", ()) not in told(made):  # the first time it may be too slow, on a busy machine
        pass
    store.go_on.clear()
    told(made)
    asked = store.asked
    assert told(made)["store_up", ()] == [1.0]
    assert store.asked == asked
    monkeypatch.setattr(numbers, "_SILENT_SECONDS", 0.0)
    assert told(made)["store_up", ()] == [0.0]
    store.go_on.set()


def test_a_store_that_is_away_is_said():
    """And nothing of it is."""
    store = Hanging()
    store.away = True
    found = told(of(store))
    assert found["store_up", ()] == [0.0]
    assert ("outbox_deliveries", ()) not in found
