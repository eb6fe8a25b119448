"""Handlers for the tests: good ones, and some that do what a handler should not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pycmbs.handlers import Call, handler


@handler("echo")
def echo(call: Call) -> dict[str, Any]:
    """Answers what it was asked."""
    return {"target": call.target, "attributes": dict(call.attributes), "sender": call.sender, "layer": call.layer}


@handler("linger", deadline=30)
def linger(call: Call) -> str:
    """Leaves its process id in the file that is its target, and returns when there is a file beside it that says so."""
    path = Path(call.target)
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    while not path.with_suffix(".go").exists():
        time.sleep(0.01)
    return "done"


@handler("linger-again", deadline=30, idempotent=True)
def linger_again(call: Call) -> str:
    """The same, but may be called again."""
    return linger(call)


@handler("environment")
def environment(call: Call) -> list[str]:
    """The broker's variables in this process, and those of its parent that hold what is its target."""
    outer = Path(f"/proc/{os.getppid()}/environ").read_text().split("\0")
    return [name for name in os.environ if name.startswith("PYCMBS_")] + [one for one in outer if call.target in one]


@handler("sleep", deadline=0.5)
def sleep(_call: Call) -> None:
    """Takes too long."""
    time.sleep(60)


@handler("crash")
def crash(_call: Call) -> None:
    """Ends its process."""
    os._exit(7)


@handler("segfault")
def segfault(_call: Call) -> None:
    """Ends its process as a broken library does."""
    os.kill(os.getpid(), signal.SIGSEGV)


@handler("deaf", deadline=0.5)
def deaf(_call: Call) -> None:
    """Takes too long, and does not let itself be stopped."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    while True:
        time.sleep(1)


@handler("huge")
def huge(_call: Call) -> str:
    """Returns more than can be told."""
    return "x" * 20_000_000


@handler("raise")
def fail(_call: Call) -> None:
    """Raises."""
    raise ValueError("the disk is full of eels")


@handler("odd")
def odd(_call: Call) -> object:
    """Prints, and returns what is not JSON."""
    print("a handler that prints")  # noqa: T201 - that is the point
    return object()


@handler("traced")
def traced(call: Call) -> str:
    """The trace of the client that made the message."""
    return call.traceparent


@handler("shout")
def shout(_call: Call) -> None:
    """Prints a lot, has a program print, and raises."""
    for number in range(3000):
        print(f"line {number} of what a handler prints")  # noqa: T201 - that is the point
    sys.stdout.flush()
    subprocess.run(["/bin/sh", "-c", "echo and a program that it ran >&2"], check=True)
    raise ValueError("it is over")


@handler("shout-and-die")
def shout_and_die(call: Call) -> None:
    """The same, and ends its process."""
    with contextlib.suppress(ValueError):
        shout(call)
    os._exit(9)


@handler("shout-and-hang", deadline=5)
def shout_and_hang(call: Call) -> None:
    """The same, and takes too long."""
    with contextlib.suppress(ValueError):
        shout(call)
    time.sleep(60)
