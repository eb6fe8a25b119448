"""Live progress: follows a message's ledger until all its deliveries are settled."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Self

import click

from pycmbs.cli import printing
from pycmbs.cli.session import Session, settled_code
from pycmbs.client import verbs
from pycmbs.client.calls import MOST_WAIT, path_of
from pycmbs.client.views import GOOD, Message, Sent, message, sent_before

PATIENCE = 30.0
"""Seconds without the broker, after which following gives up."""


def document(found: Message) -> dict[str, Any]:
    """A ledger, for a program."""
    return {"id": found.id, "state": found.state, "deliveries": [one.document for one in found.ledger]}


def follow(session: Session, id: str) -> Iterator[Message]:
    """A message as it is, and then with each change of it. Ends when it is gone."""
    path = path_of(verbs.MESSAGES, id)
    since = session.do(verbs.cursor(path))  # before it is read, so that changes in between are seen, too
    yield session.do(verbs.message(id))
    with session.client() as client:
        for change in client.watch(path, since=since, patience=PATIENCE):
            if change.event == "deleted":
                return
            yield message(change.entity)


def ledger(session: Session, id: str) -> int:
    """Show a ledger until it is settled; the exit code. On a terminal it is redrawn in place, elsewhere each changed row is
    a new line."""
    last: Message | None = None
    with _Screen(session) as screen:
        for found in follow(session, id):
            screen.show(found, last)
            last = found
            if found.state != "sending":
                break
    assert last is not None
    session.show(document(last), lambda: "" if screen.live else f"{last.id}  {last.state}", lambda: last.state)
    return settled_code(sent_before(last), 1)


class _Screen:
    """Where a ledger is shown while it changes."""

    def __init__(self, session: Session) -> None:
        self._lines = session.output == "jsonl"
        self._rows = session.output == "table" and not session.quiet
        self.live = self._rows and sys.stdout.isatty()
        self._display: Any = None

    def __enter__(self) -> Self:
        if self.live:
            from rich.live import Live

            self._display = Live(auto_refresh=False)
            self._display.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._display is not None:
            self._display.__exit__(*raised)

    def show(self, found: Message, last: Message | None) -> None:
        """The message as it is now; ``last``: as it was shown before."""
        if self._display is not None:
            from rich.text import Text

            self._display.update(Text.from_ansi(printing.ledger(found.ledger)), refresh=True)
            return
        before = [one.document for one in last.ledger] if last is not None else []
        rows = [one for one in found.ledger if one.document not in before]
        if self._rows and rows:
            for row in rows:
                name = row.member or row.document.get("socket")
                click.echo(f"{name}  {row.state}" + (f"  {row.reason}" if row.reason else ""))
        elif self._lines and found.state == "sending":
            click.echo(json.dumps(document(found), ensure_ascii=False))


def waited(session: Session, sent: Sent, seconds: float) -> Sent:
    """A message after so many seconds, or as soon as it is settled. Its progress is shown on standard error, which is a
    terminal."""
    path, end = path_of(verbs.MESSAGES, sent.id), time.monotonic() + seconds
    since = session.do(verbs.cursor(path))
    found = session.do(verbs.message(sent.id))
    while found.state == "sending" and (left := end - time.monotonic()) > 0:
        there = sum(one.state in GOOD for one in found.ledger)
        click.echo(f"\r\x1b[K{there}/{len(found.ledger)} delivered", nl=False, err=True)
        since = session.do(verbs.cursor(path, since, min(left, MOST_WAIT)))
        found = session.do(verbs.message(sent.id))
    click.echo("\r\x1b[K", nl=False, err=True)
    return sent_before(found)
