"""The interface as it is described: whatever a client makes of the description, answers are as it says, and never a 5xx."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import EXAMPLES, Broker

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SKIPPED = importlib.util.find_spec("schemathesis") is None


@pytest.mark.skipif(SKIPPED, reason="schemathesis is not installed: pip install pycmbs[test]")
@pytest.mark.timeout(240)
def test_what_is_described_is_what_is_answered(start_shared: Callable[..., Broker], tmp_path: Path) -> None:
    """Some hundred requests that schemathesis makes up, good ones and bad ones, in either form of JSON."""
    broker = start_shared("--workers", "1")
    broker.ok("POST", "/-/", EXAMPLES / "infrastructure" / "post_category_compute.json")
    broker.become("l2")
    program = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
    flags = ["--checks", CHECKS, "--max-examples", "5", "--max-failures", "5", "--seed", "1", "--request-timeout", "30"]
    quiet = ["--no-color", "--warnings", "off", "--max-time", "20"]
    for accept, phase in (("application/occi+json;version=1.2", "coverage"), ("*/*", "fuzzing")):
        command = [
            *program,
            f"{broker.url}/openapi.json",
            *flags,
            *quiet,
            "--phases",
            phase,
            "--header",
            f"Accept: {accept}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout.partition("FAILURES")[2][:4000] + done.stderr[-2000:]
    assert "Traceback" not in broker.log()
