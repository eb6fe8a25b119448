"""What the broker is compared with: small programs on the same libraries, that do what a broker cannot do without, and no more.

Each runs as a process of its own, ``python -m bench.reference.NAME``, and prints where it listens once it does.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from bench import ROOT


@contextlib.contextmanager
def running(name: str, *arguments: str, number: int = 1) -> Iterator[str]:
    """So many processes of a program while the context lasts; gives the line that the first printed. Later ones are given that
    line as one more argument, so that they can share a port."""
    with contextlib.ExitStack() as stack:
        first = ""
        for _ in range(number):
            command = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                f"bench.reference.{name}",
                *arguments,
                *filter(None, [first]),
            ]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT))
            stack.callback(process.kill)
            assert process.stdout is not None
            first = first or process.stdout.readline().strip()
            if not first:
                raise RuntimeError(f"the reference {name} did not start")
        yield first
