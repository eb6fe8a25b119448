"""``top``: the federation, and the newest messages, as they change."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from pycmbs.cli import printing
from pycmbs.cli.session import Session, asking
from pycmbs.client import verbs
from pycmbs.client.calls import Verb
from pycmbs.client.views import Member, Message

_MOST = 15
"""Messages that are shown."""
_PAUSE = 0.2
_LONGEST = 5.0
"""The least and the most seconds between two screens."""


@asking(
    "top",
    "show the members and the newest messages, as they change, until Ctrl-C",
    "pycmbs top\npycmbs top --once",
    formats=("table", "json"),
)
@click.option("--once", is_flag=True, help="Show it once, as without a terminal.")
def top(session: Session, once: bool) -> None:
    """Look on."""
    if once or session.output == "json" or not sys.stdout.isatty():
        members, messages = session.do(_picture())
        session.show(
            {"members": [one.document for one in members], "messages": [one.document for one in messages]},
            lambda: _text(members, messages),
        )
        return
    _look_on(session)


def _look_on(session: Session) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(screen=True, auto_refresh=False) as display, session.client() as client:
        while True:
            since = client.run(verbs.cursor("/"))  # before it is read, so that changes in between are shown next
            picture = _text(*client.run(_picture()))
            display.update(Text.from_ansi(f"{session.place.url}/  {time.strftime('%T')}\n\n{picture}"), refresh=True)
            time.sleep(_PAUSE)  # further changes in this time are shown with it
            client.run(verbs.cursor("/", since, _LONGEST))


def _picture() -> Verb[tuple[list[Member], list[Message]]]:
    members = yield from verbs.members()
    messages = yield from verbs.messages(number=_MOST, newest=True)
    return members, messages


def _text(members: list[Member], messages: list[Message]) -> str:
    parts: list[Any] = [printing.members(members)]
    if messages:
        parts += ["", printing.messages(messages)]
    return "\n".join(parts)
