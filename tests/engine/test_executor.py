"""The executor: in each lane the order of arrival, whatever does not fit, fails, is slow, or was left by an earlier engine."""

import itertools
import threading
from collections import defaultdict

import pytest

from pycmbs.engine import executor as executor_module
from pycmbs.engine.executor import Executor
from pycmbs.engine.handler_pool import PROCESSES
from pycmbs.errors import StoreUnavailable
from pycmbs.services.execution.service import DONE, Execution, Lane
from pycmbs.services.records.receipts import RECEIPT
from pycmbs.store.base import Document
from tests.harness import wait_until


class Work:
    """An execution service that only notes what it runs: ``gates`` hold lanes up, ``failures``: how often the store fails."""

    def __init__(self):
        self.receipts, self.done = {}, defaultdict(list)
        self.gates, self.failures, self.numbers = {}, 0, itertools.count(1)
        self.reading, self.lock = lambda: None, threading.Lock()

    def take(self, number, sender="a", handler=""):
        """An execution as the inbox would leave it: in the store, and to be submitted."""
        execution = Execution({"operation": handler or "list", "number": number}, sender, "", str(number), "l2")
        with self.lock:
            self.receipts[f"r{number}"] = Document(
                f"r{number}", RECEIPT, {"execution": execution.body()}, number=next(self.numbers)
            )
        return f"r{number}", execution

    def lane(self, execution):
        """Handlers are those whose names begin with `h`."""
        verb = execution.operation["operation"]
        return Lane(execution.sender, verb if verb.startswith("h") else "")

    def waiting(self, after=0, limit=500):
        """What is not done, in small pages."""
        with self.lock:
            found = [one for one in self.receipts.values() if one.number > after][:7]
        self.reading()
        return found

    def run(self, id):
        """Note it, when its gate is open."""
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        execution = Execution(**self.receipts[id].body["execution"])
        lane = self.lane(execution)
        if lane in self.gates:
            assert self.gates[lane].wait(20)
        with self.lock:
            self.done[lane].append(execution.operation["number"])
            del self.receipts[id]
        return Execution(
            execution.operation, execution.sender, "", "", "", DONE, {"result": execution.operation["number"]}
        )

    def close(self):
        """Open all gates."""
        for gate in self.gates.values():
            gate.set()


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def executor(work):
    made = Executor(work)
    yield made
    made.close()


def test_what_waits_from_before_is_first(work, executor):
    """What an earlier engine left is executed before anything that comes after the restart, also while it is still read."""
    for number in range(40):
        work.take(number)
    coming = iter(range(40, 60))

    def arrival():
        work.reading = lambda: None  # not from within itself
        number = next(coming, None)
        if number is not None:
            executor.submit(*work.take(number))
            work.reading = arrival

    work.reading = arrival
    executor.start()
    wait_until(lambda: not executor._behind and not executor._known, what="all is done")
    assert work.done[Lane("a", "")] == list(range(60))


def test_what_does_not_fit_keeps_its_place(work, executor, monkeypatch):
    """Beyond the bound executions wait in the store, in order, and are taken up when half of the room is free."""
    monkeypatch.setattr(executor_module, "_BOUND", 10)
    work.gates[Lane("a", "")] = threading.Event()
    executor.start()
    for number in range(100):
        executor.submit(*work.take(number))
    assert len(executor._known) == 10
    work.gates[Lane("a", "")].set()
    wait_until(lambda: len(work.done[Lane("a", "")]) == 100, what="all is done")
    assert work.done[Lane("a", "")] == list(range(100))
    assert not executor._behind
    assert (executor._known, executor._lanes) == ({}, {})


def test_a_store_that_is_away_keeps_the_order(work, executor, monkeypatch):
    """An execution that meets no store is tried again before the next one of its lane."""
    monkeypatch.setattr(executor_module, "_RETRY_SECONDS", 0.02)
    executor.start()
    work.failures = 3
    for number in range(10):
        executor.submit(*work.take(number))
    wait_until(lambda: len(work.done[Lane("a", "")]) == 10, what="all is done")
    assert work.done[Lane("a", "")] == list(range(10))


def test_slow_handlers_hold_up_no_operation(work, executor):
    """However many handlers are called and do not return, operations are executed."""
    executor.start()
    for number in range(3 * PROCESSES):
        work.gates[Lane(f"s{number}", "h")] = threading.Event()
        executor.submit(*work.take(number, f"s{number}", "h"))
    executor.submit(*work.take(100))
    wait_until(lambda: work.done[Lane("a", "")] == [100], what="the operation is done")


def test_a_slow_operation_holds_up_only_its_sender(work, executor):
    """Lanes go on side by side."""
    executor.start()
    work.gates[Lane("slow", "")] = threading.Event()
    executor.submit(*work.take(1, "slow"))
    executor.submit(*work.take(2, "slow"))
    executor.submit(*work.take(3, "quick"))
    wait_until(lambda: work.done[Lane("quick", "")] == [3], what="the other sender's is done")
    assert work.done[Lane("slow", "")] == []


def test_everybody_who_asks_is_told_once(work, executor):
    """Whoever submits an execution again while it waits is told its outcome, and it is executed once."""
    executor.start()
    work.gates[Lane("a", "")] = threading.Event()
    receipt, execution = work.take(1)
    told = []
    for _ in range(3):
        executor.submit(receipt, execution, told.append)
    work.gates[Lane("a", "")].set()
    wait_until(lambda: len(told) == 3, what="all are told")
    assert told == [{"result": 1}] * 3
    assert work.done[Lane("a", "")] == [1]
