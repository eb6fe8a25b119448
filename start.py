#!/usr/bin/env python3
"""``python start.py`` is ``pycmbs serve``, straight from a checkout: flags and all."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ARGUMENTS = sys.argv[1:]
OWN_PYTHON = HERE / ".venv" / "bin" / "python"


def run() -> int:
    """The exit code of ``pycmbs serve``."""
    from pycmbs.cli import main

    sys.argv[1:] = ["serve", *ARGUMENTS]
    return main()


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    try:
        sys.exit(run())
    except ModuleNotFoundError as missing:
        if OWN_PYTHON.exists() and Path(sys.prefix) != HERE / ".venv":
            os.execv(OWN_PYTHON, [str(OWN_PYTHON), sys.argv[0], *ARGUMENTS])  # noqa: S606 - the same program, with what it needs
        sys.exit(f"pycmbs: this Python has no {missing.name}; `make run` makes a .venv that has, and start.py uses it")
