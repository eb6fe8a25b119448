"""The command ``pycmbs``: a broker's own commands, and what is asked of a running one through :mod:`pycmbs.client`."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``pycmbs`` with ``arguments`` (None: those of this process); the exit code.

    0: done, or stopped as asked. 1: could not. 2: a flag, a setting or the surroundings must change first. 3: some or all
    recipients failed or expired. 4: no one is a recipient. 5: accepted, and not settled in time. 6: the broker refused.
    7: no broker answers, or it cannot now. 130: interrupted.
    """
    from pycmbs.cli.tree import run  # importing the package needs nothing of it

    if arguments is None:  # this process is ours
        from pycmbs import surroundings

        surroundings.detach()
    return run(arguments)
