"""``pub``, ``send``, ``request``, ``resend``, ``rm``, ``ping``, ``sub``: what changes something, here or elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from pycmbs.cli import following, printing
from pycmbs.cli.completion import complete_members, complete_topics
from pycmbs.cli.session import DONE, FAILED, NOBODY, Session, asking, exit_code, settled_code, text_of, usage
from pycmbs.client import verbs
from pycmbs.client.calls import Verb
from pycmbs.client.views import Sent
from pycmbs.errors import CmbsError

_QUICK = 0.2
"""Seconds of waiting before progress is shown."""
_BODY = "JSON, or any text; @FILE and - (standard input) are read"


def _timing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of commands that deliver something."""
    deadline = click.option(
        "--deadline", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Give it up after so many seconds."
    )
    wait = click.option(
        "--wait", type=click.FloatRange(min=0), default=0, metavar="S", help="Wait so many seconds until all have it."
    )
    return wait(deadline(function))


def body_of(text: str | None) -> Any:
    """The content that a BODY on the command line stands for. Raises ConfigurationError for a file that cannot be read."""
    if text is None:
        return None
    if text == "-":
        text = text_of("-").removesuffix("\n")
    elif text.startswith("@"):
        text = text_of(text[1:])
    try:
        return json.loads(text, parse_constant=_no_json)
    except ValueError:
        return text


def _no_json(name: str) -> Any:
    raise ValueError(name)


def _sent(session: Session, verb: Callable[[float], Verb[Sent]], wait: float) -> Sent:
    """What became of a message within ``wait`` seconds. ``verb`` sends it, and waits as long."""
    if not session.watched or wait <= _QUICK:
        return session.do(verb(wait))
    sent = session.do(verb(_QUICK))
    return sent if sent.settled else following.waited(session, sent, wait - _QUICK)


def _told(session: Session, sent: Sent, about: str, wait: float) -> int:
    session.show(sent.document, lambda: printing.report(sent, about), lambda: sent.id)
    return settled_code(sent, wait)


@asking(
    "pub",
    "send to all members that are interested in a topic",
    'pycmbs pub network.link \'{"event": "link-down"}\' --wait 5\n'
    "echo disk full | pycmbs pub storage.disk - --to rome --to oslo",
)
@click.argument("topic", shell_complete=complete_topics)
@click.argument("body", required=False, metavar="[BODY|@FILE|-]")
@click.option(
    "--to",
    multiple=True,
    metavar="MEMBER",
    shell_complete=complete_members,
    help="Only these members, if they are interested.",
)
@click.option("--dry-run", is_flag=True, help="Say who would get it and why, and send nothing.")
@_timing
def pub(
    session: Session,
    topic: str,
    body: str | None,
    to: tuple[str, ...],
    dry_run: bool,
    wait: float,
    deadline: float | None,
) -> int:
    """Send by topic."""
    if dry_run:
        return _planned(session, [topic], to)
    content = body_of(body)
    sent = _sent(session, lambda some: verbs.send(content, topics=[topic], to=to, wait=some, deadline=deadline), wait)
    return _told(session, sent, topic, wait)


@asking(
    "send",
    "send to members by name, or to all",
    "pycmbs send rome oslo 'back in five minutes' --wait 5\npycmbs send --all @news.json",
)
@click.argument("words", nargs=-1, metavar="[MEMBER]... BODY", shell_complete=complete_members)
@click.option("--all", "everybody", is_flag=True, help="To every member that this broker knows.")
@click.option("--dry-run", is_flag=True, help="Say who would get it and why, and send nothing.")
@_timing
def send(
    session: Session, words: tuple[str, ...], everybody: bool, dry_run: bool, wait: float, deadline: float | None
) -> int:
    """Send by name."""
    *to, body = words or [None]
    if body is None or bool(to) == everybody:
        raise usage("say to whom: members and then the body, or --all and the body")
    if dry_run:
        return _planned(session, [], to)
    names = [str(one) for one in to]
    content = body_of(body)
    sent = _sent(session, lambda some: verbs.send(content, to=names, wait=some, deadline=deadline), wait)
    return _told(session, sent, " ".join(names) or "all", wait)


