"""What a user might take instead, on the same machine in the same run: each accepts one message at a time from several clients.

A module here is a peer. It has ``NAME``; ``WHAT``, which says what an answer promises; ``missing()``, which says what is not
installed, or nothing; and ``serving(home)``, which starts the peer on loopback while the context lasts and gives a function
that measures it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from bench.load import Figures

Measure = Callable[[int, float], Figures]
"""Connections and seconds to figures."""

MODULES = ("zaqar", "rabbitmq", "jetstream", "mosquitto")
_START_SECONDS = 60.0


def all_of_them() -> list[ModuleType]:
    """The peers, whether they are installed or not."""
    return [importlib.import_module(f"bench.peers.{name}") for name in MODULES]


def command(name: str, *elsewhere: str) -> str:
    """Where a program is, empty if it is not installed. ``elsewhere``: folders that are on few paths."""
    for folder in [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/usr/local/sbin", *elsewhere]:
        if folder and os.access(Path(folder) / name, os.X_OK):
            return str(Path(folder) / name)
    return ""


def warm(measure: Measure, connections: int) -> None:
    """Until it answers: some import their code at the first requests. Raises RuntimeError when it never does."""
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            measure(connections, 1.0)
            return
        except RuntimeError:
            if time.monotonic() > end:
                raise


@contextlib.contextmanager
def process(
    arguments: Sequence[str], home: Path, port: int, environ: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A server while the context lasts, from when its port answers. Raises RuntimeError with the end of its log."""
    log = home / f"{Path(arguments[0]).name}.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            arguments, stdout=file, stderr=subprocess.STDOUT, cwd=home, env={**os.environ, **(environ or {})},
            start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{arguments[0]} did not start: {log.read_text('utf-8', 'replace')[-500:]}")
            time.sleep(0.05)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, 9)
            server.wait()
