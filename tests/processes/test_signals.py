"""Green threads of a front: how they wait for each other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.harness import ROOT

_BEGIN = """
import eventlet
import eventlet.hubs
from pycmbs.processes.front import GreenRuntime, _Hub
eventlet.hubs.use_hub(_Hub)
runtime = GreenRuntime()
"""
_ORDER = """
signals, woken = [runtime.signal() for _ in range(3)], []
def work(number):
    assert signals[number % 3].wait()
    woken.append(number % 3)
for number in range(6):
    eventlet.spawn_n(work, number)
eventlet.sleep(0)
for at in (2, 0, 1):
    signals[at].set()
    signals[at].set()
assert woken == [], woken  # whoever sets goes on first
eventlet.sleep(0)
assert woken == [2, 2, 0, 0, 1, 1], woken
assert signals[0].wait() and signals[0].wait(0)
"""
_TIME = """
signal = runtime.signal()
assert not signal.wait(0.01)
late = eventlet.spawn(signal.wait, 30)
never = eventlet.spawn(signal.wait)
eventlet.sleep(0)
never.kill()
signal.set()
assert late.wait() is True
assert signal.wait(0.01)
"""
_FAILING = """
signals, woken = [runtime.signal() for _ in range(3)], []
def work(number):
    signals[number % 3].wait()
    if number == 0:
        raise ValueError("meant")
    woken.append(number)
for number in range(6):
    eventlet.spawn_n(work, number)
eventlet.sleep(0)
for one in signals:
    one.set()
for _ in range(5):
    eventlet.sleep(0)
assert sorted(woken) == [1, 2, 3, 4, 5], woken
"""
_CHAIN = """
signals, turns = [runtime.signal() for _ in range(3)], []
def work(number):
    signals[number].wait()
    turns.append(runtime.turn())
    if number < 2:
        signals[number + 1].set()
threads = [eventlet.spawn(work, number) for number in range(3)]
eventlet.sleep(0)
signals[0].set()
threads[2].wait()
assert turns[0] < turns[1] < turns[2], turns
"""
_READY = """
import os
pairs, read = [os.pipe() for _ in range(3)], []
def work(number):
    eventlet.hubs.trampoline(pairs[number][0], read=True)
    read.append(os.read(pairs[number][0], 9))
    if number == 0:
        raise ValueError("meant")
for number in range(3):
    eventlet.spawn_n(work, number)
eventlet.sleep(0)
os.write(pairs[0][1], b"0")
os.write(pairs[1][1], b"1")
os.close(pairs[2][1])
while len(read) < 3:
    eventlet.sleep(0.01)
assert sorted(read) == [b"", b"0", b"1"], read
"""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(_ORDER, id="in the order in which signals were set"),
        pytest.param(_TIME, id="until a time is over"),
        pytest.param(_FAILING, id="though another one fails"),
        pytest.param(_CHAIN, id="in a later turn than who set it"),
        pytest.param(_READY, id="when a descriptor is ready or its other end is closed"),
    ],
)
def test_who_waits_goes_on(script: str) -> None:
    """In a process of its own, since a loop belongs to a thread for good."""
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + script], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
