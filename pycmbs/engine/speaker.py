"""Checks that an envelope comes from the member that it names as its sender, by connection key or seal.

What comes through others is said by the member that sealed it.
"""

from __future__ import annotations

from pycmbs.errors import ForgedSender, NoRoute
from pycmbs.occi.naming import plain_id
from pycmbs.services.federation.seals import Seals, is_sealed
from pycmbs.transport.envelope import Envelope


def said(who: str | None, envelope: Envelope, seals: Seals | None) -> Envelope:
    """An envelope as its sender said it, by itself or sealed, through others. ``who``: by whom it came. Raises ForgedSender."""
    if seals is not None and is_sealed(envelope):
        envelope = seals.opened(envelope)
        check_speaker(plain_id(envelope.sender), envelope)
    else:
        check_plain(who, envelope, seals)
        check_speaker(who, envelope)
    return envelope


def check_plain(who: str | None, envelope: Envelope, seals: Seals | None) -> None:
    """Where some members have keys and some have none: a member that has is believed by its key only. Raises ForgedSender."""
    if who is None and seals is not None and not is_sealed(envelope) and seals.must_prove(envelope.sender):
        raise ForgedSender(f"{envelope.sender} has keys, and is believed by those only", id=envelope.sender)


def check_passing(who: str | None, envelope: Envelope) -> None:
    """What is meant for another member: where members have keys it is sealed, and comes from its sender, or from the one that
    passed it on last. Raises ForgedSender, NoRoute."""
    if who is None:
        return
    last = envelope.path[-1] if envelope.path else envelope.sender
    if last != who and plain_id(last) != who:
        raise ForgedSender(f"{who} passes on what {last or 'nobody'} sent", id=who)
    if not is_sealed(envelope):
        raise NoRoute("only sealed envelopes are passed on here", member=envelope.to)


def check_speaker(who: str | None, envelope: Envelope) -> None:
    """``who`` sent it, as the transport knows; None where that is not asked. Raises ForgedSender for what says that it is
    someone else's, or introduces another member as the one that speaks."""
    if who is None:
        return
    if envelope.sender != who and plain_id(envelope.sender) != who:
        raise ForgedSender(f"{who} speaks for {envelope.sender or 'nobody'}", id=who)
    description = envelope.body.get("description")
    described = description.get("id") if isinstance(description, dict) else None
    if isinstance(described, str) and described != who and plain_id(described) != who:
        raise ForgedSender(f"{who} introduces itself as {described}", id=who)
