"""Fuzzes one target until libFuzzer says that it is over: ``python -m tests.fuzz.run TARGET FLAG|FOLDER …``."""

import sys
import warnings

import atheris

warnings.simplefilter("ignore")
with atheris.instrument_imports(include=["pycmbs"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    atheris.Setup([sys.argv[0], *rest], TARGETS[name])
    atheris.Fuzz()
