"""HTTP authentication: passwords (Basic) and the broker's own tokens (Bearer, X-Auth-Token); JWTs are in jwt.py.

The seam: an *authenticator* knows one way in which clients say who they are. It is asked with the WSGI environment of a
request, and

- returns a :class:`~pycmbs.services.access.principal.Principal` when the request proves who asks in its way;
- returns None when the request says nothing in its way, so that the next one is asked;
- raises Unauthenticated (or TooManyAttempts, or an Unavailable) when the request does say something, and it is wrong: no other
  is asked then.

It must not hold up others: what computes or waits goes through the runtime's ``offload``. The client's certificate, where TLS
has asked for one, is at ``environ[PEER_CERTIFICATE]``, as ``ssl.SSLSocket.getpeercert()`` gives it. What comes of a request's
``Authorization`` and ``X-Auth-Token`` is kept for :data:`KEEP_SECONDS`, until the users' file changes or the principal's own
``until`` (seconds since the epoch), so an authenticator of those is asked once for many requests; one of certificates is asked
each time. ``users.directory.certificates`` has the users by the subjects of their certificates.

To add one: a class with ``authenticate``, and its place in the list that :func:`standard` makes. Where no one has to say who he
is (no users), no authenticator is asked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pycmbs.errors import CmbsError, Unauthenticated
from pycmbs.runtime import Runtime, Signal
from pycmbs.services.access import passwords
from pycmbs.services.access.principal import OPEN, Principal
from pycmbs.services.access.users import Users
from pycmbs.wsgi.attempts import Attempts, Desk

PEER_CERTIFICATE = "pycmbs.peer_certificate"
"""Where in the environment the client's certificate is."""
LOGIN = "pycmbs.login"
"""Where in the environment is a list, empty at first, that lasts as long as the connection: what its last request said of who
asks, and what is known of that. It says nothing that the same credentials would not on another connection, only sooner."""
PRINCIPAL = "pycmbs.principal"
"""Where in the environment is who asks."""
KEEP_SECONDS = 60.0
"""How long it is known what came of credentials, unless something changes before."""
MOST_KEPT = 10_000
"""Credentials of which that is known."""
ATTEMPTS = "attempts"
"""The file of wrong passwords, among the runtime files."""
_LONGEST = 2048
"""Characters of credentials that a connection keeps."""
REALM = "pyCMBS"

Environ = Mapping[str, Any]
_Kept = tuple[float, Principal]
"""What came of credentials, and until when that is known, on the monotonic clock."""


class Authenticator(Protocol):
    """One way to say who one is."""

    def authenticate(self, environ: Environ) -> Principal | None:
        """The principal; None when the request has no credentials of this kind. Raises Unauthenticated, TooManyAttempts,
        Unavailable."""


def refusal(message: str = "this broker wants to know who asks") -> Unauthenticated:
    """The challenge to an unauthenticated client."""
    return Unauthenticated(
        message,
        hint="Send --user NAME:PASSWORD or -H 'Authorization: Bearer TOKEN'; pycmbs user add makes users.",
    )


def bearer(environ: Environ) -> str | None:
    """The token of a request, in either field; None when it has none."""
    scheme, _, text = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer":
        return str(text.strip())
    return environ.get("HTTP_X_AUTH_TOKEN")


def _counts(kept: _Kept, now: float) -> bool:
    """Whether what is known of credentials is still so."""
    return kept[0] > now and (kept[1].until == math.inf or kept[1].until > time.time())


