"""``python -m bench``: measure, print, write JSON, end with 0; with 1 and a sentence when an answer was not as it should be."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import ROOT, sections
from bench.report import machine
from bench.results import Results
from bench.sections import Bench, Plan

_SECTIONS = {
    "http": sections.http,
    "logins": sections.logins,
    "peers": sections.beside_peers,
    "l1": sections.l1,
    "l2": sections.l2,
    "l32": sections.l32,
    "memory": sections.memory,
    "tls": sections.over_tls,
    "stores": sections.stores,
}
_FULL = Plan((1, 2), 5, 1.0, 2000, (2, 8, 32), (100, 1000), (1, 8, 64))
_QUICK = Plan((1,), 1, 0.4, 200, (2, 32), (10, 20), (1,))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="less than a minute in all: shows that it runs, measures little"
    )
    parser.add_argument(
        "--home", type=Path, default=ROOT / ".run", help="where the brokers get their homes: the disk that is measured"
    )
    parser.add_argument("--json", type=Path, help="where the results go (default: bench.json in the home)")
    parser.add_argument(
        "--only",
        choices=list(_SECTIONS),
        action="append",
        help="a part of it; may be repeated. The results of the others stay as they are in the file",
    )
    parser.add_argument("--repeats", type=int, help="how often everything is measured")
    options = parser.parse_args(arguments)
    options.home.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    path = options.json or options.home / "bench.json"
    results = Results.read(path) if options.only and path.exists() else Results()
    plan = _QUICK if options.quick else _FULL
    if options.repeats:
        plan = replace(plan, repeats=options.repeats)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.home.resolve()) as name:
            bench = Bench(plan, Path(name), results)
            bench.results.machine, bench.results.plan = machine(bench.home), bench.plan.describe()
            print(f"machine: {bench.results.machine}\n{bench.results.plan}", flush=True)
            for section in options.only or _SECTIONS:
                _SECTIONS[section](bench)
    except RuntimeError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    bench.results.write(path)
    print(f"\n{time.monotonic() - begin:.0f} s; results in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
