"""The keeper of threads, and what the verbs of waiting promise on real threads."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pycmbs.runtime import Keeper, ThreadRuntime, logged
from tests.harness import wait_until


def fail() -> None:
    """What a thread may come to."""
    raise ValueError("it broke")


def test_what_is_spawned_is_never_lost(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in spawned work is logged, with its traceback."""
    ThreadRuntime().spawn(fail)
    wait_until(lambda: "it broke" in caplog.text, what="the log line")
    assert "Traceback" in caplog.text


def test_a_process_ends_with_a_thread_that_it_needs(caplog: pytest.LogCaptureFixture) -> None:
    """A vital thread that ends by an error is logged and ends the process; another one is only logged."""
    keeper, ended = Keeper(), threading.Event()
    keeper.ending = ended.set
    keeper.thread("helper", fail).start()
    wait_until(lambda: "the thread helper ended by an error" in caplog.text, what="the log line")
    assert not ended.is_set()
    keeper.thread("heart", fail, vital=True).start()
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
    """An exception in work that was put off is logged."""
    Keeper().later(0, fail)
    wait_until(lambda: "it broke" in caplog.text, what="the log line")


def test_what_a_pool_does_is_never_lost(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in work of a pool at whose outcome nobody looks is logged."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(logged, fail)
    assert "it broke" in caplog.text
