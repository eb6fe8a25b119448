"""``members``, ``ls``, ``show``, ``ledger``: what only looks."""

from __future__ import annotations

import click

from pycmbs.cli import following, printing
from pycmbs.cli.completion import complete_members
from pycmbs.cli.session import DONE, FAILED, Session, asking, usage
from pycmbs.client import verbs
from pycmbs.errors import CmbsError, Unavailable


@asking("members", "list the members of the federation, or show one", "pycmbs members\npycmbs members rome -o json")
@click.argument("name", required=False, shell_complete=complete_members)
def members(session: Session, name: str | None) -> None:
    """Who is there."""
    found = [session.do(verbs.member(name))] if name else session.do(verbs.members())
    documents = [one.document for one in found]
    session.show(
        documents[0] if name else documents,
        lambda: printing.members(found),
        lambda: "\n".join(one.id for one in found),
    )


@asking("ls", "list messages, the newest first", "pycmbs ls --state sending\npycmbs ls --from rome --oldest -o jsonl")
@click.option("--state", metavar="STATE", help="Only those in this state, such as sending or received.")
@click.option("--from", "origin", metavar="MEMBER", shell_complete=complete_members, help="Only those of this member.")
@click.option("--number", type=click.IntRange(1, 1000), default=20, metavar="N", help="How many at most (20).")
@click.option("--page", type=click.IntRange(1), default=1, metavar="N", help="Which page of so many (1).")
@click.option("--oldest", is_flag=True, help="The oldest first, in order of creation.")
def ls(session: Session, state: str | None, origin: str | None, number: int, page: int, oldest: bool) -> None:
    """What is there."""
    found = session.do(verbs.messages(state=state, origin=origin, number=number, page=page, newest=not oldest))
    session.show(
        [one.document for one in found],
        lambda: printing.messages(found),
        lambda: "\n".join(one.id for one in found),
    )


@asking("show", "show a message with its content", "pycmbs show 01a22b7e-5c1b-7b8e-8a53-2f1d7c9f4d11 -o value")
@click.argument("message")
def show(session: Session, message: str) -> None:
    """One message."""
    found = session.do(verbs.message(message))
    session.show(
        found.document,
        lambda: f"{printing.messages([found])}\n\n{printing.plain(found.content)}",
        lambda: printing.plain(found.content),
    )


@asking(
    "ledger",
    "show who got a message, and who did not and why",
    "pycmbs ledger 01a22b7e-5c1b-7b8e-8a53-2f1d7c9f4d11 --history\n"
    "pycmbs ledger 01a22b7e-5c1b-7b8e-8a53-2f1d7c9f4d11 --follow",
)
@click.argument("message")
@click.option("--follow", is_flag=True, help="Go on until nothing more is to come of it; the exit code says what came.")
@click.option("--history", "-v", is_flag=True, help="Also what became of it at each recipient, step by step.")
def ledger(session: Session, message: str, follow: bool, history: bool) -> int:
    """What became of it."""
    if follow and history:
        raise usage("--follow shows each step as it comes, and --history those there were: take one of them")
    if follow:
        return following.ledger(session, message)
    found = session.do(verbs.message(message))
    steps = f"\n\n{printing.history(found.ledger)}" if history else ""
    session.show(following.document(found), lambda: printing.ledger(found.ledger) + steps, lambda: found.state)
    return DONE


@asking(
    "handlers",
    "list what a member lets this broker call there, or what the broker itself has",
    "pycmbs handlers\npycmbs handlers rome",
)
@click.argument("member", required=False, shell_complete=complete_members)
@click.option(
    "--wait", type=click.FloatRange(min=0), default=10, metavar="S", help="Give up after so many seconds (10)."
)
def handlers(session: Session, member: str | None, wait: float) -> int:
    """What can be called."""
    try:
        found = session.do(verbs.handlers(member, wait))
    except CmbsError as error:
        refused = member is not None and not isinstance(error, verbs.NotSettled | Unavailable)
        return session.failed(error, FAILED if refused else None)
    session.show(found, lambda: printing.handlers(found), lambda: "\n".join(found))
    return DONE
