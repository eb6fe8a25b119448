"""What is done in a process of its own comes back as if it had been done here."""

from __future__ import annotations

import os
import signal

import pytest

from pycmbs.errors import ConfigurationError, Unavailable
from pycmbs.processes.forked import run_forked


def test_the_answer_comes_back_and_the_process_was_another():
    """The result is the work's, and nothing that it changed is changed here."""
    seen = []

    def work() -> str:
        seen.append(1)
        return str(os.getpid())

    assert int(run_forked(work)) != os.getpid()
    assert seen == []


def test_its_error_is_raised_here():
    """An error of the project's own comes with its class, message and hint."""

    def work() -> str:
        raise ConfigurationError("no such thing", hint="Make one.")

    with pytest.raises(ConfigurationError, match="no such thing") as caught:
        run_forked(work)
    assert caught.value.hint == "Make one."


@pytest.mark.parametrize("end", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0, lambda: os._exit(0)])
def test_a_process_that_ends_without_an_answer_is_said(end):
    """Killed, failed, or gone: no one waits for ever, and no one takes silence for an answer."""
    with pytest.raises(Unavailable, match="ended with code"):
        run_forked(end)
