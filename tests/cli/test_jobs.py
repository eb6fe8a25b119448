"""The first jobs of a new user, typed as they would be, and how much is typed for them."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycmbs.client import Client
from pycmbs.errors import CmbsError
from tests.harness import ROOT, free_port, wait_until

SERVE = [
    "pycmbs serve --home p --port {} --member paris --listen {paris}",
    "pycmbs serve --home r --port {} --member rome --listen {} --neighbor 127.0.0.1:{paris} --topics 'network.>'",
    "pycmbs serve --home o --port {} --member oslo --listen {} --neighbor 127.0.0.1:{paris} --topics network.link",
]
"""Three sites of a federation, here on one machine."""
ALERT = """pycmbs pub network.link '{"event":"link-down"}' --wait 30 --home p"""
RESTART = "pycmbs request rome restart web --home p"
MOST_COMMANDS, MOST_TYPED, MOST_FOR_A_RESTART = 4, 400, 60
HANDLER = '''"""What Rome lets Paris do there."""

from pycmbs.handlers import Call, handler


@handler("restart")
def restart(call: Call) -> str:
    """Restarts a service."""
    return f"{call.target} runs again"
'''


class Person:
    """Types commands, all in one folder, and leaves sites running until the end."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.typed: list[str] = []
        self._folder = folder
        self._stack = stack
        self._started: list[subprocess.Popen[bytes]] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYCMBS_", "XDG_"))}
        self._environ = {**kept, "HOME": str(folder), "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}

    def start(self, command: str, **environ: str) -> None:
        """A command that goes on."""
        log = self._stack.enter_context((self._folder / f"log-{len(self.typed)}").open("wb"))
        process = subprocess.Popen(
            self._words(command),
            cwd=self._folder,
            env={**self._environ, **environ},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        self._started.append(process)
        self._stack.callback(process.wait, 30)
        self._stack.callback(process.send_signal, signal.SIGTERM)

    def check(self) -> None:
        """Fails if one that goes on does not, with what it said."""
        said = "".join(one.read_text() for one in sorted(self._folder.glob("log-*")))
        assert all(one.poll() is None for one in self._started), said

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """A command that ends."""
        return subprocess.run(
            self._words(command),
            cwd=self._folder,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def _words(self, command: str) -> list[str]:
        self.typed.append(command)
        program, *words = shlex.split(command)
        assert program == "pycmbs"
        return [sys.executable, "-m", program, *words]


def alive(home: Path) -> set[str]:
    """The members that a broker finds alive; none while it starts."""
    with contextlib.suppress(CmbsError), Client(home=home) as client:
        return {one.id for one in client.members() if one.health == "alive"}
    return set()


@pytest.fixture
def person(short: Path) -> Iterator[Person]:
    """Somebody at a shell."""
    with contextlib.ExitStack() as stack:
        yield Person(short, stack)


@pytest.mark.timeout(240)
def test_the_first_jobs_take_few_words(person: Person, short: Path) -> None:
    """From nothing, an alert by topic over three sites, and who got it: four commands, 400 characters. With the sites there, a
    restart at another one: one command, 60 characters."""
    (short / "at_rome.py").write_text(HANDLER, encoding="utf-8")
    rome = {"PYCMBS_HANDLERS": "at_rome", "PYCMBS_ALLOW": "paris restart target=web"}
    paris = free_port()
    for command, environ in zip(SERVE, ({}, rome, {}), strict=True):
        home = short / shlex.split(command)[3]
        person.start(command.format(free_port(), *[free_port()] * ("listen {}" in command), paris=paris), **environ)
        wait_until(lambda home=home: person.check() or (home / "run" / "broker.json").exists(), 60)
    wait_until(lambda: person.check() or alive(short / "p") == {"rome", "oslo"}, 60)
    alert = person.run(ALERT)
    assert (alert.returncode, alert.stderr) == (0, "")
    _, _, *rows, end = alert.stdout.splitlines()
    assert sorted(row.split()[:2] for row in rows) == [["oslo", "delivered"], ["rome", "delivered"]]
    assert end == "2 of 2 delivered"
    assert len(person.typed) <= MOST_COMMANDS
    assert sum(map(len, person.typed)) <= MOST_TYPED
    restart = person.run(RESTART)
    assert (restart.returncode, restart.stdout, restart.stderr) == (0, "web runs again\n", "")
    assert len(RESTART) <= MOST_FOR_A_RESTART
    other = person.run(RESTART.replace("web", "mail"))
    assert (other.returncode, other.stdout) == (3, "")
