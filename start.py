#!/usr/bin/env python3
"""``python start.py`` is ``pycmbs serve``, straight from a checkout: flags and all."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OWN_PYTHON = HERE / ".venv" / "bin" / "python"


def run() -> int:
    """The exit code of ``pycmbs serve``."""
    from pycmbs import surroundings
    from pycmbs.cli import main

    surroundings.settle()
    return main(["serve", *sys.argv[1:]])


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    try:
        sys.exit(run())
    except ModuleNotFoundError as missing:
        if OWN_PYTHON.exists() and Path(sys.prefix) != HERE / ".venv":
            os.execv(OWN_PYTHON, [str(OWN_PYTHON), *sys.argv])  # noqa: S606 - the same program, with what it needs
        sys.exit(f"pycmbs: this Python has no {missing.name}; `make run` makes a .venv that has, and start.py uses it")
