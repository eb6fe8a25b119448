"""Green threads, and the threads of the operating system that work for them."""

from __future__ import annotations

import subprocess
import sys

from tests.harness import ROOT

_GREEN = """
import logging
import sys
from pycmbs.processes import front
from pycmbs.workers import KEEPER
logging.basicConfig(stream=sys.stdout, format="%(message)s")
runtime = front.GreenRuntime()
KEEPER.ending = lambda: print("ending")
def fail():
    raise ValueError("it broke")
runtime.spawn("helper", fail)
runtime.sleep(0.01)
print("goes on")
runtime.spawn("heart", fail, vital=True)
runtime.sleep(0.01)
for _ in range(40):
    try:
        runtime.offload(fail)
    except ValueError as exc:
        told = exc
print(told, runtime.offload(lambda: "and works"))
"""


def test_what_goes_wrong_beside_the_loop_is_never_lost() -> None:
    """A green thread that ends by an error is logged by its name, and ends the process if it is vital; what is offloaded raises
    where it was asked for. The loop, and the threads that work for it, go on."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _GREEN], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [one for one in done.stdout.splitlines() if not one.startswith((" ", "Traceback", "ValueError"))]
    assert lines == [
        "the thread helper ended by an error",
        "goes on",
        "the thread heart ended by an error",
        "ending",
        "it broke and works",
    ]