def _planned(session: Session, topics: list[str], to: Any) -> int:
    plan = session.do(verbs.dry_run(topics=topics, to=list(to)))
    session.show(plan.document, lambda: printing.plan(plan), lambda: "\n".join(one.member for one in plan.recipients))
    return DONE if plan.recipients else NOBODY


@asking(
    "request",
    "have a member perform an operation, and print the result",
    "pycmbs request rome restart web\npycmbs request rome create /compute/ id=host-1 compute.cores=8",
    formats=("value", "json", "jsonl", "table"),
)
@click.argument("member", shell_complete=complete_members)
@click.argument("operation")
@click.argument("words", nargs=-1, metavar="[TARGET] [NAME=VALUE]...")
@click.option(
    "--wait", type=click.FloatRange(min=0), default=30, metavar="S", help="Give up after so many seconds (30)."
)
def request(session: Session, member: str, operation: str, words: tuple[str, ...], wait: float) -> int:
    """Have something done elsewhere."""
    target, pairs = (words[0], words[1:]) if words and "=" not in words[0] else (None, words)
    attributes = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise usage(f"{pair!r} is not NAME=VALUE")
        attributes[name] = body_of(value)
    content = verbs.operation_content(operation, target, attributes)
    sent = _sent(session, lambda some: verbs.send(content, to=[member], wait=some, deadline=wait + 1), wait)
    try:
        done = verbs.outcome(member, sent)
    except CmbsError as error:
        told = isinstance(error, verbs.NotSettled)
        return session.failed(error, exit_code(error) if told else FAILED)
    document = {"member": done.member, "message": sent.id, "state": sent.state, "result": done.result}
    session.show(document, lambda: printing.plain(done.result), lambda: printing.plain(done.result))
    return DONE


@asking("resend", "send a message again", "pycmbs resend 01a22b7e-5c1b-7b8e-8a53-2f1d7c9f4d11 --wait 5")
@click.argument("message")
@click.option(
    "--wait", type=click.FloatRange(min=0), default=0, metavar="S", help="Wait so many seconds until all have it."
)
def resend(session: Session, message: str, wait: float) -> int:
    """Send again."""
    return _told(session, _sent(session, lambda some: verbs.resend(message, wait=some), wait), "", wait)


@asking(
    "rm", "delete messages; what is not delivered yet will not be", "pycmbs rm 01a22b7e-5c1b-7b8e-8a53-2f1d7c9f4d11"
)
@click.argument("message", nargs=-1, required=True)
def rm(session: Session, message: tuple[str, ...]) -> None:
    """Delete."""
    for one in message:
        session.do(verbs.remove(one))
    session.show({"deleted": list(message)}, lambda: f"{len(message)} deleted", lambda: "\n".join(message))


@asking("ping", "measure how long a message takes to a member; nothing is stored", "pycmbs ping rome")
@click.argument("member", shell_complete=complete_members)
@click.option(
    "--wait", type=click.FloatRange(min=0.1), default=2, metavar="S", help="Give up after so many seconds (2)."
)
def ping(session: Session, member: str, wait: float) -> int:
    """Measure."""
    sent, taken = session.do(verbs.ping(member, wait=wait))
    row = sent.ledger[0]
    document: dict[str, Any] = {"member": row.member or member, "state": row.state, "layer": sent.layer}
    document |= {"ms": round(taken, 1)} if sent.delivered else {"reason": row.reason}
    state = row.state if sent.delivered else f"{row.state}: {row.reason or f'no answer in {wait:g} s'}"
    session.show(
        document,
        lambda: f"{document['member']}  {state}" + (f"  {taken:.1f} ms" if sent.delivered else ""),
        lambda: f"{taken:.1f}" if sent.delivered else row.state,
    )
    return settled_code(sent, wait)


@asking(
    "sub",
    "subscribe this broker's member to topics",
    "pycmbs sub 'network.>' storage.disk",
)
@click.argument("topic", nargs=-1, required=True)
def sub(session: Session, topic: tuple[str, ...]) -> None:
    """Subscribe."""
    topics = session.do(verbs.subscribe(topic))
    session.show(
        {"topics": topics}, lambda: f"this member is interested in {' '.join(topics)}", lambda: "\n".join(topics)
    )
