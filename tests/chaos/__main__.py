"""``make chaos``: rounds of a federation under faults, each from a seed; ends with 1 if a broker said what is not so."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.chaos.rounds import NUMBER, SECONDS, Plan, Report, left_out, run_alone
from tests.chaos.troubles import KINDS


def main() -> int:
    """Run the rounds, print a line for each, and all of those that failed."""
    options = _options()
    only = tuple(filter(None, options.only.split(",")))
    seeds = range(options.seed, options.seed + options.rounds)
    plans = [Plan(seed, options.store, options.seconds, options.troubles, only, options.keys) for seed in seeds]
    for one in left_out(options.store):
        print(f"left out: {one}", flush=True)
    failed = []
    for report in _reports(plans, options.jobs):
        print(report, flush=True)
        if report.disagreements:
            failed.append(report.plan.seed)
    if failed:
        print(
            f"{len(failed)} of {len(plans)} rounds failed, of the seeds {sorted(failed)}; again: {_again(options, failed)}"
        )
        return 1
    print(f"{len(plans)} rounds: nothing lost, doubled, misdirected or stuck, and no ledger said what is not so")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=…", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="how many (10)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the first; the next has the next (1)")
    parser.add_argument(
        "--store", choices=["sqlite", "couchdb"], default="sqlite", help="where the brokers keep things"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="rounds side by side (1)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for which clients send ({SECONDS:.0f})")
    parser.add_argument("--troubles", type=int, default=NUMBER, metavar="N", help=f"in that time ({NUMBER})")
    parser.add_argument(
        "--only", default="", metavar="KINDS", help=f"beginnings of kinds, with commas: {', '.join(KINDS)}"
    )
    parser.add_argument("--keys", action="store_true", help="members have keys: they are closed, and the first invites")
    return parser.parse_args()


def _again(options: argparse.Namespace, failed: list[int]) -> str:
    given = f"--store {options.store} --seconds {options.seconds} --troubles {options.troubles}"
    only = (f" --only {options.only}" if options.only else "") + (" --keys" if options.keys else "")
    return f'make chaos ARGS="--rounds 1 --seed {failed[0]} {given}{only}"'


def _reports(plans: list[Plan], jobs: int) -> Iterator[Report]:
    """In the order in which they end."""
    if jobs == 1:
        yield from map(run_alone, plans)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for one in as_completed([pool.submit(run_alone, plan) for plan in plans]):
            yield one.result()


if __name__ == "__main__":
    sys.exit(main())
