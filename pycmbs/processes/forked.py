"""Runs a function in a forked process, so that its imports and memory are freed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

from pycmbs import codec
from pycmbs.errors import CmbsError, Unavailable, from_dict

log = logging.getLogger(__name__)


def run_forked(work: Callable[[], str]) -> str:
    """What ``work`` returns, or the CmbsError that it raises. For a process with a single thread: it is forked.

    Raises Unavailable when the other process ends without an answer."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        _answer(work, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        answer = answers.read()
    _, status = os.waitpid(process, 0)
    if not answer:
        raise Unavailable(f"a process that prepares the broker ended with code {os.waitstatus_to_exitcode(status)}")
    document = codec.loads(answer)
    if "error" in document:
        raise from_dict(document["error"])
    return str(document["answer"])


def _answer(work: Callable[[], str], writer: int) -> None:
    """In the other process: work, write, and end, whatever happens. Signals kill it as they kill any other process."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with contextlib.suppress(OSError):
                signal.signal(number, signal.SIG_DFL)
        document: dict[str, Any]
        try:
            document = {"answer": work()}
        except CmbsError as exc:
            document = {"error": exc.to_dict()}
        with os.fdopen(writer, "wb") as answers:
            answers.write(codec.dumps(document))
        os._exit(0)
    except BaseException:
        log.exception("preparing the broker failed")
    finally:
        os._exit(1)
