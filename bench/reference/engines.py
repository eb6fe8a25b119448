"""Simulated sites: real engines on real sockets, many in a process, each with its store in memory. They know each other.

``python -m bench.reference.engines SECONDS NUMBER`` is one process of them: so many, which probe each other every so many
seconds. It prints their introductions, reads those of all, and then answers every line with how they are.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from bench import ROOT
from bench.broker import free_port
from pycmbs.broker import TRANSPORTS, Broker, assemble_engine
from pycmbs.config import Settings
from pycmbs.occi import cmbs
from pycmbs.occi.category import Category
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.preparation import shipped_definitions
from pycmbs.store.memory import MemoryStore
from pycmbs.transport.transports import Transports

_TOGETHER = 25
"""Sites in a process: more would wait for each other's turn."""
_LOOK = 0.02
_CALM = 0.3
"""Seconds of processor time within a second that all together may take and still be at rest."""
_LAYERS = ("l1", "l2")


class Sites:
    """A federation of simulated sites, as whoever measures sees it."""

    def __init__(self, pipes: Sequence[tuple[IO[str], IO[str]]], sockets: Sequence[str]) -> None:
        self._pipes = pipes
        self.sockets = sockets
        """Where each listens on L1."""

    def known(self) -> list[int]:
        """How many members each of them knows, itself included."""
        return [number for one in self._ask() for number in one["known"]]

    def processor(self) -> float:
        """Seconds of processor time that they took so far."""
        return float(sum(one["processor"] for one in self._ask()))

    def until_known(self, number: int, seconds: float) -> None:
        """Wait until each knows so many. Raises RuntimeError when that takes longer than these seconds."""
        end = time.monotonic() + seconds
        while set(known := self.known()) != {number}:
            if time.monotonic() > end:
                raise RuntimeError(f"simulated sites know {min(known)} to {max(known)} members, not {number}")
            time.sleep(_LOOK)

    def until_calm(self) -> None:
        """Wait until they do next to nothing."""
        last = self.processor()
        while True:
            time.sleep(1)
            now = self.processor()
            if now - last < _CALM:
                return
            last = now

    def _ask(self) -> list[dict[str, Any]]:
        for questions, _ in self._pipes:
            print("?", file=questions, flush=True)
        return [json.loads(answers.readline()) for _, answers in self._pipes]


@contextlib.contextmanager
def serving(number: int, *, interval: float) -> Iterator[Sites]:
    """So many sites in a few processes, while the context lasts. ``interval``: seconds between two probes of a member."""
    sizes = [min(_TOGETHER, number - first) for first in range(0, number, _TOGETHER)]
    command = [sys.executable, "-m", "bench.reference.engines", str(interval)]
    with contextlib.ExitStack() as stack:
        pipes: list[tuple[IO[str], IO[str]]] = []
        for size in sizes:
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
                )
            )
            stack.callback(process.kill)
            assert process.stdin is not None
            assert process.stdout is not None
            pipes.append((process.stdin, process.stdout))
        introductions = [one for _, answers in pipes for one in json.loads(answers.readline())]
        for questions, _ in pipes:
            print(json.dumps(introductions), file=questions, flush=True)
        sockets = [one["description"]["attributes"]["cmbs"]["member"]["l1_socket"] for one in introductions]
        sites = Sites(pipes, sockets)
        sites.until_known(number, 60)
        yield sites


def _site(home: Path, definitions: Sequence[Category], interval: float) -> Broker:
    """One broker without processes, whose member listens."""
    home.mkdir()
    settings = Settings(home=home, probe_interval=interval)
    store, transports = MemoryStore(), Transports(TRANSPORTS)
    engine, broker = assemble_engine(settings, store, transports, home / "engine.sock", transports.check)
    broker.categories.ship(definitions)
    engine.start()
    url = f"tcp://127.0.0.1:{free_port()}"
    member = {"state": "active", **{f"{layer}_socket": url for layer in _LAYERS}}
    (own,) = broker.entities.create(cmbs.MEMBER_LOCATION, [Draft(attributes={"cmbs": {"member": member}})])
    for layer in _LAYERS:
        broker.entities.act(own.path, Invocation(f"start_{layer}", "", {}))
    return broker


def main() -> None:
    """Be one process of sites."""
    interval, number = float(sys.argv[1]), int(sys.argv[2])
    definitions = shipped_definitions()
    with tempfile.TemporaryDirectory(prefix="sites-") as name:
        sites = [_site(Path(name) / str(place), definitions, interval) for place in range(number)]
        print(json.dumps([one.members.now().introduction for one in sites]), flush=True)
        everybody = {"members": json.loads(sys.stdin.readline())}
        for one in sites:
            one.federation.hear(everybody)
        for _ in sys.stdin:
            known = [len(one.members.all()) for one in sites]
            print(json.dumps({"known": known, "processor": time.process_time()}), flush=True)


if __name__ == "__main__":
    main()
