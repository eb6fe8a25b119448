"""``user`` and ``token``: manage users and their tokens."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import math
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from pycmbs.cli.home import AddFlags, Commands, audited, done, file_of, group, verb
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


def add_parsers(commands: Commands, add_flags: AddFlags) -> None:
    """Add ``user`` and ``token``, and their commands. ``add_flags(parser, names)`` adds the flags of settings."""
    user = group(commands, "user", "make, change and remove the users of a broker")
    for name, help, run in (
        ("add", "add a user with a role", _add_user),
        (
            "passwd",
            "set a user's password; the old one and the user's tokens stop working",
            _passwd,
        ),
        ("roles", "give a user other roles", _roles),
        ("remove", "remove a user, and the user's tokens", _remove),
    ):
        parser = verb(user, name, help, run, add_flags)
        parser.add_argument("name", metavar="NAME")
        if name in ("add", "roles"):
            _add_role(parser, required=True)
        if name in ("add", "passwd"):
            parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
        if name == "add":
            parser.add_argument(
                "--certificate", metavar="SUBJECT", default="", help="known by a client's certificate with this subject"
            )
    verb(user, "list", "list the users", _list_users, add_flags)
    token = group(commands, "token", "make, list and revoke tokens")
    parser = verb(
        token,
        "create",
        "make a token, for a user or with a name of its own, and print it once",
        _create,
        add_flags,
    )
    parser.add_argument("name", metavar="NAME", help="a user's, or a new one")
    _add_role(parser, required=False)
    parser.add_argument(
        "--valid", metavar="SPAN", default="", help="for how long, such as 90d or 12h (default: for ever)"
    )
    verb(token, "list", "list the tokens, without their secrets", _list_tokens, add_flags)
    parser = verb(token, "revoke", "revoke tokens", _revoke, add_flags)
    parser.add_argument("name", metavar="NAME|ID", help="whose, or which")


def _add_role(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--role",
        metavar="ROLE",
        required=required,
        default="",
        help=f"{', '.join(ROLES)}, or several with commas between",
    )


# Users


def _add_user(settings: Settings, options: argparse.Namespace) -> int:
    name, roles = check_name(options.name), _known_roles(settings, options.role)
    if options.certificate and not options.certificate.isprintable():
        raise InvalidRequest("the subject of a certificate is one line of text")
    with _users(settings) as file:
        if any(one.name == name and bool(one.certificate) == bool(options.certificate) for one in file.users):
            raise Conflict(
                f"there is a user {name}", hint="pycmbs user passwd sets a password, pycmbs user roles the roles."
            )
        password = "" if options.certificate else passwords.hashed(_password(options))
        file.change(lambda _one: True, User(name, password, options.certificate, roles))
    return done(settings, "user add", name, f"user {name} is {_words(roles)}")


def _passwd(settings: Settings, options: argparse.Namespace) -> int:
    with _users(settings) as file:
        user = file.user(options.name)
        password = passwords.hashed(_password(options))
        tokens = [one for one in file.entries if isinstance(one, Token) and one.name == user.name]
        kept = User(user.name, password, roles=user.roles)
        file.change(lambda one: one.name != user.name or (isinstance(one, User) and bool(one.certificate)), kept)
    also = f", and {len(tokens)} tokens are revoked" if tokens else ""
    return done(settings, "user passwd", user.name, f"the password of {user.name} is set{also}")


def _roles(settings: Settings, options: argparse.Namespace) -> int:
    roles = _known_roles(settings, options.role)
    with _users(settings) as file:
        name = file.user(options.name).name
        found = [one for one in file.users if one.name == name]
        changed = [User(one.name, one.password, one.certificate, roles) for one in found]
        file.change(lambda one: one not in found, *changed)
    return done(settings, "user roles", options.name, f"user {options.name} is {_words(roles)}")


def _remove(settings: Settings, options: argparse.Namespace) -> int:
    with _users(settings) as file:
        name = file.user(options.name).name
        file.change(lambda one: one.name != name)
        left = any(True for _ in file.entries)
    print(f"user {name} is removed, and all tokens of that name")
    if not left:
        print("pycmbs: no user is left: on a loopback address, every request is let in", file=sys.stderr)
    audited(settings, "user remove", name)
    return 0


def _list_users(settings: Settings, _options: argparse.Namespace) -> int:
    with _users(settings) as file:
        for one in file.users:
            how = f"certificate {one.certificate}" if one.certificate else "password"
            print(f"{one.name}\t{','.join(one.roles)}\t{how}")
    return 0


# Tokens


def _create(settings: Settings, options: argparse.Namespace) -> int:
    name, roles = check_name(options.name), _known_roles(settings, options.role)
    until = time.time() + span_of(options.valid) if options.valid else math.inf
    token = passwords.new_token()
    with _users(settings) as file:
        owners = [one for one in file.users if one.name == name]
        if owners and (more := [role for role in roles if not any(role in one.roles for one in owners)]):
            raise InvalidRequest(f"user {name} is not {_words(more)}, and a token may do no more than its user")
        if not owners and not roles:
            raise InvalidRequest(
                f"there is no user {name}, so the token needs a role of its own", hint=f"Add --role {ROLES[-1]}, say."
            )
        file.change(lambda _one: True, Token(name, secrets.token_hex(4), passwords.digest(token), roles, until))
    print(token)
    print("pycmbs: keep it: it is not shown again", file=sys.stderr)
    audited(settings, "token create", name)
    return 0


def _list_tokens(settings: Settings, _options: argparse.Namespace) -> int:
    with _users(settings) as file:
        for one in file.entries:
            if isinstance(one, Token):
                until = (
                    "" if one.until == math.inf else time.strftime("until %Y-%m-%dT%H:%M:%SZ", time.gmtime(one.until))
                )
                print(f"{one.id}\t{one.name}\t{','.join(one.roles) or 'as the user'}\t{until}".rstrip())
    return 0


def _revoke(settings: Settings, options: argparse.Namespace) -> int:
    with _users(settings) as file:
        going = [one for one in file.entries if isinstance(one, Token) and options.name in (one.name, one.id)]
        if not going:
            raise NotFound(f"there is no token {options.name}", hint="pycmbs token list shows names and ids.")
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
        """The users; one is there twice who has a password and a certificate."""
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


def _password(options: argparse.Namespace) -> str:
    """The password that is to be. Raises InvalidRequest."""
    if options.password_stdin:
        password = sys.stdin.buffer.read(65536).decode("utf-8").removesuffix("\n").removesuffix("\r")
    elif sys.stdin.isatty():
        password = getpass.getpass(f"password of {options.name}: ")
        if getpass.getpass("once more: ") != password:
            raise InvalidRequest("the passwords differ")
    else:
        raise InvalidRequest("there is no terminal to ask for the password", hint="Send it with --password-stdin.")
    if not password or any(one in password for one in "\n\r\0"):
        raise InvalidRequest("a password is one line of text, and not empty")
    return password


def _known_roles(settings: Settings, text: str) -> tuple[str, ...]:
    """The roles. Raises InvalidRequest for one that neither comes with the broker nor is in a rule: it is misspelled."""
    roles = check_roles(text)
    named = {one.subject for one in (*rules_in(text_of(settings.home / RULES)), *parse(settings.allow))}
    for role in roles:
        if role not in ROLES and f"role:{role}" not in named:
            raise InvalidRequest(
                f"there is no role {role}",
                hint=f"Known: {', '.join(ROLES)}; a rule for role:{role} makes another: pycmbs rule add.",
            )
    return roles


def span_of(text: str) -> float:
    """The seconds of a span of time, such as 90d. Raises InvalidRequest."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"--valid {text!r:.40} is not a span of time", hint="It looks like 90d, 12h or 30m.")
    return float(int(found[1]) * _UNITS[found[2]])


def _words(roles: Any) -> str:
    return " and ".join(roles) or "in no role"
