"""What is packaged and follows from the command line: the manual page, and what shells need to complete commands."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import click
from click.shell_completion import get_completion_class

from pycmbs.cli import classic, tree

PACKAGING = "packaging"
SHELLS = {"bash": "pycmbs", "zsh": "_pycmbs", "fish": "pycmbs.fish"}
"""By shell, what the file is called where it is looked for."""

_TOP = r""".TH PYCMBS 1 "" "pyCMBS" "User commands"
.SH NAME
pycmbs \- a federated message broker for management traffic, driven with plain curl
.SH SYNOPSIS
.B pycmbs
.I COMMAND \fR[\fIflags\fR] [\fIarguments\fR]
.SH DESCRIPTION
One broker runs at each site, and is a member of the federation. Messages go to one member, to all, or to those that are
interested in a topic; what was accepted is on disk, and is tried until it arrives or its deadline is over.
.B pycmbs serve
starts a broker, and the other commands ask one that runs.
"""
_END = r""".SH EXIT STATUS
.TP
.B 0
done
.TP
.B 1
could not
.TP
.B 2
a flag, a setting or the surroundings must change first
.TP
.B 3
some or all recipients failed, or expired
.TP
.B 4
there is no recipient
.TP
.B 5
accepted, and not settled in time
.TP
.B 6
the broker refused
.TP
.B 7
no broker answers, or it cannot now
.TP
.B 130
interrupted
.SH ENVIRONMENT
Each setting is also a variable: \fB\-\-log\-level\fR is \fBPYCMBS_LOG_LEVEL\fR. \fBPYCMBS_URL\fR, \fBPYCMBS_CONTEXT\fR and
\fBPYCMBS_HOME\fR say which broker is asked.
.SH FILES
.TP
.I ~/.pycmbs
the home of a broker, unless \fB\-\-home\fR names another
.TP
.I ~/.config/pycmbs/contexts.toml
the brokers that \fBpycmbs context\fR knows
.SH SEE ALSO
.BR curl (1)
"""


def manual() -> str:
    """The page pycmbs(1)."""
    parts = [_TOP]
    parsers = _children(classic._parser())
    for title, commands in tree.COMMANDS.items():
        parts.append(f".SH {_text(title).upper()}\n")
        for name, (module, help) in commands.items():
            made = _of_argparse(f"pycmbs {name}", parsers[name]) if module == tree.CLASSIC else _of_click(name)
            parts += [f".SS pycmbs {_text(name)}\n{_text(help)}\n", *made]
    return "".join([*parts, _END])


def completion(shell: str) -> str:
    """What a shell needs."""
    made = get_completion_class(shell)
    assert made is not None
    return made(click.Command("pycmbs"), {}, "pycmbs", tree.COMPLETE).source().strip() + "\n"


def files() -> dict[str, str]:
    """All of these, by path."""
    completions = {f"{PACKAGING}/completions/{name}": completion(shell) for shell, name in SHELLS.items()}
    return {f"{PACKAGING}/pycmbs.1": manual(), **completions}


def _of_click(name: str) -> Iterator[str]:
    command = tree.pycmbs.get_command(click.Context(tree.pycmbs), name)
    assert command is not None
    if isinstance(command, click.Group):
        for child in sorted(command.commands):
            one = command.commands[child]
            yield f".TP\n.B {_text(child)} {_arguments(one)}\n{_text(one.get_short_help_str(200))}\n"
            yield from _flags(one)
    else:
        yield f".PP\n.B pycmbs {_text(name)} {_arguments(command)}\n"
        yield from _flags(command)


def _arguments(command: click.Command) -> str:
    return _text(
        " ".join(
            one.human_readable_name + " …" * (one.nargs == -1)
            for one in command.params
            if isinstance(one, click.Argument)
        )
    )


def _flags(command: click.Command) -> Iterator[str]:
    for one in command.params:
        if isinstance(one, click.Option) and not one.hidden:
            value = "" if one.is_flag or one.count else f" {one.metavar or (one.type.name or '').upper()}"
            yield f".TP\n.B {_text(', '.join(one.opts))}{_text(value)}\n{_text(one.help or '')}\n"


def _of_argparse(prefix: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    for one in parser._actions:
        if isinstance(one, argparse._SubParsersAction):
            for name, child in one.choices.items():
                yield f".PP\n.B {_text(prefix)} {_text(name)}\n.br\n{_text(child.description or '')}\n"
                yield from _of_argparse(f"{prefix} {name}", child)
        elif one.dest != "help" and one.help != argparse.SUPPRESS:
            value = "" if one.nargs == 0 else f" {one.metavar or one.dest.upper()}"
            label = ", ".join(one.option_strings) + value if one.option_strings else str(one.metavar or one.dest)
            yield f".TP\n.B {_text(label)}\n{_text((one.help or '').replace('%%', '%'))}\n"


def _children(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (found,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return dict(found.choices)


def _text(text: str) -> str:
    """Plain text in roff: nothing in it is a request or an escape."""
    text = re.sub(r"\s+", " ", text.partition("\b")[0].strip())
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = "".join(one if one.isascii() else f"\\[u{ord(one):04X}]" for one in text)
    return f"\\&{text}" if text.startswith(".") else text
