"""Tables and text output; colour only on a terminal, and never alone."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pycmbs.client.views import Member, Message, Plan, Row, Sent

_COLORS = {
    "delivered": "green", "executed": "green", "alive": "green", "sent": "yellow", "pending": "yellow", "suspect": "yellow",
    "FAIL": "red", "warn": "yellow", "ok": "green",
    "failed": "red", "expired": "red", "unknown": "red", "dead": "red",
}  # fmt: skip
_WIDE = 10_000
"""The width where output is not a terminal: nothing is cut for a program that reads it."""


def table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table: rows below titles, in columns."""
    from rich.console import Console  # its import takes time, and JSON does not need it
    from rich.table import Table
    from rich.text import Text

    looked_at = sys.stdout.isatty()
    console = Console(file=io.StringIO(), force_terminal=looked_at, width=None if looked_at else _WIDE, highlight=False)
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for title in titles:
        made.add_column(title, overflow="fold")
    for row in rows:
        made.add_row(*(Text(_cell(one), style=_COLORS.get(str(one), "")) for one in row))
    console.print(made)
    written: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in written.splitlines())


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "-"
    # Text from others is shown, but cannot move the cursor.
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(value))


def layer_name(layer: str) -> str:
    """As the documents write it."""
    return layer.replace("l3", "l3.")


def ledger(rows: Sequence[Row]) -> str:
    """Who got it, and why, and why not; over whom, where some were reached over others."""
    shown = [[_name(one), one.state, one.attempts, one.why, _reason(one)] for one in rows]
    titles = ["MEMBER", "STATE", "TRIES", "WHY", "REASON"]
    if any(one.via for one in rows):
        titles.insert(3, "VIA")
        for row, cells in zip(rows, shown, strict=True):
            cells.insert(3, row.via)
    return table(titles, shown)


def history(rows: Sequence[Row]) -> str:
    """What became of a message at each recipient, step by step."""
    steps = [
        [_name(one), step.get("at"), step.get("state"), step.get("reason")] for one in rows for step in one.history
    ]
    return table(["MEMBER", "AT", "STATE", "REASON"], steps)


def _name(row: Row) -> str:
    return row.member or str(row.document.get("socket") or "")


def _reason(row: Row) -> str:
    return row.reason or str((row.error or {}).get("message", ""))


def report(sent: Sent, about: str) -> str:
    """What became of a message, in a headline, a ledger and a sentence."""
    head = f"{sent.id}  {layer_name(sent.layer)}  {about}".rstrip()
    if not sent.recipients:
        return f"{head}\n{sent.reason or 'there is no recipient'}"
    there = sum(one.state in ("delivered", "executed") for one in sent.ledger)
    ends = [f"{there} of {len(sent.ledger)} delivered"]
    if waiting := [one for one in sent.ledger if not one.settled]:
        who = waiting[0].member if len(waiting) == 1 else f"{len(waiting)} others"
        verb = "is" if len(waiting) == 1 else "are"
        ends.append(f"{who} {verb} tried until {waiting[0].deadline} (pycmbs ledger {sent.id})")
    return "\n".join([head, ledger(sent.ledger), *_warning(sent.warning), "; ".join(ends)])


def _warning(said: str) -> list[str]:
    return [f"warning: {said}"] if said else []


def plan(found: Plan) -> str:
    """The dry run: who would get the message."""
    lines = [f"dry run  {layer_name(found.layer)}: nothing was sent"]
    if found.recipients:
        rows = [[_name(one), one.why, one.reason] for one in found.recipients]
        lines.append(table(["MEMBER", "WHY", "WARNING"], rows))
    else:
        lines.append("there is no recipient")
    lines += _warning(found.warning)
    lines += [f"{one} is not a known member" for one in found.unknown]
    lines += [f"{one} is not interested" for one in found.uninterested]
    return "\n".join(lines)


def members(found: Sequence[Member]) -> str:
    """The federation; the own member has a star. By what the others are trusted is shown where they are asked for keys."""
    rows, trusts = [], any(one.trust for one in found)
    for one in found:
        listening = list(one.listening)
        listens = "all" if len(listening) == 5 else listening
        name = f"{one.id}*" if one.own else one.id
        trust = [_trusted(one)] if trusts else []
        rows.append([name, one.health, one.round_trip_ms, one.via, listens, one.topics, *trust, one.reason])
    titles = ["MEMBER", "HEALTH", "RTT ms", "VIA", "LISTENS", "TOPICS", *(["TRUST"] if trusts else []), "REASON"]
    return table(titles, rows)


def _trusted(member: Member) -> str:
    return f"{member.trust} by {member.vouched_by}" if member.vouched_by else member.trust


def handlers(found: Mapping[str, Any]) -> str:
    """What can be called."""
    rows = [
        [name, one.get("deadline"), "yes" if one.get("idempotent") else "no", one.get("about")]
        for name, one in sorted(found.items())
    ]
    return table(["HANDLER", "DEADLINE s", "REPEATABLE", "ABOUT"], rows)


def findings(found: Sequence[tuple[str, str, str]]) -> str:
    """What a doctor found."""
    return table(["", "", ""], found).partition("\n")[2]


def messages(found: Sequence[Message]) -> str:
    """A line for each."""
    rows = [
        [one.id, one.state, layer_name(one.layer), one.origin, [*one.topics, *one.providers], short(one.content)]
        for one in found
    ]
    return table(["MESSAGE", "STATE", "LAYER", "ORIGIN", "FOR", "CONTENT"], rows)


def short(content: Any) -> str:
    """Content, shortened to a few words."""
    text = plain(content) if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def plain(value: Any) -> str:
    """A value as it is: text without quotes, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
