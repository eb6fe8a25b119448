"""Runs the scripts of a document in a copy of the checkout's root, against brokers of its own.

What starts a broker is done through :class:`tests.harness.Broker`, since the reader leaves it running in a terminal; all else
goes to ``sh`` as it stands, but for ports: those of the documents and of ``json_examples/`` become free ones.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.documents.answers import check_json, check_text
from tests.documents.markdown import ROOT, Step
from tests.harness import Broker, free_port

_PORT = re.compile(r"(?:(?<=127\.0\.0\.1:)|(?<=--port )|(?<=--listen ))(?:80[89]\d|5[01][1-4]\d)\b")
_START = re.compile(r"(?:[A-Z]+=\S+ )*(make run|\.venv/bin/pycmbs serve)\b")
_KILL = re.compile(r'kill "\$\(cat (\S+)/lock\)"')
_LOOK = re.compile(r'curl (?:-H \S+ \S+ )?"?http://[^" ]+"?')
_PATIENCE = 35.0
"""Seconds that what a script looks at may need to become what the document says: the longest pause, and a bit."""
_MAKE_RUN = ".venv/bin/pycmbs serve --home .run/home --config conf"


class Shell:
    """A reader who follows one document. ``folder`` is where the checkout's root seems to be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports: dict[str, str] = {}
        self._brokers: dict[str, Broker] = {}
        self._started: list[Broker] = []
        for name in ("json_examples", "conf"):
            shutil.copytree(ROOT / name, folder / name)
        for path in (folder / "json_examples").rglob("*.json"):
            path.write_text(self._with_free_ports(path.read_text(encoding="utf-8")), encoding="utf-8")
        command = folder / ".venv" / "bin" / "pycmbs"
        command.parent.mkdir(parents=True)
        command.write_text(
            f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m pycmbs "$@"\n'
        )
        command.chmod(0o755)

    def close(self) -> None:
        """Kill what still runs. No broker may have logged a traceback."""
        for broker in self._started:
            if broker.process is not None and broker.process.poll() is None:
                broker.kill()
        for broker in self._started:
            assert "Traceback" not in broker.log(), broker.log()

    def follow(self, step: Step) -> None:
        """Do what a step says, and compare what it prints. What only looks is done again until that is there."""
        only_looks = all(_LOOK.fullmatch(line) for line in step.script.splitlines())
        give_up = time.monotonic() + (_PATIENCE if only_looks and step.kind else 0)
        while True:
            try:
                self._follow(step)
            except AssertionError:
                if time.monotonic() >= give_up:
                    raise
                time.sleep(0.1)
            else:
                return

    def _follow(self, step: Step) -> None:
        printed = ""
        pending: list[str] = []
        for line in self._with_free_ports(step.script).replace("\\\n", " ").splitlines():
            if _START.match(line):
                printed += self._run(pending) + self._start(line)
                pending = []
            else:
                pending.append(line)
        printed += self._run(pending)
        documented = self._with_free_ports(step.answer)
        if step.kind == "json":
            check_json(documented, printed)
        elif step.kind == "text":
            check_text(documented, printed)

    def _with_free_ports(self, text: str) -> str:
        def other(found: re.Match[str]) -> str:
            if found[0] not in self._ports:
                self._ports[found[0]] = str(free_port())
            return self._ports[found[0]]

        return _PORT.sub(other, text)

    def _run(self, lines: list[str]) -> str:
        script = "\n".join(lines)
        done = subprocess.run(
            ["sh", "-e", "-c", script],
            cwd=self._folder,
            env={**os.environ, "NO_PROXY": "*"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode} from:\n{script}\n{done.stdout}\n{done.stderr}"
        for home in _KILL.findall(script):  # the reader sees it end in its terminal
            broker = self._brokers[home]
            assert broker.process is not None
            assert broker.process.wait(10) == 0
            broker.stop()  # closes what the test holds of it
        return done.stdout

    def _start(self, line: str) -> str:
        if line.partition("#")[0].strip() == "make run":
            assert _MAKE_RUN in _make_run_does(), _make_run_does()
            line = _MAKE_RUN
        words = shlex.split(line.replace("$PWD", str(self._folder)), comments=True)
        environ = dict(word.split("=", 1) for word in itertools.takewhile(lambda word: "=" in word, words))
        words = words[len(environ) + 2 :]
        options = dict(zip(words[::2], words[1::2], strict=True))
        home = options.pop("--home")
        port = int(options.pop("--port", self._with_free_ports("127.0.0.1:8090").rpartition(":")[2]))
        (self._folder / home).parent.mkdir(parents=True, exist_ok=True)
        flags = [word for option in options.items() for word in option]
        broker = Broker(self._folder / home, *flags, port=port, environ=environ)
        self._started.append(broker)
        self._brokers[home] = broker.start()
        return broker.line


def _make_run_does() -> str:
    """What ``make run`` would do, without doing it: it sets up .venv first, and these tests run in that already."""
    make = shutil.which("make")
    if make is None:
        return _MAKE_RUN
    done = subprocess.run([make, "-n", "run"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return " ".join(done.stdout.split())
