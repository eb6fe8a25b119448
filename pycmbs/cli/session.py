"""Shared by the commands that talk to a broker: connection, output format, exit codes."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pycmbs.client.calls import Call, Verb, curl
from pycmbs.client.places import Place, find
from pycmbs.client.verbs import Failed, NotSettled
from pycmbs.client.views import Sent
from pycmbs.errors import CmbsError, ConfigurationError, Conflict, InvalidRequest, NotFound, Unavailable

if TYPE_CHECKING:
    from pycmbs.client.synchronous import Client

DONE, COULD_NOT, USAGE, FAILED, NOBODY, UNSETTLED, REFUSED, AWAY = 0, 1, 2, 3, 4, 5, 6, 7
"""The exit codes."""
FORMATS = ("table", "json", "jsonl", "value")
T = TypeVar("T")
Command = Callable[..., int | None]


class Session:
    """One run of a command."""

    def __init__(self, place: Place, output: str, *, curl: bool, quiet: bool) -> None:
        self.place = place
        self.output = output
        self.quiet = quiet
        self._curl = curl

    @property
    def watched(self) -> bool:
        """Whether a person watches, and should see the progress."""
        return sys.stderr.isatty() and self.output == "table" and not (self.quiet or self._curl)

    def client(self) -> Client:
        """A client, which the caller must close."""
        from pycmbs.client.synchronous import Client

        return Client(place=self.place)

    def do(self, verb: Verb[T]) -> T:
        """Run a verb. With ``--curl``, print its calls, make only those that change nothing, and end."""
        with self.client() as client:
            return client.run(_printed(self.place, verb) if self._curl else verb)

    def show(
        self,
        documents: Any,
        table: Callable[[], str],
        value: Callable[[], str] | None = None,
    ) -> None:
        """Print an answer as ``-o`` says: the ``documents`` as JSON, a ``table`` for people, or the bare ``value``."""
        if self.output == "json":
            click.echo(json.dumps(documents, ensure_ascii=False, indent=2))
        elif self.output == "jsonl":
            for one in documents if isinstance(documents, list) else [documents]:
                click.echo(json.dumps(one, ensure_ascii=False))
        elif self.output == "value" and value is not None:
            click.echo(value())
        elif not self.quiet:
            click.echo(table())

    def failed(self, error: CmbsError, code: int | None = None) -> int:
        """Say on standard error what went wrong; the exit code."""
        document = {name: value for name, value in error.to_dict().items() if name != "connected"}
        if self.output in ("json", "jsonl"):
            click.echo(json.dumps({**document, "error": document}, ensure_ascii=False), err=True)
        else:
            click.echo(f"pycmbs: {error.sentence}", err=True)
        return exit_code(error) if code is None else code


def _printed(place: Place, verb: Verb[T]) -> Verb[T]:
    """The verb, with its calls printed, up to the first that would change something."""
    answers: list[Any] | None = None
    while True:
        try:
            calls: Sequence[Call] = next(verb) if answers is None else verb.send(answers)
        except StopIteration:
            raise click.exceptions.Exit(DONE) from None
        for one in calls:
            click.echo(curl(place, one))
        if any(one.changes for one in calls):
            raise click.exceptions.Exit(DONE)
        try:
            answers = yield calls
        except CmbsError:  # its further calls depend on an answer that does not exist
            raise click.exceptions.Exit(DONE) from None


def settled_code(sent: Sent, wait: float) -> int:
    """The exit code for a message. Without waiting, it only tells whether there are recipients."""
    if not sent.recipients:
        return NOBODY
    if any(one.settled and one.state not in ("delivered", "executed") for one in sent.ledger):
        return FAILED
    return UNSETTLED if wait and not sent.settled else DONE


def exit_code(error: CmbsError) -> int:
    """The exit code for an error."""
    status = error.data.get("status")
    if isinstance(error, NotSettled | Failed):
        return UNSETTLED if isinstance(error, NotSettled) else FAILED
    if isinstance(error, Unavailable):
        return AWAY
    if (isinstance(status, int) and 400 <= status < 500) or isinstance(error, NotFound | Conflict):
        return REFUSED
    return USAGE if status is None and isinstance(error, ConfigurationError | InvalidRequest) else COULD_NOT


def asking(name: str, help: str, example: str, formats: Sequence[str] = FORMATS) -> Callable[[Command], click.Command]:
    """A command that asks a broker: the function gets a :class:`Session` and its own parameters, and returns the exit code."""

    def decorate(function: Command) -> click.Command:
        @functools.wraps(function)
        def run(
            *,
            url: str | None,
            context: str | None,
            home: str | None,
            output: str,
            curl: bool,
            quiet: bool,
            **parameters: Any,
        ) -> int:
            session = Session(Place(), output, curl=curl, quiet=quiet)
            try:
                session.place = find(url, context=context, home=home)
                return function(session, **parameters) or DONE
            except CmbsError as error:
                return session.failed(error)
            except KeyboardInterrupt:
                return 130

        described = f"{help[0].upper()}{help[1:]}.\n\n\b\nexample:\n" + "\n".join(
            f"  {one}" for one in example.splitlines()
        )
        made = click.command(name, help=described)(run)
        made.params += _options(formats)
        return made

    return decorate


def _options(formats: Sequence[str]) -> list[click.Parameter]:
    return [
        click.Option(["--url"], metavar="URL", help="The broker's URL (PYCMBS_URL)."),
        click.Option(["--context"], metavar="NAME", help="A broker that pycmbs context keeps (PYCMBS_CONTEXT)."),
        click.Option(["--home"], metavar="DIR", help="The home of a broker that runs on this machine."),
        click.Option(
            ["-o", "--output"], type=click.Choice(list(formats)), default=formats[0], help="How to print the answer."
        ),
        click.Option(["--curl"], is_flag=True, help="Print the curl calls instead of making them."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print no table; the exit code says it."),
    ]


def usage(message: str) -> click.UsageError:
    """What is wrong with the arguments."""
    return click.UsageError(message, click.get_current_context())


def text_of(path: str) -> str:
    """A file, or standard input for ``-``, as text. Raises ConfigurationError."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:  # noqa: PTH123 - the user's own words, in errors too
                data = file.read()
        return data.decode("utf-8")
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeError as exc:
        raise ConfigurationError(f"{path} is not UTF-8 text") from exc
