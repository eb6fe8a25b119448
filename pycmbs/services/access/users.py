"""The users file of a home: users, tokens and client certificates with their roles; looks tokens up, checks expiry.

One line for each credential, ``NAME:CREDENTIAL:ROLES``, where CREDENTIAL is one of ::

    $argon2id$…                     a password
    $2y$… or $2b$…                  one of an htpasswd, where the extra bcrypt is installed
    token:ID:SHA256:UNTIL           a token; UNTIL in seconds since the epoch, or nothing
    cert:CN=…                       the subject of a client's certificate

and ROLES are words with commas between. An invalid line is ignored. ``#`` begins a comment. It is a file, and
not in the store, so that it works before the first start and while the store is away, and cannot be read over HTTP.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pycmbs.errors import ConfigurationError, InvalidRequest
from pycmbs.services.access.files import Watched
from pycmbs.services.access.passwords import check_bcrypt, digest

log = logging.getLogger(__name__)

USERS = "users"
"""The file's name."""
ROLES = ("admin", "operator", "publisher", "consumer", "reader")
"""The roles that come with rules; rules may name others."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a user, or one with a name of its own. Without ``roles`` it has those of its user."""

    name: str
    id: str
    digest: str
    roles: tuple[str, ...] = ()
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class User:
    """A user. ``password`` is hashed, empty for none; ``certificate`` the subject of one."""

    name: str
    password: str = ""
    certificate: str = ""
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Directory:
    """The users and tokens of the file. ``lines``: how many lines it has that should be one, invalid ones too."""

    users: Mapping[str, User] = field(default_factory=dict)
    certificates: Mapping[str, User] = field(default_factory=dict)
    tokens: Mapping[str, Token] = field(default_factory=dict)
    lines: int = 0

    def token(self, text: str) -> tuple[Token, tuple[str, ...]] | None:
        """The token of this text and its roles, if there is one that has not expired."""
        found = self.tokens.get(digest(text))
        if found is None or found.until <= time.time():
            return None
        user = self.users.get(found.name)
        return found, found.roles or (user.roles if user is not None else ())


def check_name(name: str) -> str:
    """The name. Raises InvalidRequest for what cannot be a user's."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:128]!r} cannot be a user's name",
            hint="Names have letters, digits and . _ @ + -, and begin with one.",
        )
    return name


def check_roles(text: str) -> tuple[str, ...]:
    """The roles in a text, with commas between. Raises InvalidRequest for what cannot be one."""
    roles = tuple(dict.fromkeys(filter(None, (one.strip() for one in text.split(",")))))
    for role in roles:
        if not _ROLE.fullmatch(role):
            raise InvalidRequest(f"{role[:64]!r} cannot be a role's name", hint=f"Known: {', '.join(ROLES)}.")
    return roles


def parse(text: str, wrong: Callable[[int, str], None] = lambda _number, _why: None) -> Directory:
    """The users and tokens of a file's text; ``wrong`` is called with the number of each invalid line, and why."""
    users: dict[str, User] = {}
    certificates: dict[str, User] = {}
    tokens: dict[str, Token] = {}
    lines = 0
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()  # noqa: PLW2901
        if not line or line.startswith("#"):
            continue
        lines += 1
        try:
            entry = parse_line(line)
        except (InvalidRequest, ConfigurationError) as exc:
            wrong(number, exc.message)
            continue
        if isinstance(entry, Token):
            tokens[entry.digest] = entry
        elif entry.certificate:
            certificates[entry.certificate] = entry
        else:
            users[entry.name] = entry
    return Directory(users, certificates, tokens, lines)


def parse_line(line: str) -> User | Token:
    """What one line says. Raises InvalidRequest, ConfigurationError."""
    name, colon, rest = line.partition(":")
    credential, other, roles_text = rest.rpartition(":")
    if not colon or not other:
        raise ConfigurationError(
            "it has no roles: write them behind it, as in NAME:CREDENTIAL:operator"
            if rest.startswith("$")
            else "it is not NAME:CREDENTIAL:ROLES"
        )
    name, roles = check_name(name), check_roles(roles_text)
    if credential.startswith("$argon2id$"):
        return User(name, password=credential, roles=roles)
    if credential.startswith(("$2a$", "$2b$", "$2y$")):
        check_bcrypt(credential)
        return User(name, password=credential, roles=roles)
    if credential.startswith("cert:"):
        return User(name, certificate=credential.removeprefix("cert:"), roles=roles)
    if credential.startswith("token:"):
        parts = credential.split(":")
        if len(parts) != 4 or not re.fullmatch(r"[0-9a-f]{64}", parts[2]) or not re.fullmatch(r"[0-9]{0,15}", parts[3]):
            raise ConfigurationError("its token is not token:ID:SHA256:UNTIL")
        return Token(name, parts[1], parts[2], roles, float(parts[3]) if parts[3] else math.inf)
    if credential.startswith(("$apr1$", "{SHA}", "$1$")):
        raise ConfigurationError(
            "its password has an MD5 or SHA-1 hash, which is no protection: pycmbs user passwd sets it"
        )
    raise ConfigurationError("its password has a hash that this broker does not know: pycmbs user passwd sets it")


def line_of(entry: User | Token) -> str:
    """The line that says this."""
    if isinstance(entry, Token):
        until = "" if entry.until == math.inf else str(int(entry.until))
        credential = f"token:{entry.id}:{entry.digest}:{until}"
    else:
        credential = f"cert:{entry.certificate}" if entry.certificate else entry.password
    return f"{entry.name}:{credential}:{','.join(entry.roles)}"


class Users:
    """The users as the file of a home has them now: what was changed there counts within :data:`~.files.LOOK_SECONDS`."""

    def __init__(self, home: Path, authentication: str = "auto", *, loopback: bool = True) -> None:
        """``authentication`` is the setting; ``loopback``: only this machine's processes can ask."""
        self._file = Watched(home / USERS, self._parsed, Directory())
        self._authentication = authentication
        self._loopback = loopback

    @property
    def directory(self) -> Directory:
        """Who there is."""
        return self._file.value

    @property
    def version(self) -> int:
        """Changes with what is there, and rises: as of the last look."""
        return self._file.said_version

    @property
    def due(self) -> float:
        """When :meth:`look` looks again, on the monotonic clock."""
        return self._file.due

    def look(self, now: float) -> bool:
        """Whether requests need credentials. ``now``: of the monotonic clock."""
        self._file.look(now)
        if self._authentication == "auto":
            return bool(self._file.said.lines) or self._file.broken or not self._loopback
        return self._authentication == "on"

    def _parsed(self, text: str) -> Directory:
        def wrong(number: int, why: str) -> None:
            log.error("line %d of %s is ignored: %s", number, self._file.path, why)

        return parse(text, wrong)


def rewritten(text: str, keep: Callable[[User | Token], bool], added: Iterable[User | Token]) -> str:
    """A file's text without what is not to be kept and with what is added; comments and lines that are wrong stay."""
    lines = []
    for line in text.splitlines():
        try:
            entry = parse_line(line.strip())
        except (InvalidRequest, ConfigurationError):
            lines.append(line)
            continue
        if keep(entry):
            lines.append(line)
    return "".join(f"{line}\n" for line in [*lines, *map(line_of, added)])
