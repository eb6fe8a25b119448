"""A federation of three, and what runs the command as a person does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pycmbs.client import Client
from pycmbs.client.verbs import LAYERS
from tests.harness import ROOT, Broker, free_socket, wait_until

Run = Callable[..., subprocess.CompletedProcess[str]]
SITES = {"paris": ["network.>"], "rome": ["network.link"], "oslo": ["storage.*"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs ``pycmbs`` with words, in an environment with nothing of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("person")

    def run(*words: str, given: str | bytes | None = None, **environ: Any) -> subprocess.CompletedProcess[str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYCMBS_", "XDG_", "_PYCMBS"))
        }
        done = subprocess.run(
            [sys.executable, "-m", "pycmbs", *words],
            input=given.encode() if isinstance(given, str) else given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            env={**kept, "HOME": str(folder), "PYTHONPATH": str(ROOT), **environ},
            cwd=folder,
            timeout=60,
            check=False,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def join(name: str, broker: Broker, neighbors: list[str], topics: list[str]) -> str:
    """Have a broker be a member with this name, all layers on one socket; returns that."""
    socket = free_socket()
    with Client(broker.url) as client:
        client.join(name, dict.fromkeys(LAYERS, socket), topics=topics, neighbors=neighbors)
    broker.member = name
    return socket


@pytest.fixture(scope="module")
def sites(start_shared: Callable[..., Broker], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Broker]:
    """Paris, Rome and Oslo, which know each other. Each may be asked for its messages, and nothing else."""
    del tmp_path_factory
    flags = ("--workers", "1", "--retry-first", "0.2", "--allow", "* list message")
    brokers = {name: start_shared(*flags) for name in SITES}
    known: list[str] = []
    for name, broker in brokers.items():
        known.append(join(name, broker, known[-1:], SITES[name]))
    wait_until(lambda: all(one.known() == set(SITES) for one in brokers.values()), 20)
    return brokers


@pytest.fixture
def paris(sites: dict[str, Broker]) -> Path:
    """The home of the broker that is asked."""
    return sites["paris"].home
