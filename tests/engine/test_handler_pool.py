"""Processes of handlers."""

from __future__ import annotations

import os

import pytest

from pycmbs.engine.handler_output import LONGEST_TAIL
from pycmbs.engine.handler_pool import HandlerPool, _Context
from pycmbs.errors import HandlerFailed, Unavailable
from pycmbs.handlers import Call, Handler


def test_a_process_whose_engine_stops_while_it_is_started_ends_without_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What it was to share is gone then, which is not an error of its own."""
    context = _Context()
    shared = context.Lock()
    process = context.Process(target=os.getpid, args=[shared])
    process.start()
    del shared  # withdraws it, as the engine's exit does; the process takes longer to begin
    process.join(60)
    assert process.exitcode == 1
    assert capfd.readouterr().err == ""


def test_a_process_is_started_with_what_it_shares() -> None:
    """Nothing is withdrawn while someone still needs it."""
    context = _Context()
    shared = context.Event()
    process = context.Process(target=shared.set)
    process.start()
    assert shared.wait(60)
    process.join(60)
    assert process.exitcode == 0


def test_processes_that_broke_are_replaced() -> None:
    """Handlers are called also after all of their processes, and what keeps them, came to an end; not once the engine stops."""
    echo = Handler("echo", "tests.example_handlers", "echo", 60, False)
    pool = HandlerPool({"echo": echo})
    try:
        assert pool.call(echo, Call("echo", "/1"))["target"] == "/1"
        assert pool._pool is not None
        pool._pool.stop()  # type: ignore[no-untyped-call]
        assert pool.call(echo, Call("echo", "/2"))["target"] == "/2"
    finally:
        pool.close()
    with pytest.raises(Unavailable):
        pool.call(echo, Call("echo", "/3"))


@pytest.mark.parametrize(
    ("name", "how"), [("shout", "raised"), ("shout-and-die", "ended"), ("shout-and-hang", "did not")]
)
def test_what_a_handler_printed_before_it_failed_is_told(
    capfd: pytest.CaptureFixture[str], name: str, how: str
) -> None:
    """Of a program that it ran, too, and also when it crashed or was killed; in the log is all of it."""
    handler = Handler(
        name, "tests.example_handlers", name.replace("-", "_"), 5 if name == "shout-and-hang" else 60, False
    )
    pool = HandlerPool({name: handler})
    try:
        with pytest.raises(HandlerFailed) as raised:
            pool.call(handler, Call(name))
    finally:
        pool.close()
    assert how in raised.value.message
    assert raised.value.data["stderr"].endswith("and a program that it ran")
    assert len(raised.value.data["stderr"]) <= LONGEST_TAIL
    assert "line 0 " in capfd.readouterr().err
