"""The commands of the documents, run as they are printed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.documents.markdown import DOCUMENTS, ROOT, steps
from tests.documents.shell import Shell

NOT_RUN = {
    "README.md": {
        "make run    # a broker on http://127.0.0.1:8090/, with its home in .run/home; Ctrl-C stops it\n"
        "make demo   # three brokers at work, for a few seconds: discovery, every layer, a kill\n"
        "make demo ARGS=--secure   # four with keys: an invitation, a stranger, a revocation\n"
        "make test   # the tests\n": "the tour runs make run, tests/system/test_demo.py the demo, and make test runs this"
    },
}
"""Scripts that are not run, and why."""

WITH_COMMANDS = [document for document in DOCUMENTS if steps(document)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the documents' commands need curl, which is not here")
@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_runs_and_prints_what_the_document_shows(document: Path, tmp_path: Path) -> None:
    """Whoever pastes a document's commands in their order, into a fresh checkout, sees the answers it shows."""
    shell = Shell(tmp_path)
    try:
        for step in steps(document):
            if step.script not in NOT_RUN.get(document.name, {}):
                shell.follow(step)
    finally:
        shell.close()


def test_what_is_not_run_is_still_there() -> None:
    """No exception outlives the script that it was made for."""
    for name, scripts in NOT_RUN.items():
        assert scripts.keys() <= {step.script for step in steps(ROOT / name)}
