"""What is packaged and follows from the command line: the manual page, and what shells need to complete commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from click.shell_completion import get_completion_class

from pycmbs.cli import tree

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
    for title, commands in tree.COMMANDS.items():
        parts.append(f".SH {_text(title).upper()}\n")
        for name, (_, help) in commands.items():
            parts += [f".SS pycmbs {_text(name)}\n{_text(help)}\n", *_of_click(name)]
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
            yield f".TP\n.B {_text(f'{child} {_arguments(one)}')}\n{_text(one.get_short_help_str(200))}\n"
            yield from _flags(one)
    else:
        yield f".PP\n.B {_text(f'pycmbs {name} {_arguments(command)}')}\n"
        yield from _flags(command)


def _arguments(command: click.Command) -> str:
    return " ".join(
        one.human_readable_name + " …" * (one.nargs == -1 and not one.human_readable_name.endswith("..."))
        for one in command.params
        if isinstance(one, click.Argument)
    )


def _flags(command: click.Command) -> Iterator[str]:
    for one in command.params:
        if isinstance(one, click.Argument) and one.help:
            yield f".TP\n.B {_text(one.human_readable_name)}\n{_text(one.help)}\n"
        if isinstance(one, click.Option) and not one.hidden:
            value = "" if one.is_flag or one.count else f" {one.metavar or (one.type.name or '').upper()}"
            yield f".TP\n.B {_text(', '.join(one.opts) + value)}\n{_text(one.help or '')}\n"


def _text(text: str) -> str:
    """Plain text in roff: nothing in it is a request or an escape."""
    text = re.sub(r"\s+", " ", text.partition("\b")[0].strip())
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = "".join(one if one.isascii() else f"\\[u{ord(one):04X}]" for one in text)
    return f"\\&{text}" if text.startswith(".") else text
