"""``pycmbs demo``: three brokers on loopback find each other, message on every layer, and outlive a kill.

A client like any other: it starts brokers as ``pycmbs serve`` does, in a temporary home and on free ports, and speaks HTTP to
them. It imports nothing of the broker.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_LAYERS = ("l1", "l2", "l31", "l32", "l4")
_SITES = {"paris": ["network.>"], "rome": ["network.link"], "oslo": ["storage.*"]}
"""The three members, and the topics that each is interested in."""
_FLAGS = ("--port", "0", "--workers", "1", "--retry-first", "0.2", "--retry-most", "1", "--config", ".")
_PATIENCE = 15.0
"""Seconds that anything may take before the demo gives up."""
_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoError(Exception):
    """Something did not happen as it should; the text says what."""


class _Site:
    """One broker, in a process group of its own, and the member that it is."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self._home = home / name
        self._log = home / f"{name}.log"
        self._process: subprocess.Popen[str] | None = None
        self._url = ""
        self.sockets = dict(zip(_LAYERS, _free_sockets(len(_LAYERS)), strict=True))

    def start(self) -> None:
        """Start the broker and wait until it serves."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYCMBS_")}
        environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent.parent), environ.get("PYTHONPATH", "")])
        with self._log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pycmbs", "serve", "--home", str(self._home), *_FLAGS],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, env=environ,
                cwd=self._home.parent, start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "listening on " not in line:
            raise DemoError(f"the broker {self.name} did not start: {line}{self._log.read_text(encoding='utf-8')}")
        self._url = line.split("listening on ")[1].split("/, ")[0]

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the JSON of its answer."""
        request = urllib.request.Request(  # noqa: S310 - the broker that was started here
            self._url + path, None if body is None else json.dumps(body).encode(), method=method,
            headers={"Content-Type": "application/occi+json", "Accept": "application/occi+json"},
        )  # fmt: skip
        try:
            with _HTTP.open(request, timeout=_PATIENCE) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise DemoError(f"{method} {path} at {self.name}: {error.code} {error.read().decode()}") from None

    def join(self, neighbors: Sequence[str]) -> None:
        """Become a member, and listen on every layer."""
        sockets = {f"cmbs.member.{layer}_socket": url for layer, url in self.sockets.items()}
        attributes = {
            **sockets,
            "cmbs.member.topics": _SITES[self.name],
            "cmbs.member.neighbors_socket": list(neighbors),
        }
        entity = {"kind": "http://houssem.org/cmbs#member", "id": self.name, "attributes": attributes}
        self.ask("POST", "/cmbs/member/", {"resources": [entity]})
        for layer in _LAYERS:
            self.ask("POST", f"/cmbs/member/{self.name}?action=start_{layer}")

    def known(self) -> set[str]:
        """The members that it knows, itself included."""
        return {url.rpartition("/")[2] for url in self.ask("GET", "/cmbs/member/")["X-OCCI-Location"]}

    def send(self, layer: str, content: Any, wait: float = 5, **attributes: Any) -> tuple[str, dict[str, Any]]:
        """Make and send a message; its path, and the report."""
        named = {f"cmbs.message.{name}": value for name, value in attributes.items()}
        entity = {
            "kind": "http://houssem.org/cmbs#message",
            "mixins": [f"http://houssem.org/cmbs#{layer}"],
            "attributes": {"cmbs.message.message_content": content, **named},
        }
        url = self.ask("POST", "/cmbs/message/", {"resources": [entity]})["Location"][0]
        path = "/cmbs/message/" + url.rpartition("/")[2]
        return path, self.ask("POST", f"{path}?action=send_{layer}", {"attributes": {"wait": wait}})

    def state(self, path: str) -> str:
        """The state of a message."""
        return str(self.ask("GET", path)["attributes"]["cmbs"]["message"]["state"])


def run() -> int:
    """Show it; returns the exit code. Leaves nothing behind, also when it is interrupted."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="pycmbs-demo-") as home, _running(Path(home)) as sites:
            _say("start", f"three brokers on loopback, {', '.join(_SITES)}: {time.monotonic() - began:.1f} s")
            _meet(*sites)
            _every_layer(*sites)
            _killed(*sites)
    except DemoError as error:
        print(f"pycmbs: the demo failed: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    _say("end", f"all stopped and removed after {time.monotonic() - began:.0f} s")
    return 0


@contextlib.contextmanager
def _running(home: Path) -> Iterator[list[_Site]]:
    sites = [_Site(name, home) for name in _SITES]
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
    oslo.ask("POST", "/cmbs/member/oslo?action=check_neighbors")
    _wait_until(lambda: all(one.known() == set(_SITES) for one in (paris, rome, oslo)), "all know all")
    _say("discover", "oslo was told of rome, rome of paris; now each knows all three")


def _every_layer(paris: _Site, rome: _Site, _oslo: _Site) -> None:
    to = {"providers": ["oslo"]}
    for layer, what, attributes in (
        ("l1", "to rome's socket", {"l1_socket_receiver_member": rome.sockets["l1"]}),
        ("l2", "to all", {}),
        ("l31", "to the provider oslo", to),
        ("l32", "by the topic network.link", {"topics": ["network.link"]}),
        ("l4", "to oslo, by the topic storage.disk", {**to, "topics": ["storage.disk"]}),
    ):
        _, report = paris.send(layer, {"event": "link-down"}, **attributes)
        ledger = ", ".join(f"{row['member']} {row['state']}" for row in report["deliveries"])
        _say(layer.replace("l3", "l3."), f"paris sends {what}: {ledger}")
        if report["state"] != "delivered":
            raise DemoError(f"the message on {layer} is {report['state']}: {report}")


def _killed(paris: _Site, rome: _Site, _oslo: _Site) -> None:
    rome.kill()
    sent = [paris.send("l2", {"number": number}, wait=0)[0] for number in range(3)]
    _say("kill", f"kill -9 of rome; paris sends 3 messages to all, and they are {paris.state(sent[0])}")
    began = time.monotonic()
    rome.start()
    _wait_until(lambda: all(paris.state(path) == "delivered" for path in sent), "what waited is delivered")
    numbers = [rome.ask("GET", path)["attributes"]["cmbs"]["message"]["message_content"]["number"] for path in sent]
    taken = time.monotonic() - began
    _say("restart", f"rome is back, and {taken:.1f} s later has the messages {numbers}: each delivered, none lost")


def _wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(f"it did not happen within {_PATIENCE:.0f} s that {what}")
        time.sleep(0.05)


def _free_sockets(number: int) -> list[str]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [f"tcp://127.0.0.1:{probe.getsockname()[1]}" for probe in probes]


def _say(step: str, sentence: str) -> None:
    print(f"{step:<9} {sentence}", flush=True)
