"""The commands that run a broker or work on its home (``serve``, ``user``, ``store`` …): their flags, parsed by argparse."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pycmbs import __version__, surroundings
from pycmbs.cli import membership, rules, store, users
from pycmbs.config import FILES, SETTINGS, Settings
from pycmbs.config_loading import load_with_origins
from pycmbs.config_values import Setting
from pycmbs.errors import CmbsError, ConfigurationError
from pycmbs.trust import has_password, masked

_SEEN = (
    "pycmbs: all users of this machine can see the password in that URL: use --store-password-file, or the environment "
    "variable PYCMBS_STORE"
)
_USUAL = ("home", "host", "port", "store", "workers", "log_level", "member", "listen", "neighbor", "topics")

_EXAMPLE = """\
example: two brokers on one machine, two sites of a federation
  pycmbs serve --member paris --listen 5010 --topics 'network.>'
  pycmbs serve --home ~/.pycmbs-2 --port 8091 --member rome --listen 5110 --neighbor 127.0.0.1:5010
  curl http://127.0.0.1:8090/-/

Every flag is also an environment variable (--log-level: PYCMBS_LOG_LEVEL) and a setting in a file of --config;
the flag wins over the variable, the variable over the file.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``pycmbs`` with ``arguments`` (None: those of this process); the exit code.

    0: stopped as asked. 1: could not run. 2: a flag, a setting or the surroundings must change first.
    130: interrupted before it ran.
    """
    if arguments is None:  # this process is ours
        surroundings.detach()
    parser = _parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):  # no command was given
        parser.print_help(sys.stderr)
        return 2
    given = {setting.name: getattr(options, setting.name, None) for setting in SETTINGS}
    flags = {name: " ".join(one) if isinstance(one, list) else one for name, one in given.items()}
    try:
        settings, options.origins = load_with_origins(options.config, os.environ, flags)
        if any(has_password(getattr(options, name, None) or "") for name in ("store", "source", "target")):
            print(_SEEN, file=sys.stderr)
        code: int = options.run(settings, options)
        return code
    except CmbsError as error:
        print(f"pycmbs: {error.sentence}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    """One that asks back when a command or a flag is misspelled, and repeats no passwords."""

    def error(self, message: str) -> NoReturn:
        """See :meth:`argparse.ArgumentParser.error`."""
        wrong = re.search(r"invalid choice: '([^']*)'|unrecognized arguments: (--[^\s=]*)", message)
        word = (wrong[1] or wrong[2]) if wrong else ""
        close = difflib.get_close_matches(word, sorted(_words(self)), 1, 0.6) if word else []
        message = masked(message)
        super().error(f"{message} (did you mean {close[0]}?)" if close else message)


def _words(parser: argparse.ArgumentParser) -> set[str]:
    """The commands and the long flags of a parser and of the commands below it."""
    found: set[str] = set()
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask it
        found |= {one for one in action.option_strings if one.startswith("--")}
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            found |= set(action.choices)
            for inner in action.choices.values():
                found |= _words(inner)
    return found


def possible(words: Sequence[str]) -> set[str]:
    """The commands and long flags that may follow these words."""
    parser: argparse.ArgumentParser = _parser()
    for word in words:
        for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask it
            if isinstance(action, argparse._SubParsersAction) and word in action.choices:  # noqa: SLF001
                parser = action.choices[word]
                break
    found: set[str] = set()
    for action in parser._actions:  # noqa: SLF001
        found |= {one for one in action.option_strings if one.startswith("--")}
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            found |= set(action.choices)
    return found


def _serve(settings: Settings, options: argparse.Namespace) -> int:
    from pycmbs.processes.supervisor import serve  # not needed to print help

    return serve(settings, options.origins)


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="pycmbs",
        description="pyCMBS: a federated message broker for management traffic, driven with plain curl.",
        epilog="`pycmbs serve` starts a broker; `pycmbs serve --help` lists its flags. `pycmbs backup` and `pycmbs restore` "
        "keep what it holds safe, `pycmbs store` looks after its store, `pycmbs user`, `token` and `rule` say who may use it, "
        "`pycmbs invite`, `join`, `key` and `member` which others it trusts.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pyCMBS {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        usage="pycmbs serve [flags]",
        help="start a broker, and run it until Ctrl-C or SIGTERM",
        description="Start a broker, and run it until Ctrl-C or SIGTERM. It prints one line once it serves.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    serve.set_defaults(run=_serve)
    store.add_parser(commands, _add_flags)
    store.add_backup(commands, _add_flags)
    users.add_parsers(commands, _add_flags)
    rules.add_parser(commands, _add_flags)
    membership.add_parsers(commands, _add_flags)
    usual = serve.add_argument_group("usual flags")
    _add_config(usual)
    further = serve.add_argument_group("further flags")
    for setting in SETTINGS:
        _add_flag(usual if setting.name in _USUAL else further, setting)
    return parser


def _add_flags(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """What says where the settings are, and the flags of some."""
    _add_config(parser)
    for setting in SETTINGS:
        if setting.name in names:
            _add_flag(parser, setting)


def _add_config(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--config", metavar="DIR", type=Path, help=f"directory of {', '.join(FILES)} (default: ./conf if it is there)"
    )


def _add_flag(group: argparse._ActionsContainer, setting: Setting) -> None:
    default = f"{setting.default} {setting.unit}".strip() or "empty"
    # Text as it is: load_settings parses it, so that flag, variable and file are judged alike.
    group.add_argument(
        setting.flag,
        dest=setting.name,
        metavar=setting.value.metavar,
        action="append" if setting.value.several else "store",
        help=f"{setting.meaning} (default: {default})".replace("%", "%%"),
    )
