"""Processes of handlers."""

from __future__ import annotations

import os

import pytest

from pycmbs.engine.handler_pool import _Context


def test_a_process_whose_engine_stops_while_it_is_started_ends_without_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What it was to share is gone then, which is no error of its own."""
    context = _Context()
    shared = context.Lock()
    process = context.Process(target=os.getpid, args=[shared])
    process.start()
    del shared  # withdraws it, as the engine's exit does; the process takes longer to begin
    process.join(60)
    assert process.exitcode == 1
    assert capfd.readouterr().err == ""


def test_a_process_is_started_with_what_it_shares() -> None:
    """Nothing is withdrawn while somebody still needs it."""
    context = _Context()
    shared = context.Event()
    process = context.Process(target=shared.set)
    process.start()
    assert shared.wait(60)
    process.join(60)
    assert process.exitcode == 0
