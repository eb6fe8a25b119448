"""What commands that run a broker, or work on its home, have in common: settings as flags, errors as sentences, the audit log.

Those that change files of the home work before the first start and while the broker runs, which follows the change at once.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pycmbs.config import FILES, SETTINGS, Settings
from pycmbs.config_loading import load_with_origins
from pycmbs.config_values import Setting
from pycmbs.errors import CmbsError, ConfigurationError
from pycmbs.processes.locks import make_private
from pycmbs.services.access import audit
from pycmbs.services.access.files import changing, text_of
from pycmbs.trust import has_password

_SEEN = (
    "pycmbs: all users of this machine can see the password in that URL: use --store-password-file, or the environment "
    "variable PYCMBS_STORE"
)

Run = Callable[..., int]


def group(name: str, help: str, example: str) -> click.Group:
    """A command that has commands, each made by :func:`command`."""
    return click.Group(name, help=described(help, example))


def command(
    name: str, help: str, example: str, flags: Sequence[str] = ("home",), into: click.Group | None = None
) -> Callable[[Run], click.Command]:
    """A command with the flags of these settings, alone or in a group.

    The function gets the :class:`Settings` and its own parameters, and returns the exit code.
    """

    def decorate(function: Run) -> click.Command:
        @functools.wraps(function)
        def run(**given: Any) -> int:
            return run_with(lambda settings, _origins, **own: function(settings, **own), given, flags)

        made = click.command(name, help=described(help, example))(run)
        made.params += [config_option(), *(option(one) for one in SETTINGS if one.name in flags)]
        if into is not None:
            into.add_command(made)
        return made

    return decorate


def described(help: str, example: str) -> str:
    """The help of a command: a sentence, and an example."""
    return f"{help[0].upper()}{help[1:]}.\n\n\b\nexample:\n" + "\n".join(f"  {one}" for one in example.splitlines())


def run_with(function: Run, given: Mapping[str, Any], flags: Sequence[str]) -> int:
    """Call ``function(settings, origins, …)`` with the settings in force and what else was ``given``; the exit code.

    1: could not. 2: a flag, a setting or the surroundings must change first. 130: interrupted.
    """
    own = dict(given)
    config = own.pop("config")
    texts = {name: _text(own.pop(name)) for name in flags}
    try:
        settings, origins = load_with_origins(config, os.environ, texts)
        if any(has_password(str(one or "")) for one in (texts.get("store"), own.get("source"), own.get("target"))):
            print(_SEEN, file=sys.stderr)
        return function(settings, origins, **own)
    except CmbsError as error:
        print(f"pycmbs: {error.sentence}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt:
        return 130


def _text(said: str | tuple[str, ...] | None) -> str | None:
    """What a flag says, as the file would; None where it was not given."""
    return (" ".join(said) if said else None) if isinstance(said, tuple) else said


def config_option() -> click.Option:
    """The flag that says where the files of settings are."""
    return click.Option(
        ["--config"],
        metavar="DIR",
        type=click.Path(path_type=Path),
        help=f"directory of {', '.join(FILES)} (default: ./conf if it is there)",
    )


def option(setting: Setting) -> click.Option:
    """The flag of a setting. Its text is taken as it is: flag, variable and file are judged alike when they are loaded."""
    default = f"{setting.default} {setting.unit}".strip() or "empty"
    return click.Option(
        [setting.flag, setting.name],
        metavar=setting.value.metavar,
        multiple=setting.value.several,
        help=f"{setting.meaning} (default: {default})",
    )


def reported(function: Run) -> Run:
    """The same, where files that cannot be had are a sentence."""

    @functools.wraps(function)
    def reported(settings: Settings, **own: Any) -> int:
        try:
            return function(settings, **own)
        except UnicodeError as exc:
            raise ConfigurationError(f"a file of {settings.home} is not UTF-8 text") from exc
        except BrokenPipeError:  # whoever reads the answer has seen enough
            raise
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
    """Print what was done, and write it to the audit log; the exit code."""
    for line in lines:
        print(line)
    audited(settings, operation, name)
    return 0


def audited(settings: Settings, operation: str, name: str) -> None:
    """Write to the audit log that this was done here."""
    if settings.audit == "off":
        return
    try:
        who = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        who = str(os.getuid())
    path = settings.home / audit.AUDIT
    audit.append(path, audit.lines([audit.Line(audit.stamp(time.time()), who, "command", operation, name=name)]))
