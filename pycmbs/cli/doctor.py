"""``doctor``: diagnoses a broker and its federation, ports that do not answer included."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click

from pycmbs.cli import printing
from pycmbs.cli.session import COULD_NOT, DONE, Session, asking
from pycmbs.client import verbs
from pycmbs.client.places import HOME, Place, running
from pycmbs.client.verbs import LAYERS
from pycmbs.client.views import Member
from pycmbs.errors import CmbsError

OK, WARN, FAIL = "ok", "warn", "FAIL"
_ANSWER_SECONDS = 2.0
"""Seconds for a port to answer."""
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}  # noqa: S104 - addresses to listen on
_LITTLE = 256_000_000
"""Fewer free bytes of disk than this are reported."""


class Finding(NamedTuple):
    """One thing that was checked: its state, its name, and a sentence."""

    level: str
    about: str
    sentence: str


@asking(
    "doctor",
    "say what is well with a broker, its store and its federation, what is not, and which port is blocked",
    "pycmbs doctor\npycmbs doctor --home ~/.pycmbs-2 -o json",
    formats=("table", "json", "jsonl"),
)
def doctor(session: Session) -> int:
    """Look."""
    members = session.do(verbs.members())
    home = _home_of(session.place)
    found = [
        *_broker(session, home),
        *(_own(members)),
        *(finding for one in members if not one.own for finding in _other(one, here=home is not None)),
    ]
    session.show([one._asdict() for one in found], lambda: printing.findings(found))
    return COULD_NOT if any(one.level == FAIL for one in found) else DONE


def _home_of(place: Place) -> tuple[Path, dict[str, Any]] | None:
    """The home of the broker, if it runs on this machine and the home is known, and the home's record of who runs."""
    said = click.get_current_context().params.get("home") or os.environ.get("PYCMBS_HOME") or HOME
    home = Path(said).expanduser()
    try:
        document = running(home)
    except CmbsError:
        return None
    return (home, document) if str(document.get("url", "")).rstrip("/") == place.url else None


def _broker(session: Session, home: tuple[Path, dict[str, Any]] | None) -> Iterator[Finding]:
    began = time.monotonic()
    session.do(verbs.messages(number=1))
    taken = (time.monotonic() - began) * 1000
    for reason in session.do(verbs.readiness()):
        yield Finding(FAIL, "broker", f"takes no messages in: {reason}")
    if home is None:
        yield Finding(OK, "broker", f"{session.place.url}/ answers in {taken:.0f} ms, its store with it")
        return
    path, document = home
    children = document.get("children", [])
    fronts = sum(one["role"] == "front" and one["ready"] for one in children)
    yield Finding(
        OK if fronts else FAIL,
        "broker",
        f"{document.get('version')} at {session.place.url}/ answers in {taken:.0f} ms, its store with it: "
        f"{fronts} front{'s' * (fronts != 1)} of home {path}",
    )
    for one in children:
        if not one["ready"]:
            yield Finding(FAIL, one["name"], f"process {one['pid']} is not ready: the log says why")
    if not any(one["role"] == "engine" for one in children):
        yield Finding(FAIL, "engine", "does not run: what is accepted waits; the log says why")
    free = shutil.disk_usage(path).free
    level = WARN if free < _LITTLE else OK
    yield Finding(level, "disk", f"{free / 1e9:.1f} GB free for {path}")


def _own(members: list[Member]) -> Iterator[Finding]:
    own = next((one for one in members if one.own), None)
    if own is None:
        yield Finding(WARN, "member", "there is none here yet: pycmbs serve --member NAME --listen PORT makes one")
        return
    deaf = [layer for layer in LAYERS if own.document.get(f"{layer}_socket") and layer not in own.listening]
    if deaf:
        what = ", ".join(map(printing.layer_name, deaf))
        yield Finding(WARN, own.id, f"does not listen on {what}: what others send there waits")
    listening = own.listening.values() if isinstance(own.listening, dict) else []
    for url in dict.fromkeys(str(one) for one in listening):
        if why := _unreachable(url):
            yield Finding(FAIL, own.id, f"listens at {url}, and that {why}")
    if not deaf:
        yield Finding(OK, own.id, f"listens on all of its {len(own.listening)} layers")


def _other(one: Member, *, here: bool) -> Iterator[Finding]:
    way = f", reached through {one.via}" if one.via else ""
    if one.health == "alive":
        trip = f" in {one.round_trip_ms:.1f} ms" if one.round_trip_ms is not None else ""
        yield Finding(OK, one.id, f"answers{trip}{way}")
    elif one.health:
        urls = dict.fromkeys(str(url) for layer in LAYERS if (url := one.document.get(f"{layer}_socket")))
        yield Finding(FAIL, one.id, f"is {one.health}: {one.reason or 'it does not answer'}{way}")
        for url in urls if here else ():
            if why := _unreachable(url):
                yield Finding(FAIL, one.id, f"{url} {why}")
    else:
        yield Finding(WARN, one.id, "was not asked yet whether it is there")
    told = one.document.get("listening")
    deaf = [layer for layer in LAYERS if isinstance(told, list | dict) and told and layer not in told]
    for layer in deaf:
        yield Finding(WARN, one.id, f"does not listen on {printing.layer_name(layer)}: what is sent to it there waits")
    if waits := (one.document.get("health") or {}).get("oldest_unsent"):
        yield Finding(WARN, one.id, f"a message that was accepted at {waits} waits for it")


def _unreachable(url: str) -> str:
    """What is wrong with the port of a socket, as seen from here; empty if a connection is possible."""
    parts = urlsplit(url)
    host = _ANYWHERE.get(parts.hostname or "", parts.hostname)
    try:
        if parts.scheme == "tcp" and host and parts.port:
            socket.create_connection((host, parts.port), _ANSWER_SECONDS).close()
    except TimeoutError:
        return f"does not answer within {_ANSWER_SECONDS:g} s: is the port open in every firewall on the way?"
    except ConnectionRefusedError:
        return "refuses connections: nothing listens there, or a firewall refuses"
    except (OSError, ValueError) as exc:
        return f"cannot be reached from here: {getattr(exc, 'strerror', None) or exc}"
    return ""
