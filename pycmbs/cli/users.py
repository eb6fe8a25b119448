"""``user`` and ``token``: manage users and their tokens."""

from __future__ import annotations

import contextlib
import getpass
import math
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from pycmbs.cli.home import Run, audited, command, done, file_of, group, reported
from pycmbs.cli.rules import rules_in
from pycmbs.config import Settings
from pycmbs.errors import CmbsError, Conflict, InvalidRequest, NotFound
from pycmbs.services.access import passwords
from pycmbs.services.access.files import text_of
from pycmbs.services.access.rulebook import RULES
from pycmbs.services.access.rules import parse
from pycmbs.services.access.users import ROLES, USERS, Token, User, check_name, check_roles, parse_line, rewritten

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"([1-9][0-9]{0,8})([smhdw])")

Entry = User | Token


user = group(
    "user",
    "make, change and remove the users of a broker; one that runs follows at once",
    "pycmbs user add admin --role admin\n"
    "pycmbs token create ci --role publisher --valid 90d\n"
    "pycmbs rule add 'user:ci send message topic=network.>'",
)
user.epilog = """Roles: admin may all; operator all but the broker's own kinds, and DELETE /; publisher makes and sends
messages, and reads its own and the members; consumer reads received messages; reader reads all."""
token = group(
    "token",
    "make, list and revoke tokens; a broker that runs follows at once",
    "pycmbs token create ci --role publisher --valid 90d\npycmbs token list",
)

_name = click.argument("name")
_password_stdin = click.option("--password-stdin", is_flag=True, help="read the password from standard input")


def _role(*, required: bool) -> Callable[[Run], Run]:
    return click.option(
        "--role",
        metavar="ROLE",
        required=required,
        default=None if required else "",
        help=f"{', '.join(ROLES)}, or several with commas between",
    )


# Users


@command("add", "add a user with a role", "pycmbs user add admin --role admin", into=user)
@_name
@_role(required=True)
@_password_stdin
@click.option("--certificate", metavar="SUBJECT", default="", help="known by a client's certificate with this subject")
@reported
def _add_user(settings: Settings, name: str, role: str, certificate: str, *, password_stdin: bool) -> int:
    check_name(name)
    roles = _known_roles(settings, role)
    if certificate and not certificate.isprintable():
        raise InvalidRequest("the subject of a certificate is one line of text")
    with _users(settings) as file:
        if any(one.name == name and bool(one.certificate) == bool(certificate) for one in file.users):
            raise Conflict(
                f"there is a user {name}", hint="pycmbs user passwd sets a password, pycmbs user roles the roles."
            )
        password = "" if certificate else passwords.hashed(_password(name, given=password_stdin))
        file.change(lambda _one: True, User(name, password, certificate, roles))
    return done(settings, "user add", name, f"user {name} is {_words(roles)}")


@command(
    "passwd",
    "set a user's password; the old one and the user's tokens stop working",
    "pycmbs user passwd anna",
    into=user,
)
@_name
@_password_stdin
@reported
def _passwd(settings: Settings, name: str, *, password_stdin: bool) -> int:
    with _users(settings) as file:
        there = file.user(name)
        password = passwords.hashed(_password(name, given=password_stdin))
        tokens = [one for one in file.entries if isinstance(one, Token) and one.name == name]
        kept = User(name, password, roles=there.roles)
        file.change(lambda one: one.name != name or (isinstance(one, User) and bool(one.certificate)), kept)
    also = f", and {len(tokens)} tokens are revoked" if tokens else ""
    return done(settings, "user passwd", name, f"the password of {name} is set{also}")


@command("roles", "give a user other roles", "pycmbs user roles anna --role operator,reader", into=user)
@_name
@_role(required=True)
@reported
def _roles(settings: Settings, name: str, role: str) -> int:
    roles = _known_roles(settings, role)
    with _users(settings) as file:
        file.user(name)
        found = [one for one in file.users if one.name == name]
        changed = [User(one.name, one.password, one.certificate, roles) for one in found]
        file.change(lambda one: one not in found, *changed)
    return done(settings, "user roles", name, f"user {name} is {_words(roles)}")


@command("remove", "remove a user, and the user's tokens", "pycmbs user remove anna", into=user)
@_name
@reported
def _remove(settings: Settings, name: str) -> int:
    with _users(settings) as file:
        file.user(name)
        file.change(lambda one: one.name != name)
        left = any(True for _ in file.entries)
    print(f"user {name} is removed, and all tokens of that name")
    if not left:
        print("pycmbs: no user is left: on a loopback address, every request is let in", file=sys.stderr)
    audited(settings, "user remove", name)
    return 0


@command("list", "list the users", "pycmbs user list", into=user)
@reported
def _list_users(settings: Settings) -> int:
    with _users(settings) as file:
        for one in file.users:
            how = f"certificate {one.certificate}" if one.certificate else "password"
            print(f"{one.name}\t{','.join(one.roles)}\t{how}")
    return 0


# Tokens


