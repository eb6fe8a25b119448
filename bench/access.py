"""What it costs that the broker knows who asks: the processor time of its front for a durable POST, with and without; what
others feel of those who are not known yet; and memory."""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.broker import Broker, running
from bench.load import WARM_UP, Figures, Orders, Request, run
from bench.scenarios import posted
from pycmbs.runtime import ThreadRuntime
from pycmbs.services.access import passwords
from pycmbs.services.access.users import USERS, Token, User, line_of
from pycmbs.wsgi.jwt import WebTokens

CONNECTIONS = 32
COLD, WRONG = 10, 200
"""Logins a second beside which others are measured: right ones that are not known yet, and wrong ones."""
_BESIDE = 8
"""Connections of the others."""
_COLD_USERS = 400
_ISSUER, _AUDIENCE = "https://id.example", "cmbs"
_SOME = 200

Runs = dict[str, Callable[[], Figures]]


class House:
    """A broker that knows users, tokens and an issuer, and one that knows nobody, each with one front."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._key = rsa.generate_private_key(65537, 2048)
        (home / "issuer.pem").write_bytes(
            self._key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        self.token = passwords.new_token()
        kept = passwords.hashed("pass")
        users = [User(name, kept, roles=("operator",)) for name in ("user", *map(_cold_name, range(_COLD_USERS)))]
        self._lines = [*users, Token("ci", "1", passwords.digest(self.token), ("operator",))]

    @contextlib.contextmanager
    def open(self, name: str, *flags: str, users: bool) -> Iterator[Broker]:
        """A broker with its home of that name below this one."""
        home = self._home / name
        home.mkdir(mode=0o700)
        if users:
            (home / USERS).write_text("".join(line_of(one) + "\n" for one in self._lines))
        with running(home, 1, *flags) as broker:
            yield broker

    @property
    def jwt(self) -> dict[str, str]:
        """The settings by which the issuer is believed."""
        keys = str(self._home / "issuer.pem")
        return {"issuer": _ISSUER, "audience": _AUDIENCE, "keys": keys, "claim": "groups", "roles": "all=operator"}

    @property
    def jwt_flags(self) -> list[str]:
        """The same, as flags."""
        return [word for name, text in self.jwt.items() for word in (f"--jwt-{name}", text)]

    def web_token(self) -> str:
        """A token of the issuer's, RS256."""
        from joserfc import jwt
        from joserfc.jwk import RSAKey

        said = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": "alice", "exp": int(time.time()) + 3600, "groups": ["all"]}
        return jwt.encode({"alg": "RS256"}, said, RSAKey.import_key(self._key))  # type: ignore[arg-type] # one of the library's


@contextlib.contextmanager
def logins(home: Path, seconds: float) -> Iterator[tuple[Runs, Runs]]:
    """The runs by name, each time first those without users, or without others' logins, under no name. A rate of the first is
    of answers in a second of the front's processor."""
    house = House(home)
    with (
        house.open("open", users=False) as without,
        house.open("users", *house.jwt_flags, users=True) as known,
    ):
        basic = _basic("user", "pass")
        yield (
            {
                "": _measured(without, home / "open", posted(), seconds),
                "POST with a login": _measured(known, home / "users", _by(basic), seconds),
                "POST with a token": _measured(known, home / "users", _by(f"Bearer {house.token}"), seconds),
                "POST with a JWT": _measured(known, home / "users", _by(f"Bearer {house.web_token()}"), seconds),
            },
            {
                "": lambda: run(Orders(known.port, _BESIDE, seconds, [_by(basic)])),
                f"POST beside {COLD} cold logins a second": lambda: _beside(known, seconds, COLD, _cold, basic),
                f"POST beside {WRONG} wrong logins a second": lambda: _beside(known, seconds, WRONG, _wrong, basic),
            },
        )


def cold(seconds: float) -> float:
    """How long one takes whose password is not known yet, in seconds of a processor: the least of some."""
    kept = passwords.hashed("pass")
    found, end = [], time.monotonic() + seconds
    while not found or time.monotonic() < end:
        before = time.thread_time()
        assert passwords.verified(kept, "pass")
        found.append(time.thread_time() - before)
    return min(found)