class _Pending:
    """Credentials that are being checked: others that come with the same wait."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.found: Principal | None = None
        self.error: CmbsError | None = None


class Gate:
    """Gives each request its principal."""

    def __init__(
        self, users: Users, runtime: Runtime, authenticators: Sequence[Authenticator], *, keystone: str = ""
    ) -> None:
        """``authenticators`` are asked in this order. ``keystone``: the URL of a Keystone to which who is not known is sent."""
        self._users = users
        self._runtime = runtime
        self._pending: dict[bytes, _Pending] = {}
        self._authenticators = authenticators
        self._challenge = f"Keystone uri='{keystone}'" if keystone else f'Basic realm="{REALM}"'
        # With secret words in its parameters it is as good as one with a key, and has one block less to work through.
        self._hash = hashlib.blake2s(salt=secrets.token_bytes(8), person=secrets.token_bytes(8))
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._version = -1
        self._required = True
        self._due = 0.0

    @property
    def required(self) -> bool:
        """Whether requests need credentials."""
        return self._users.look(time.monotonic())

    def admit(self, environ: Environ) -> Principal:
        """The principal. Raises Unauthenticated, TooManyAttempts, Unavailable."""
        now = time.monotonic()
        if now >= self._due:
            self._look(now)
        if not self._required:
            return OPEN
        said, token = environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_X_AUTH_TOKEN")
        if token is not None:
            said = f"{said or ''}\0{token}"
        elif said is None:
            return self._ask(environ)
        last = environ.get(LOGIN)
        if last and last[0] == said and last[1] == self._version and _counts(last[2], now):
            found: Principal = last[2][1]
            return found
        hashing = self._hash.copy()
        hashing.update(said.encode("latin-1", "replace"))
        key = hashing.digest()
        kept = self._kept.get(key)
        if kept is None or not _counts(kept, now):
            return self._checked(key, environ)
        if last is not None and len(said) <= _LONGEST:
            last[:] = said, self._version, kept
        return kept[1]

    def _checked(self, key: bytes, environ: Environ) -> Principal:
        """The principal of credentials of which nothing is known any more."""
        version = self._version
        principal = self._once(key, environ)
        if version == self._users.version:  # else what was found may be revoked already
            self._kept[key] = (time.monotonic() + KEEP_SECONDS, principal)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return principal

    def _look(self, now: float) -> None:
        """What of the users matters to every request, kept until they are looked at again."""
        self._required = self._users.look(now)
        self._due = self._users.due
        if self._version != self._users.version:
            self._kept.clear()
            self._version = self._users.version

    def _once(self, key: bytes, environ: Environ) -> Principal:
        """Ask once for all requests with these credentials that are here now. Raises what that raises."""
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = _Pending(self._runtime.signal())
            try:
                pending.found = self._ask(environ)
            except CmbsError as exc:
                pending.error = exc
                raise
            finally:
                del self._pending[key]
                pending.signal.set()
            return pending.found
        pending.signal.wait()
        if pending.found is None:
            raise pending.error or refusal()
        return pending.found

    def _ask(self, environ: Environ) -> Principal:
        for authenticator in self._authenticators:
            found = authenticator.authenticate(environ)
            if found is not None:
                return found
        raise refusal()

    def challenge(self, environ: Environ) -> list[tuple[str, str]]:
        """The field that asks who it is; none for a browser's request: it would keep a password, and lend it to any page."""
        if "HTTP_ORIGIN" in environ or any(name.startswith("HTTP_SEC_FETCH_") for name in environ):
            return []
        return [("WWW-Authenticate", self._challenge)]


class Passwords:
    """``Authorization: Basic``, of the users' file (RFC 7617)."""

    def __init__(self, users: Users, runtime: Runtime, attempts: Attempts) -> None:
        self._users = users
        self._desk = Desk(runtime)
        self._attempts = attempts

    def authenticate(self, environ: Environ) -> Principal | None:
        """See :class:`Authenticator`."""
        scheme, _, text = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        name, password = _pair(text)
        user = self._users.directory.users.get(name)
        kept = user.password if user is not None else ""
        address = environ.get("REMOTE_ADDR", "")
        self._attempts.begin(name, address)
        good = self._desk.look(_check, kept, password)
        if user is None or not good:
            raise refusal("the name or the password is wrong")
        self._attempts.right(name, address)
        return Principal(name, user.roles, "password")


def _check(kept: str, password: str) -> bool:
    return passwords.verified(kept or passwords.dummy(), password)


def _pair(text: str) -> tuple[str, str]:
    """Name and password in a Basic credential. Raises Unauthenticated."""
    try:
        pair = base64.b64decode(text.strip().encode("ascii"), validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as exc:
        raise refusal("the Basic credential is not base64 of NAME:PASSWORD in UTF-8") from exc
    name, colon, password = pair.partition(":")
    if not colon:
        raise refusal("the Basic credential has no colon between name and password")
    return name, password


class Tokens:
    """Tokens that ``pycmbs token create`` made, as ``Authorization: Bearer`` or ``X-Auth-Token``."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def authenticate(self, environ: Environ) -> Principal | None:
        """See :class:`Authenticator`. Others' tokens are for others."""
        text = bearer(environ)
        if text is None or not text.startswith(passwords.TOKEN):
            return None
        found = self._users.directory.token(text)
        if found is None:
            raise refusal("the token is not known, was revoked, or has expired")
        token, roles = found
        return Principal(token.name, roles, "token", token.until)


def standard(users: Users, runtime: Runtime, run_dir: Path) -> list[Authenticator]:
    """The authenticators that every broker has. ``run_dir``: where its fronts share what they count."""
    return [Passwords(users, runtime, Attempts(run_dir / ATTEMPTS)), Tokens(users)]
