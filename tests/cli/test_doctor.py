"""``doctor`` and ``top``: what a person sees who wonders whether it works."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.conftest import Run
from tests.harness import Broker, free_port, free_socket, wait_until


def findings(run: Run, broker: Broker, code: int) -> list[dict[str, Any]]:
    """What the doctor says, if it ends so."""
    done = run("doctor", "--home", str(broker.home), "-o", "json")
    assert (done.returncode, done.stderr) == (code, ""), done.stdout
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_all_is_well_where_all_is(sites: dict[str, Broker], run: Run) -> None:
    """The broker, its disk, the own member and the others have a line each, and the exit code is 0."""
    wait_until(lambda: all(one["health"]["state"] == "alive" for one in others(sites["paris"])), 20)
    found = findings(run, sites["paris"], 0)
    assert {one["about"] for one in found if one["level"] == "ok"} >= {"broker", "disk", "paris", "rome", "oslo"}
    table = run("doctor", "--home", str(sites["paris"].home))
    assert table.returncode == 0
    assert table.stdout.startswith("ok ")


def others(broker: Broker) -> list[dict[str, Any]]:
    """What a broker knows of the others that it has asked."""
    names = broker.known() - {broker.member}
    found = [broker.attributes(f"/cmbs/member/{name}", "member") for name in names]
    return [one for one in found if one.get("health")] or [{"health": {"state": ""}}]


def test_a_port_that_nobody_listens_at_is_named(start_shared: Callable[..., Broker], run: Run) -> None:
    """A member that is not there is a failure, with the address that refuses; a layer that is not started is a warning."""
    broker = start_shared("--workers", "1", "--probe-interval", "0.1", "--neighbor-timeout", "0.2")
    assert "no" in findings(run, broker, 0)[-1]["sentence"]
    broker.become("l1")
    away = free_socket()
    entity = {"id": "away", "attributes": {"cmbs": {"member": {"local": "false", "l1_socket": away}}}}
    broker.ok("POST", "/cmbs/member/", entity)
    wait_until(lambda: others(broker)[0]["health"]["state"] in ("suspect", "dead"), 20)
    found = findings(run, broker, 1)
    said = [one["sentence"] for one in found if one["about"] == "away" and one["level"] == "FAIL"]
    assert any(away in one and "refuses" in one for one in said), said
    assert any("does not listen on l2" in one["sentence"] for one in found if one["level"] == "warn")


def test_without_a_broker_the_exit_code_says_so(run: Run) -> None:
    """7, as of every command that asks one."""
    for command in ("doctor", "top"):
        assert run(command, "--url", f"http://127.0.0.1:{free_port()}", "-o", "json").returncode == 7


def test_top_is_a_picture_where_there_is_no_terminal(paris: Path, run: Run) -> None:
    """Once, without a code for a terminal."""
    done = run("top", "--home", str(paris))
    assert done.returncode == 0
    assert "rome" in done.stdout
    assert "\x1b" not in done.stdout
    assert {one["id"] for one in json.loads(run("top", "--home", str(paris), "-o", "json").stdout)["members"]} >= {
        "paris"
    }
