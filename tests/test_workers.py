"""The keeper of threads and pools: what goes wrong in one is logged by its name, and what should go on goes on."""

from __future__ import annotations

import logging
import threading

import pytest

from pycmbs.runtime import ThreadRuntime
from pycmbs.workers import Keeper, Pool, Started
from tests.harness import wait_until


def fail() -> None:
    """What a thread may come to."""
    raise ValueError("it broke")


def leave() -> None:
    """What a library may do in a thread."""
    raise SystemExit(3)


def test_what_is_spawned_is_never_lost(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in spawned work is logged by its name, with its traceback."""
    ThreadRuntime().spawn("helper", fail)
    wait_until(lambda: "it broke" in caplog.text, what="the log line")
    assert "the thread helper ended by an error" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("work", [fail, leave])
def test_a_process_ends_with_a_thread_that_it_needs(caplog: pytest.LogCaptureFixture, work: object) -> None:
    """A vital thread that ends by an error is logged and ends the process; another one is only logged."""
    keeper, ended = Keeper(), threading.Event()
    keeper.ending = ended.set
    keeper.thread("helper", work).start()  # type: ignore[arg-type]
    wait_until(lambda: "the thread helper ended by an error" in caplog.text, what="the log line")
    assert not ended.is_set()
    keeper.thread("heart", work, vital=True).start()  # type: ignore[arg-type]
    assert ended.wait(10)
    assert "the thread heart ended by an error" in caplog.text
    assert {one.levelno for one in caplog.records} == {logging.CRITICAL}


def test_a_thread_that_is_done_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A vital thread may end by itself, as all do when the process stops."""
    keeper, ended = Keeper(), threading.Event()
    keeper.ending = ended.set
    thread = keeper.thread("heart", lambda: None, vital=True)
    thread.start()
    thread.join(10)
    assert not ended.is_set()
    assert caplog.records == []


def test_what_is_done_later_is_never_lost(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in work that was put off is logged by its name."""
    Keeper().later("again", 0, fail)
    wait_until(lambda: "the thread again ended by an error" in caplog.text, what="the log line")


@pytest.mark.parametrize("work", [fail, leave])
def test_what_a_pool_does_is_never_lost(caplog: pytest.LogCaptureFixture, work: object) -> None:
    """An exception in work of a pool at whose outcome no one looks is logged by its name, and its threads go on."""
    with Pool("helpers", 1) as pool:
        pool.do(work)  # type: ignore[arg-type]
        assert pool.submit(lambda: 7).result(10) == 7
    assert "unattended work of the pool helpers ended by an error" in caplog.text


def test_who_waits_for_a_pool_is_told_which() -> None:
    """An exception in work whose outcome is looked at says in which pool it was raised, and its threads go on."""
    with Pool("helpers", 1) as pool:
        failed = pool.submit(fail)
        with pytest.raises(ValueError, match="it broke") as raised:
            failed.result(10)
        assert raised.value.__notes__ == ["raised in the pool helpers"]
        assert list(pool.map(str, [1, 2])) == ["1", "2"]


class _Part:
    """Something that notes when it is started and closed."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name, self._notes = name, notes

    def start(self) -> None:
        """Begin."""
        self._notes.append(f"+{self._name}")

    def close(self) -> None:
        """End."""
        self._notes.append(f"-{self._name}")
        if self._name == "b":
            raise ValueError("it broke")


def test_what_was_started_last_is_stopped_first(caplog: pytest.LogCaptureFixture) -> None:
    """Each may need those before it. One that cannot be stopped is logged by its name, and keeps no other from that."""
    notes: list[str] = []
    started = Started()
    for name in "abc":
        started.start(name, _Part(name, notes))
    assert started.names == ["a", "b", "c"]
    started.stop()
    assert notes == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert "b could not be stopped in order" in caplog.text
    started.stop()
    assert len(notes) == 6
