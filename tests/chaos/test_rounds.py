"""Twelve rounds of chaos; ``make chaos`` runs as many as one likes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.clock import Clock
from tests.chaos.disk import can_mount, mounted
from tests.chaos.rounds import BROKERS, Plan, run
from tests.chaos.troubles import KINDS, script
from tests.harness import ROOT

_SEEDS = {"sqlite": range(1, 9), "couchdb": range(1, 3)}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("store", "seed"), [(store, seed) for store, seeds in _SEEDS.items() for seed in seeds])
def test_a_round(short: Path, store: str, seed: int) -> None:
    """Whatever fails meanwhile, nothing is lost, doubled, misdirected or stuck, and every ledger is true."""
    report = run(Plan(seed, store), short)
    assert not report.disagreements, str(report)
    assert report.accepted, "clients got nothing done"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [21, 22])
def test_a_round_with_keys(short: Path, seed: int) -> None:
    """The same where members ask each other for their keys."""
    report = run(Plan(seed, keys=True), short)
    assert not report.disagreements, str(report)
    assert report.accepted, "clients got nothing done"


def test_every_kind_comes() -> None:
    """Among a hundred scripts every kind of trouble is there, and a seed is the same script each time."""
    scripts = [script(random.Random(seed), BROKERS, 4, 6) for seed in range(100)]
    assert {one.kind for made in scripts for one in made} == set(KINDS)
    assert scripts == [script(random.Random(seed), BROKERS, 4, 6) for seed in range(100)]


def test_a_clock_is_stepped_while_it_runs(tmp_path: Path) -> None:
    """The wall clock of a process is as far ahead as is said; its monotonic time goes on."""
    clock = Clock(tmp_path)
    clock.step(3600)
    code = "import time, sys; print(time.time(), time.monotonic()); sys.stdin.read(1); print(time.time(), time.monotonic())"
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code], env=environ, stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        before = [float(one) for one in process.stdout.readline().split()]
        clock.step(-3600)
        time.sleep(0.15)  # as long as the shim may take to see it
        answer, _ = process.communicate("x", timeout=20)
    after = [float(one) for one in answer.split()]
    assert after[0] - before[0] == pytest.approx(-7200, abs=30)
    assert 0 < after[1] - before[1] < 30


@pytest.mark.skipif(not can_mount(), reason="nobody but root may mount a small disk")
def test_a_disk_is_full_and_has_room_again(short: Path) -> None:
    """Nothing can be written while it is full."""
    with mounted(short / "disk") as disk:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.folder / "file").write_bytes(b"x" * 100_000)
        disk.free()
        (disk.folder / "file").write_bytes(b"x" * 100_000)


def test_a_campaign_ends_with_what_it_found() -> None:
    """``python -m tests.chaos`` prints a line for each round, and its code says whether all agreed."""
    command = [sys.executable, "-m", "tests.chaos", "--rounds", "1", "--seconds", "0.5", "--troubles", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "seed 1 sqlite: agrees; " in done.stdout
    assert "1 rounds: nothing lost" in done.stdout
