"""Commands at a broker that wants to know who asks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Run
from tests.harness import Broker


def test_who_asks_says_so_by_a_variable_or_a_context(
    start_broker: Callable[..., Broker], run: Run, tmp_path: Path
) -> None:
    """A token or a password of the environment, a token of the context; nobody is refused with 6. --curl prints no secret."""
    broker = start_broker("--workers", "1", "--member", "rome")
    home = ("--home", str(broker.home))
    assert (
        run("user", "add", "boss", "--role", "admin", "--password-stdin", *home, given="a long pass\n").returncode == 0
    )
    token = run("token", "create", "boss", *home).stdout.strip()
    refused = run("members", *home, "-o", "json")
    while refused.returncode == 0:  # it follows within a second
        refused = run("members", *home, "-o", "json")
    assert (refused.returncode, json.loads(refused.stderr)["code"]) == (6, "unauthenticated")
    assert "rome" in run("members", *home, PYCMBS_TOKEN=token).stdout
    assert "rome" in run("members", *home, PYCMBS_USER="boss:a long pass").stdout
    person = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert run("context", "add", "x", "--url", broker.url, "--token-stdin", given=token, **person).returncode == 0
    assert "rome" in run("members", "--context", "x", **person).stdout
    printed = run("send", "--all", "hello", *home, "--curl", PYCMBS_TOKEN=token).stdout
    assert token not in printed
    environ = {"PYCMBS_TOKEN": token, "PATH": "/usr/bin:/bin:/usr/local/bin"}
    shell = subprocess.run(
        ["sh", "-e"], input=printed, capture_output=True, text=True, env=environ, timeout=60, check=False
    )
    assert shell.returncode == 0, shell.stderr
