"""pOCCI 1.0.2, the suite of ETSI TS 103 142, against a real broker."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.harness import EXAMPLES, ROOT, Broker

HOME = ROOT / ".venv" / "pocci"
PYTHON = HOME / "bin" / "python"
COMPUTE = "http://schemas.ogf.org/occi/infrastructure#compute"
MEMBER = "http://houssem.org/cmbs#member"
ON_ONE_KIND = ("CORE/DISCOVERY/001", "CORE/DISCOVERY/002", "CORE/READ/001", "CORE/READ/002", "CORE/READ/007")
SKIPPED_BY_ITSELF = ("CORE/CREATE/001", "CORE/CREATE/006", "INFRA/CREATE/005")
"""What pOCCI does not run unless it is named."""

pytestmark = pytest.mark.skipif(
    not (HOME / ".ready").exists(), reason="pOCCI could not be installed: .ci/setup-venv said why"
)


def run(broker: Broker, mimetype: str, kind: str, *tests: str) -> dict[str, list[str]]:
    """What each test came to: nothing for OK, else its reasons."""
    command = [str(PYTHON), str(Path(__file__).with_name("pocci.py")), broker.url, mimetype, kind, *tests]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=broker.home)
    start = done.stdout.find("{\n")
    assert start >= 0, done.stdout + done.stderr
    report = json.loads(done.stdout[start:])
    return {one["name"]: [] if one["status"] == "OK" else one.get("reason", ["?"]) for one in report["tests"]}


@pytest.mark.parametrize("mimetype", ["text/plain", "text/occi"])
def test_the_infrastructure_kinds(start_broker, mimetype: str) -> None:
    """Issue 4: every test of pOCCI, those that it leaves out by itself included, is OK on the infrastructure kinds."""
    broker = start_broker("--workers", "1")
    folder = EXAMPLES / "infrastructure"
    for name in ("compute", "storage", "network"):
        broker.ok("POST", "/-/", folder / f"post_category_{name}.json")
    for name, path in (("storage", "/storage/"), ("network", "/network/"), ("compute_with_links", "/compute/")):
        broker.ok("POST", path, folder / f"post_{name}.json")
    found = run(broker, mimetype, COMPUTE)
    assert len(found) == 14
    found |= run(broker, mimetype, COMPUTE, *SKIPPED_BY_ITSELF)
    assert {name: reasons for name, reasons in found.items() if reasons} == {}


@pytest.mark.parametrize("mimetype", ["text/plain", "text/occi"])
def test_the_brokers_own_kind(start_broker, mimetype: str) -> None:
    """Issue 4: every test of pOCCI that can be pointed at a kind is OK on the broker's own."""
    broker = start_broker("--workers", "1")
    found = run(broker, mimetype, MEMBER, "CORE/DELETE/001")
    broker.become("l1")
    found |= run(broker, mimetype, MEMBER, *ON_ONE_KIND, "CORE/MISC/001", "CORE/UPDATE/001")
    assert len(found) == 8
    assert {name: reasons for name, reasons in found.items() if reasons} == {}
