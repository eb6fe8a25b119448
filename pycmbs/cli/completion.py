"""``completion``: shell completion, with names asked of the running broker."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from pycmbs.cli.tree import COMPLETE
from pycmbs.client import verbs
from pycmbs.client.places import find
from pycmbs.client.views import Member
from pycmbs.errors import CmbsError

_ANSWER_SECONDS = 0.3
"""Seconds that the broker may take: someone who presses a key does not wait longer."""


@click.command(
    "completion",
    help="Print what a shell needs to complete commands, members and topics.\n\n\b\nexample:\n"
    '  eval "$(pycmbs completion bash)"',
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """What to add to a shell's start file."""
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(click.Command("pycmbs"), {}, "pycmbs", COMPLETE).source())


def complete_members(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of members; none if no broker answers."""
    del param
    return [CompletionItem(one.id, help=one.health) for one in _members(ctx.params) if one.id.startswith(incomplete)]


def complete_topics(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The topics that some member is interested in by name."""
    del param
    topics = {topic for one in _members(ctx.params) for topic in one.topics if not set(topic) & set("*>")}
    return [CompletionItem(one) for one in sorted(topics) if one.startswith(incomplete)]


def _members(said: dict[str, Any]) -> list[Member]:
    from pycmbs.client.synchronous import Client

    try:
        place = find(said.get("url"), context=said.get("context"), home=said.get("home"))
        with Client(place=place, timeout=_ANSWER_SECONDS) as client:
            return client.run(verbs.members())
    except CmbsError:
        return []
