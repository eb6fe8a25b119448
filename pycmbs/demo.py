"""``pycmbs demo``: three loopback brokers find each other, message on every layer, and survive a kill.

With ``--secure`` they have keys; who is invited joins, a stranger does not, and one is revoked.

A client like any other: it starts brokers as ``pycmbs serve`` does, in a temporary home and on free ports, and uses the client
library. It imports nothing of the broker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pycmbs.client import Client, Sent
from pycmbs.client.calls import MOST_WAIT, Call
from pycmbs.client.verbs import LAYERS, send
from pycmbs.errors import CmbsError

_SITES = {"paris": ["network.>"], "rome": ["network.link"], "oslo": ["storage.*"]}
"""The three members, and the topics that each is interested in."""
_STRANGER = "lima"
_CLOSED = ("--members", "closed", "--probe-interval", "0.5", "--neighbor-timeout", "1")
_NOT_KNOWN = "it does not know this member"
_FLAGS = ("--port", "0", "--workers", "1", "--retry-first", "0.2", "--retry-most", "1", "--config", ".")
_WAIT_SECONDS = 15.0
"""Seconds that anything may take before the demo gives up."""


class DemoError(Exception):
    """Something did not happen as it should; the text says what."""


class _Site:
    """One broker, in a process group of its own, and the member that it is."""

    def __init__(self, name: str, home: Path, *flags: str) -> None:
        self.name = name
        self._flags = flags
        self._home = home / name
        self._log = home / f"{name}.log"
        self._process: subprocess.Popen[str] | None = None
        self.client: Client
        self.sockets = dict(zip(LAYERS, _free_sockets(len(LAYERS)), strict=True))

    def start(self) -> None:
        """Start the broker and wait until it serves."""
        with self._log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pycmbs", "serve", "--home", str(self._home), *_FLAGS, *self._flags],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, env=_environ(),
                cwd=self._home.parent, start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "listening on " not in line:
            raise DemoError(f"the broker {self.name} did not start: {line}{self._log.read_text(encoding='utf-8')}")
        self.client = Client(line.split("listening on ")[1].split("/, ")[0], timeout=_WAIT_SECONDS)

    def command(self, *words: str, code: int = 0) -> str:
        """What a command of ``pycmbs`` says of its home."""
        done = subprocess.run(
            [sys.executable, "-m", "pycmbs", *words, "--home", str(self._home), "--config", "."],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_environ(), cwd=self._home.parent, check=False,
        )  # fmt: skip
        if done.returncode != code:
            raise DemoError(f"pycmbs {words[0]} at {self.name} ends with {done.returncode}: {done.stderr}{done.stdout}")
        return (done.stdout if code == 0 else done.stderr).strip()

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
            if hasattr(self, "client"):
                self.client.close()

    def join(self, neighbors: Sequence[str]) -> None:
        """Become a member, listen on every layer, and look for the others."""
        self.client.join(self.name, self.sockets, topics=_SITES.get(self.name, ()), neighbors=neighbors)

    def unreachable(self) -> list[str]:
        """Why the members are not there that it looks for."""
        report = self.client.call(Call("POST", f"/cmbs/member/{self.name}?action=check_neighbors", {}, MOST_WAIT))
        return [str(one["reason"]) for one in report["attributes"].get("unreachable", ())]

    def trust(self, line: str) -> None:
        """Have it trust a member, as someone may write it into its file."""
        with (self._home / "members").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def known(self) -> set[str]:
        """The members that it knows, itself included."""
        return {one.id for one in self.client.members()}

    def send(self, content: Any, wait: float = 5, **to: Any) -> Sent:
        """Make and send a message."""
        return self.client.run(send(content, wait=wait, **to))

    def state(self, message: Sent) -> str:
        """The state of a message."""
        return self.client.message(message.id).state


def run(keep: Callable[[Mapping[str, str]], None] | None = None, *, secure: bool = False) -> int:
    """Show it, or with ``secure`` what keys do; returns the exit code. Leaves nothing behind, also when it is interrupted.
    ``keep``: is given the URLs by name once the three know each other, and ends with a KeyboardInterrupt."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="pycmbs-demo-") as home, _running(Path(home), secure=secure) as sites:
            names = [one.name for one in sites]
            number = "four" if secure else "three"
            _say("start", f"{number} brokers on loopback, {', '.join(names)}: {time.monotonic() - began:.1f} s")
            (_invited if secure else _meet)(*sites)
            if keep is not None:
                with contextlib.suppress(KeyboardInterrupt):
                    keep({one.name: one.client.place.url for one in sites})
                return 0
            for part in (_strange, _revoked) if secure else (_every_layer, _killed):
                part(*sites)
    except (DemoError, CmbsError) as error:
        print(f"pycmbs: the demo failed: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    _say("end", f"all stopped and removed after {time.monotonic() - began:.0f} s")
    return 0


@contextlib.contextmanager
def _running(home: Path, *, secure: bool) -> Iterator[list[_Site]]:
    names, flags = ((*_SITES, _STRANGER), _CLOSED) if secure else (tuple(_SITES), ())
    sites = [_Site(name, home, *flags) for name in names]
    try:
        with ThreadPoolExecutor(len(sites)) as pool:
            list(pool.map(_Site.start, sites))
        yield sites
    finally:
        for one in sites:
            one.kill()


def _meet(paris: _Site, rome: _Site, oslo: _Site) -> None:
    paris.join([])
    rome.join([paris.sockets["l1"]])
    oslo.join([rome.sockets["l1"]])
    _wait_until(lambda: all(one.known() == set(_SITES) for one in (paris, rome, oslo)), "all know all")
    _say("discover", "oslo was told of rome, rome of paris; now each knows all three")


def _every_layer(paris: _Site, rome: _Site, _oslo: _Site) -> None:
    for layer, what, to in (
        ("l1", "to rome's socket", {"socket": rome.sockets["l1"]}),
        ("l2", "to all", {}),
        ("l31", "to the provider oslo", {"to": ["oslo"]}),
        ("l32", "by the topic network.link", {"topics": ["network.link"]}),
        ("l4", "to oslo, by the topic storage.disk", {"to": ["oslo"], "topics": ["storage.disk"]}),
    ):
        sent = paris.send({"event": "link-down"}, **to)
        ledger = ", ".join(f"{row.member} {row.state}" for row in sent.ledger)
        _say(layer.replace("l3", "l3."), f"paris sends {what}: {ledger}")
        if (sent.layer, sent.state) != (layer, "delivered"):
            raise DemoError(f"the message on {sent.layer} is {sent.state}: {ledger}")


def _killed(paris: _Site, rome: _Site, _oslo: _Site) -> None:
    rome.kill()
    sent = [paris.send({"number": number}, wait=0) for number in range(3)]
    _say("kill", f"kill -9 of rome; paris sends 3 messages to all, and they are {paris.state(sent[0])}")
    began = time.monotonic()
    rome.start()
    _wait_until(lambda: all(paris.state(one) == "delivered" for one in sent), "what waited is delivered")
    numbers = [rome.client.message(one.id).content["number"] for one in sent]
    taken = time.monotonic() - began
    _say("restart", f"rome is back, and {taken:.1f} s later has the messages {numbers}: each delivered, none lost")


def _invited(paris: _Site, rome: _Site, oslo: _Site, _lima: _Site) -> None:
    paris.join([])
    line = paris.command("invite", "--uses", "2")
    _say("invite", f"paris says who may come, two brokers within a day: {line[:30]}…")
    for newcomer in (rome, oslo):
        newcomer.join([])
        _say("join", f"{newcomer.name} takes the line, and has {newcomer.command('join', line, '--members', 'closed')}")
    began = time.monotonic()
    _wait_until(lambda: all(one.known() == set(_SITES) for one in (paris, rome, oslo)), "all know all")
    listed = next(one for one in rome.command("member", "list").splitlines() if one.startswith("oslo\t"))
    _say("vouch", f"{time.monotonic() - began:.1f} s later rome knows oslo, too: {listed.split(chr(9))[2]}, paris")
    sent = rome.send({"event": "link-down"}, wait=_WAIT_SECONDS, to=["oslo"])
    _say("send", f"rome sends to oslo, encrypted between the two: {sent.state}")
    if sent.state != "delivered":
        raise DemoError(f"the message of rome is {sent.state}: {sent.ledger}")


def _strange(paris: _Site, _rome: _Site, _oslo: _Site, lima: _Site) -> None:
    lima.join([])
    line = paris.command("invite", "--valid", "1s")
    time.sleep(1)
    _say("late", f"lima comes with a line that was good for a second: {_first(lima.command('join', line, code=1))}")
    keys = dict(one.split(maxsplit=1) for one in paris.command("key", "show").splitlines())
    lima.trust(f"paris {keys['identity']} {keys['curve']} {paris.sockets['l1']}")
    _wait_until(lambda: _NOT_KNOWN in " ".join(lima.unreachable()), "a stranger is refused")
    _say("stranger", f"lima knows the keys of paris, but not the other way: {_NOT_KNOWN}")


def _revoked(paris: _Site, rome: _Site, _oslo: _Site, _lima: _Site) -> None:
    said = _first(paris.command("member", "revoke", "oslo"))
    began = time.monotonic()
    _wait_until(lambda: "revoked" in rome.command("member", "list"), "it is known that oslo is revoked")
    _say("revoke", f"paris says that {said}, and {time.monotonic() - began:.1f} s later rome knows")
    sent = rome.send("are you there?", wait=_WAIT_SECONDS, to=["oslo"])
    _say("gone", f"what rome sends to oslo is {sent.state}: {'; '.join(row.reason for row in sent.ledger)}")


def _first(text: str) -> str:
    return text.splitlines()[0].removeprefix("pycmbs: ").partition(";")[0]


def _wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(f"it did not happen within {_WAIT_SECONDS:.0f} s that {what}")
        time.sleep(0.05)


def _environ() -> dict[str, str]:
    """The environment of brokers and commands: with this package, and without the settings of the user that runs the demo."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYCMBS_")}
    environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent.parent), environ.get("PYTHONPATH", "")])
    return environ


def _free_sockets(number: int) -> list[str]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [f"tcp://127.0.0.1:{probe.getsockname()[1]}" for probe in probes]


def _say(step: str, sentence: str) -> None:
    print(f"{step:<9} {sentence}", flush=True)