def cold_jwt(home: Path) -> float:
    """The same for a JWT by RS256."""
    house = House(home)
    checks = WebTokens.of(ThreadRuntime(), **house.jwt)
    assert checks is not None
    asked = {"HTTP_AUTHORIZATION": f"Bearer {house.web_token()}"}
    assert checks.authenticate(asked)
    found = []
    for _ in range(_SOME):
        before = time.thread_time()
        checks.authenticate(asked)
        found.append(time.thread_time() - before)
    return min(found)


def resident(home: Path) -> dict[str, float]:
    """How many MB more a front and an engine have with users, and a front with an issuer besides, each after some requests."""
    house = House(home)
    found: dict[str, list[float]] = {}
    for name, flags, users in (("nobody", [], False), ("user", [], True), ("issuer", house.jwt_flags, True)):
        with house.open(name, *flags, users=users) as broker:
            credentials = {"nobody": "", "user": _basic("user", "pass"), "issuer": f"Bearer {house.web_token()}"}[name]
            run(Orders(broker.port, _BESIDE, 0.5, [_by(credentials) if credentials else posted()]))
            found[name] = [_memory(_pid(home / name, role)) for role in ("front", "engine")]
    more = [
        [now - before for now, before in zip(found[name], found["nobody"], strict=True)] for name in ("user", "issuer")
    ]
    return {"users_front_mb": more[0][0], "users_engine_mb": more[0][1], "jwt_front_mb": more[1][0]}


# Those who are not known yet

_turn = itertools.count()


def _cold_name(number: int) -> str:
    return f"cold{number}"


def _cold() -> tuple[str, tuple[int, ...]]:
    return _basic(_cold_name(next(_turn) % _COLD_USERS), "pass"), (200,)


def _wrong() -> tuple[str, tuple[int, ...]]:
    return _basic(f"nobody{next(_turn)}", "pass"), (401, 429, 503)


def _beside(
    broker: Broker, seconds: float, number: int, who: Callable[[], tuple[str, tuple[int, ...]]], basic: str
) -> Figures:
    """The others' figures while so many a second say who they are. Raises RuntimeError for an answer that is none of theirs."""
    over, wrong = threading.Event(), []

    def ask(part: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", broker.port, timeout=30)
        due = time.monotonic() + part / number
        while not over.wait(max(0.0, due - time.monotonic())):
            due = max(due + threads / number, time.monotonic() - 1)
            credential, expected = who()
            connection.request("GET", "/cmbs/member/", headers={"Authorization": credential})
            answer = connection.getresponse()
            answer.read()
            if answer.status not in expected:
                wrong.append(answer.status)
        connection.close()

    threads = max(2, number // 10)
    asking = [threading.Thread(target=ask, args=(part,)) for part in range(threads)]
    for thread in asking:
        thread.start()
    try:
        found = run(Orders(broker.port, _BESIDE, seconds, [_by(basic)]))
    finally:
        over.set()
        for thread in asking:
            thread.join()
    if wrong:
        raise RuntimeError(f"a login was answered {statistics.mode(wrong)}")
    return found


# What is asked, and of what it is measured


def _basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _by(credential: str) -> Request:
    request = posted()
    return replace(request, headers=(*request.headers, ("Authorization", credential)))


def _pid(home: Path, role: str) -> int:
    children = json.loads((home / "run" / "broker.json").read_text())["children"]
    return next(int(one["pid"]) for one in children if one["role"] == role)


def _measured(broker: Broker, home: Path, request: Request, seconds: float) -> Callable[[], Figures]:
    pid = _pid(home, "front")
    request.ask(broker.port)  # from now on it is known who asks

    def measure() -> Figures:
        before = _used(pid)
        found = run(Orders(broker.port, CONNECTIONS, seconds, [request]))
        answers = found.rate * seconds * (1 + WARM_UP)
        return replace(found, rate=answers / max(1e-9, _used(pid) - before))

    return measure


def _used(pid: int) -> float:
    """Seconds of the processor that a process has used."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(one.read_text().split()[0]) for one in tasks) / 1e9


def _memory(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
