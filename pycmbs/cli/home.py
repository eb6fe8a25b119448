"""What the commands ``pycmbs user``, ``pycmbs token`` and ``pycmbs rule`` have in common.

They change files of the home, so they work before the first start and while the broker runs, which follows at once.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from pycmbs.config import Settings
from pycmbs.errors import ConfigurationError
from pycmbs.processes.locks import make_private
from pycmbs.services.access import audit
from pycmbs.services.access.files import changing, text_of

_EXAMPLE = """\
example: a broker with users
  pycmbs user add admin --role admin
  pycmbs token create ci --role publisher --valid 90d
  pycmbs rule add 'user:ci send message topic=network.>'

Roles: admin may all; operator all but the broker's own kinds, and DELETE /; publisher makes and sends messages,
and reads its own and the members; consumer reads received messages; reader reads all.
"""

AddFlags = Callable[..., None]
Commands = Any
"""What argparse makes of subcommands, which has no public type."""
Run = Callable[[Settings, argparse.Namespace], int]


def group(commands: Commands, name: str, help: str, example: str = _EXAMPLE) -> Commands:
    """A command that has commands."""
    parser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}. A broker that runs follows at once.",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser.add_subparsers(metavar="COMMAND", required=True)


def verb(commands: Commands, name: str, help: str, run: Run, add_flags: AddFlags) -> argparse.ArgumentParser:
    """One of them."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}.", allow_abbrev=False
    )
    parser.set_defaults(run=reported(run))
    add_flags(parser, ("home",))
    return parser


def reported(run: Run) -> Run:
    """The command, where files that cannot be had are a sentence."""

    def reported(settings: Settings, options: argparse.Namespace) -> int:
        try:
            return run(settings, options)
        except UnicodeError as exc:
            raise ConfigurationError(f"a file of {settings.home} is not UTF-8 text") from exc
        except OSError as exc:
            raise ConfigurationError(f"{exc.filename or settings.home} cannot be used: {exc.strerror}") from exc

    return reported


@contextlib.contextmanager
def file_of(settings: Settings, name: str) -> Iterator[tuple[str, Callable[[str], None]]]:
    """A file of the home: its text, and what replaces it."""
    make_private(settings.home)
    path = settings.home / name
    with changing(path) as replace:
        yield text_of(path), replace


def done(settings: Settings, operation: str, name: str, *lines: str) -> int:
    """Say what was done, and have it in the audit log; the exit code."""
    for line in lines:
        print(line)
    audited(settings, operation, name)
    return 0


def audited(settings: Settings, operation: str, name: str) -> None:
    """Have the audit log say that this was done here."""
    if settings.audit == "off":
        return
    try:
        who = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        who = str(os.getuid())
    path = settings.home / audit.AUDIT
    audit.append(path, audit.lines([audit.Line(audit.stamp(time.time()), who, "command", operation, name=name)]))
