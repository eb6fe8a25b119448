"""``make fuzz``: every target, or those named, for some seconds each, guided by which lines of the broker an input reaches.

What it learns is kept in ``.run/fuzz`` for the next time. An input that fails is kept there too, and named: put it into
``tests/fuzz/seeds``, mend the fault, and it stays a test.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from tests.fuzz.targets import TARGETS, seeds
from tests.harness import ROOT

KEPT = ROOT / ".run" / "fuzz"


def main() -> int:
    """Fuzz; returns how many targets failed."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each of them (%(default)s)")
    chosen = parser.parse_args()
    if unknown := set(chosen.targets) - TARGETS.keys():
        parser.error(f"there is no target {min(unknown)!r}: there are {', '.join(TARGETS)}")
    return sum(_failed(target, chosen.seconds) for target in chosen.targets or TARGETS)


def _failed(target: str, seconds: int) -> bool:
    corpus = KEPT / target
    corpus.mkdir(parents=True, exist_ok=True)
    flags = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={KEPT}/{target}-",
        f"-dict={ROOT / 'tests' / 'fuzz' / 'words.dict'}",
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    print(f"pyCMBS: fuzzing {target} for {seconds} s ...", flush=True)
    command = [sys.executable, "-m", "tests.fuzz.run", target, *flags, corpus, *seeds(target)]
    done = subprocess.run(command, cwd=ROOT, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stderr[-6000:])
    else:
        print("".join(f"{line}\n" for line in done.stderr.splitlines() if "number_of_executed" in line), end="")
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
