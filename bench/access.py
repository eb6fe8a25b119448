"""What it costs that the broker knows who asks: the processor time of its front for a durable POST, with and without."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from bench.broker import Broker, running
from bench.load import WARM_UP, Figures, Orders, Request, run
from bench.scenarios import posted
from pycmbs.services.access import passwords
from pycmbs.services.access.users import USERS, Token, User, line_of

CONNECTIONS = 32
_TICK = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def logins(home: Path, seconds: float) -> Iterator[dict[str, Callable[[], Figures]]]:
    """The runs, by name, the one without users under no name. A rate is of answers in a second of the front's processor."""
    token = passwords.new_token()
    users = [User("user", passwords.hashed("pass"), roles=("operator",))]
    tokens = [Token("ci", "1", passwords.digest(token), ("operator",))]
    closed = home / "users"
    closed.mkdir(mode=0o700)
    (closed / USERS).write_text("".join(line_of(one) + "\n" for one in (*users, *tokens)))
    basic = "Basic " + base64.b64encode(b"user:pass").decode()
    with running(home / "open", 1) as without, running(closed, 1) as known:
        yield {
            "": _measured(without, home / "open", posted(), seconds),
            "POST with a login": _measured(known, closed, _by(basic), seconds),
            "POST with a token": _measured(known, closed, _by(f"Bearer {token}"), seconds),
        }


def cold(seconds: float) -> float:
    """How long one takes whose password is not known yet, in seconds of a processor: the least of some."""
    kept = passwords.hashed("pass")
    found, end = [], time.monotonic() + seconds
    while not found or time.monotonic() < end:
        before = time.thread_time()
        assert passwords.verified(kept, "pass")
        found.append(time.thread_time() - before)
    return min(found)


def _by(credential: str) -> Request:
    request = posted()
    return replace(request, headers=(*request.headers, ("Authorization", credential)))


def _measured(broker: Broker, home: Path, request: Request, seconds: float) -> Callable[[], Figures]:
    children = json.loads((home / "run" / "broker.json").read_text())["children"]
    pid = next(one["pid"] for one in children if one["role"] == "front")

    def measure() -> Figures:
        before = _used(pid)
        found = run(Orders(broker.port, CONNECTIONS, seconds, [request]))
        answers = found.rate * seconds * (1 + WARM_UP)
        return replace(found, rate=answers / max(1 / _TICK, _used(pid) - before))

    return measure


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
