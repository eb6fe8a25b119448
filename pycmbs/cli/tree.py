"""The command tree, imported lazily so that help and completion are fast."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click
from click.shell_completion import get_completion_class

from pycmbs import __version__
from pycmbs.trust import masked

COMPLETE = "_PYCMBS_COMPLETE"
"""The environment variable by which a shell asks for completions."""

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Brokers": {
        "serve": ("pycmbs.cli.serving", "start a broker, and run it until Ctrl-C or SIGTERM"),
        "demo": ("pycmbs.cli.demo", "show three brokers at work for some seconds"),
    },
    "Messages": {
        "pub": ("pycmbs.cli.sending", "send to all members that are interested in a topic"),
        "send": ("pycmbs.cli.sending", "send to members by name, or to all"),
        "request": ("pycmbs.cli.sending", "have a member perform an operation, and print the result"),
        "resend": ("pycmbs.cli.sending", "send a message again"),
        "ls": ("pycmbs.cli.reading", "list messages"),
        "show": ("pycmbs.cli.reading", "show a message with its content"),
        "ledger": ("pycmbs.cli.reading", "show who got a message, and who did not and why"),
        "rm": ("pycmbs.cli.sending", "delete messages"),
    },
    "Members": {
        "doctor": ("pycmbs.cli.doctor", "say what is well, what is not, and which port is blocked"),
        "top": ("pycmbs.cli.top", "show the members and the newest messages, as they change"),
        "members": ("pycmbs.cli.reading", "list the members of the federation, or show one"),
        "ping": ("pycmbs.cli.sending", "measure how long a message takes to a member"),
        "sub": ("pycmbs.cli.sending", "subscribe this broker's member to topics"),
        "handlers": ("pycmbs.cli.reading", "list what a member lets this broker call there"),
        "invite": ("pycmbs.cli.membership", "let another broker's member in: print a line for pycmbs join there"),
        "join": ("pycmbs.cli.membership", "join the broker that printed this line; the two trust each other then"),
        "member": ("pycmbs.cli.membership", "list and remove the members that this broker trusts"),
        "key": ("pycmbs.cli.membership", "show this broker's keys and their fingerprint"),
    },
    "Access": {
        "user": ("pycmbs.cli.users", "make, change and remove the users of a broker"),
        "token": ("pycmbs.cli.users", "make, list and revoke tokens"),
        "rule": ("pycmbs.cli.rules", "add, list and remove rules: who may do what"),
    },
    "The store": {
        "backup": ("pycmbs.cli.store", "copy the store to a new SQLite file; the broker may go on"),
        "restore": ("pycmbs.cli.store", "replace the store by a backup; the old store is kept beside it"),
        "store": ("pycmbs.cli.store", "check, copy, back up or compact a store"),
    },
    "This command": {
        "context": ("pycmbs.cli.contexts", "keep named brokers, each with its URL and credentials"),
        "completion": ("pycmbs.cli.completion", "print what a shell needs to complete commands, members and topics"),
    },
}

_EPILOG = """`pycmbs serve` starts a broker; `pycmbs serve --help` lists its flags. Each command has an example in its --help.

\b
Exit codes: 0 done; 1 could not; 2 usage; 3 some or all recipients failed; 4 there is no recipient;
5 accepted, not settled in time; 6 refused; 7 no broker, or not now; 130 interrupted."""


class Tree(click.Group):
    """The command itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See :meth:`click.Group.list_commands`."""
        del ctx
        return [name for group in COMMANDS.values() for name in group]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See :meth:`click.Group.get_command`."""
        del ctx
        for group in COMMANDS.values():
            if cmd_name in group:
                module, _ = group[cmd_name]
                found: click.Command = getattr(import_module(module), cmd_name)
                return found
        return None

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See :meth:`click.Command.format_usage`."""
        formatter.write_usage(ctx.command_path, "COMMAND …", prefix="usage: ")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See :meth:`click.Group.format_commands`: from the table, so that nothing is imported for it."""
        del ctx
        for title, group in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, help) for name, (_, help) in group.items()])


@click.group(
    cls=Tree,
    help="pyCMBS: a federated message broker for management traffic, driven with plain curl.",
    epilog=_EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 110},
)
@click.version_option(__version__, message=f"pyCMBS {__version__}")
@click.pass_context
def pycmbs(ctx: click.Context) -> int:
    """The command."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)
    return 0


def run(arguments: Sequence[str] | None) -> int:
    """Run it; the exit code. Raises SystemExit for help, and for words that it does not know."""
    if COMPLETE in os.environ:
        return _complete(os.environ[COMPLETE])
    try:
        code = pycmbs.main(None if arguments is None else list(arguments), prog_name="pycmbs", standalone_mode=False)
    except click.UsageError as error:
        raise SystemExit(_misused(error)) from None
    except click.ClickException as error:
        print(f"pycmbs: {error.format_message()}", file=sys.stderr)
        return 2
    except click.Abort:
        return 130
    except BrokenPipeError:  # whatever reads the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    if code == 0 and _asked_help(arguments):
        raise SystemExit(0)
    return int(code or 0)


def _complete(instruction: str) -> int:
    """Answer a shell: ``bash_complete`` and the like, or ``bash_source``. Without completions it prints nothing."""
    shell, _, what = instruction.partition("_")
    found = get_completion_class(shell)
    if found is None or what not in ("complete", "source"):
        return 2
    asked = found(pycmbs, {}, "pycmbs", COMPLETE)
    if text := asked.complete() if what == "complete" else asked.source():
        click.echo(text)
    return 0


def _asked_help(arguments: Sequence[str] | None) -> bool:
    return any(one in ("--help", "-h", "--version") for one in arguments or ())


def _misused(error: click.UsageError) -> int:
    """Print what is wrong, and what may have been meant; the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # a group that was asked for nothing
        print(error.format_message(), file=sys.stderr)
        return 2
    message, context = error.format_message(), error.ctx
    possible = list(getattr(error, "possibilities", None) or ())
    wrong = getattr(error, "option_name", None) or getattr(error, "command_name", None)
    if wrong and not possible and context is not None:
        known = context.command.list_commands(context) if isinstance(context.command, click.Group) else []
        possible = difflib.get_close_matches(wrong, known, 1, 0.6)
    message = (
        message.partition(" Did you mean")[0].partition(" (Did you mean")[0].partition(" (Possible")[0].rstrip(".")
    )
    if wrong and possible:
        message = f"{message} (did you mean {possible[0]}?)"
    where = context.command_path if context is not None else "pycmbs"
    usage = context.get_usage().replace("Usage:", "usage:") if context is not None else "usage: pycmbs COMMAND …"
    print(f"{usage}\n{where}: error: {masked(message[:1].lower() + message[1:])}", file=sys.stderr)
    if not possible and context is not None and isinstance(context.command, click.Group):
        print(f"Known: {', '.join(context.command.list_commands(context))}.", file=sys.stderr)
    return 2