@command(
    "create",
    "make a token, for a user or with a name of its own, and print it once",
    "pycmbs token create ci --role publisher --valid 90d",
    into=token,
)
@click.argument("name", help="a user's, or a new one")
@_role(required=False)
@click.option("--valid", metavar="SPAN", default="", help="for how long, such as 90d or 12h (default: for ever)")
@reported
def _create(settings: Settings, name: str, role: str, valid: str) -> int:
    check_name(name)
    roles = _known_roles(settings, role)
    until = time.time() + span_of(valid) if valid else math.inf
    made = passwords.new_token()
    with _users(settings) as file:
        owners = [one for one in file.users if one.name == name]
        if owners and (more := [role for role in roles if not any(role in one.roles for one in owners)]):
            raise InvalidRequest(f"user {name} is not {_words(more)}, and a token may do no more than its user")
        if not owners and not roles:
            raise InvalidRequest(
                f"there is no user {name}, so the token needs a role of its own", hint=f"Add --role {ROLES[-1]}, say."
            )
        file.change(lambda _one: True, Token(name, secrets.token_hex(4), passwords.digest(made), roles, until))
    print(made)
    print("pycmbs: keep it: it is not shown again", file=sys.stderr)
    audited(settings, "token create", name)
    return 0


@command("list", "list the tokens, without their secrets", "pycmbs token list", into=token)
@reported
def _list_tokens(settings: Settings) -> int:
    with _users(settings) as file:
        for one in file.entries:
            if isinstance(one, Token):
                until = "" if one.until == math.inf else f"until {utc(one.until)}"
                print(f"{one.id}\t{one.name}\t{','.join(one.roles) or 'as the user'}\t{until}".rstrip())
    return 0


@command("revoke", "revoke tokens", "pycmbs token revoke ci", into=token)
@click.argument("name", metavar="NAME|ID", help="whose, or which")
@reported
def _revoke(settings: Settings, name: str) -> int:
    with _users(settings) as file:
        going = [one for one in file.entries if isinstance(one, Token) and name in (one.name, one.id)]
        if not going:
            raise NotFound(f"there is no token {name}", hint="pycmbs token list shows names and ids.")
        file.change(lambda one: one not in going)
    number = f"{len(going)} tokens are" if len(going) > 1 else "1 token is"
    return done(settings, "token revoke", going[0].name, f"{number} revoked")


# The file, passwords, words


class _Users:
    """The users' file, locked for a change."""

    def __init__(self, text: str, replace: Callable[[str], None]) -> None:
        self._text = text
        self._replace = replace

    @property
    def entries(self) -> Iterator[Entry]:
        """What its lines say."""
        for line in self._text.splitlines():
            with contextlib.suppress(CmbsError):
                yield parse_line(line.strip())

    @property
    def users(self) -> Iterator[User]:
        """The users; one with both a password and a certificate is listed twice."""
        return (one for one in self.entries if isinstance(one, User))

    def user(self, name: str) -> User:
        """The user of this name. Raises NotFound."""
        found = next((one for one in self.users if one.name == name), None)
        if found is None:
            raise NotFound(f"there is no user {name[:128]}", hint="pycmbs user list shows who there is.")
        return found

    def change(self, keep: Callable[[Entry], bool], *added: Entry) -> None:
        """Keep some of the entries, and add some."""
        self._text = rewritten(self._text, keep, added)
        self._replace(self._text)


@contextlib.contextmanager
def _users(settings: Settings) -> Iterator[_Users]:
    with file_of(settings, USERS) as (text, replace):
        yield _Users(text, replace)


def _password(name: str, *, given: bool) -> str:
    """The password that is to be, ``given`` on standard input or asked for. Raises InvalidRequest."""
    if given:
        password = sys.stdin.buffer.read(65536).decode("utf-8").removesuffix("\n").removesuffix("\r")
    elif sys.stdin.isatty():
        password = getpass.getpass(f"password of {name}: ")
        if getpass.getpass("once more: ") != password:
            raise InvalidRequest("the passwords differ")
    else:
        raise InvalidRequest("there is no terminal to ask for the password", hint="Send it with --password-stdin.")
    if not password or any(one in password for one in "\n\r\0"):
        raise InvalidRequest("a password is one line of text, and not empty")
    return password


def _known_roles(settings: Settings, text: str) -> tuple[str, ...]:
    """The roles. Raises InvalidRequest for one that is neither the broker's own nor in a rule, so probably misspelled."""
    roles = check_roles(text)
    named = {one.subject for one in (*rules_in(text_of(settings.home / RULES)), *parse(settings.allow))}
    for role in roles:
        if role not in ROLES and f"role:{role}" not in named:
            raise InvalidRequest(
                f"there is no role {role}",
                hint=f"Known: {', '.join(ROLES)}; a rule for role:{role} makes another: pycmbs rule add.",
            )
    return roles


def utc(at: float) -> str:
    """A time, in seconds since the epoch, as commands show it: RFC 3339, UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def span_of(text: str) -> float:
    """The seconds of a span of time, such as 90d. Raises InvalidRequest."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"--valid {text!r:.40} is not a span of time", hint="It looks like 90d, 12h or 30m.")
    return float(int(found[1]) * _UNITS[found[2]])


def _words(roles: Any) -> str:
    return " and ".join(roles) or "in no role"
