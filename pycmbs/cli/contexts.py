"""``context``: names for brokers, with their URLs and credentials."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping
from typing import Any

import click
import tomlkit

from pycmbs.client.places import checked, contexts, contexts_file
from pycmbs.errors import CmbsError, ConfigurationError


def _help(help: str, example: str) -> str:
    return f"{help}.\n\n\b\nexample:\n" + "\n".join(f"  {one}" for one in example.splitlines())


class _Contexts(click.Group):
    """A group whose commands report errors with a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """See :meth:`click.Command.invoke`."""
        try:
            return super().invoke(ctx)
        except CmbsError as error:
            raise click.ClickException(error.sentence) from error


@click.group(
    "context",
    cls=_Contexts,
    help=_help(
        "Keep named brokers, each with its URL and credentials, in a file that only its owner can read",
        "pycmbs context add rome --url https://rome.example:8090/ --token-stdin < token\n"
        "pycmbs context use rome\npycmbs members",
    ),
)
def context() -> None:
    """Names for brokers."""


@context.command(
    "add", help=_help("Add a context, or replace it", "pycmbs context add rome --url https://rome.example:8090/")
)
@click.argument("name")
@click.option("--url", required=True, metavar="URL", help="The broker's URL.")
@click.option("--token-stdin", is_flag=True, help="Read a token from standard input.")
@click.option("--ca", default="", metavar="FILE", help="Authorities that the broker's certificate may be of.")
def add(name: str, url: str, token_stdin: bool, ca: str) -> None:
    """Keep one."""
    said = {"url": checked(url) + "/"}
    if token_stdin:
        said["token"] = sys.stdin.readline().strip()
    if ca:
        said["ca"] = os.path.abspath(ca)  # noqa: PTH100 - links stay as they are
    keep({name: said})


def keep(some: Mapping[str, Mapping[str, str]]) -> None:
    """Add these contexts, by name, to the others."""
    document = _document()
    if "contexts" not in document:
        document["contexts"] = tomlkit.table(is_super_table=True)
    for name, said in some.items():
        document["contexts"][name] = dict(said)
    _write(document)


def forget(names: Collection[str]) -> None:
    """Remove these contexts, if they exist."""
    document = _document()
    for name in _names(document).keys() & set(names):
        del document["contexts"][name]
    if document.get("current") in names:
        del document["current"]
    _write(document)


@context.command(
    "use",
    help=_help("Ask this broker from now on, unless a flag or a variable says another", "pycmbs context use rome"),
)
@click.argument("name")
def use(name: str) -> None:
    """The current one."""
    document = _document()
    if name not in _names(document):
        raise _unknown(name)
    document["current"] = name
    _write(document)


@context.command("ls", help=_help("List the contexts; the one in use has a star", "pycmbs context ls"))
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print them.")
def ls(output: str) -> None:
    """All of them."""
    document = contexts()
    found = {name: str(one.get("url", "")) for name, one in _names(document).items()}
    if output == "json":
        rows = [{"name": name, "url": url, "current": name == document.get("current")} for name, url in found.items()]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for name, url in found.items():
        click.echo(f"{name}{'*' if name == document.get('current') else ''}\t{url}")


@context.command("show", help=_help("Show a context, without its secrets", "pycmbs context show rome"))
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """One of them."""
    document = contexts()
    name = name or str(document.get("current", ""))
    found = _names(document).get(name)
    if found is None:
        raise _unknown(name)
    for key, value in found.items():
        click.echo(f"{key}\t{'(kept)' if key in ('token', 'password') else value}")


@context.command("rm", help=_help("Forget a context", "pycmbs context rm rome"))
@click.argument("name")
def rm(name: str) -> None:
    """Forget one."""
    document = _document()
    if name not in _names(document):
        raise _unknown(name)
    forget([name])


def _names(document: Any) -> dict[str, Any]:
    table = document.get("contexts")
    return {name: one for name, one in table.items() if isinstance(one, dict)} if isinstance(table, dict) else {}


def _unknown(name: str) -> ConfigurationError:
    return ConfigurationError(f"there is no context {name!r}", hint="pycmbs context ls lists those there are.")


def _document() -> Any:
    """The file, with anything else that a person wrote into it."""
    contexts()  # raises if it is not a broker's URL
    path = contexts_file()
    return tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()


def _write(document: Any) -> None:
    """Replace the file; it is readable by its owner only, at all times."""
    path = contexts_file()
    new = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(tomlkit.dumps(document))
        new.replace(path)
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be written: {exc.strerror}") from exc
