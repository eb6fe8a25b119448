"""Checks that an envelope comes from the member that it names as its sender, by connection key or seal.

The speaker of what others pass on is the member that sealed it.
"""

from __future__ import annotations

from pycmbs.errors import ForgedSender, NoRoute
from pycmbs.occi.naming import plain_id
from pycmbs.services.federation.seals import Seals, is_sealed
from pycmbs.transport.envelope import Envelope


def said(who: str | None, envelope: Envelope, seals: Seals | None) -> Envelope:
    """The envelope as its sender made it; one that came through others is unsealed. ``who``: the member that delivered it.
    Raises ForgedSender."""
    if seals is not None and is_sealed(envelope):
        envelope = seals.opened(envelope)
        check_speaker(plain_id(envelope.sender), envelope)
    else:
        check_plain(who, envelope, seals)
        check_speaker(who, envelope)
    return envelope


def check_plain(who: str | None, envelope: Envelope, seals: Seals | None) -> None:
    """Where only some members have keys, those that do are believed only by their keys. Raises ForgedSender."""
    if who is None and seals is not None and not is_sealed(envelope) and seals.must_prove(envelope.sender):
        raise ForgedSender(f"{envelope.sender} has keys, and is believed by those only", id=envelope.sender)


def check_passing(who: str | None, envelope: Envelope) -> None:
    """Check an envelope for another member: where members have keys it must be sealed, and come from its sender or from the
    member that passed it on last. Raises ForgedSender, NoRoute."""
    if who is None:
        return
    last = envelope.path[-1] if envelope.path else envelope.sender
    if last != who and plain_id(last) != who:
        raise ForgedSender(f"{who} passes on what {last or 'nobody'} sent", id=who)
    if not is_sealed(envelope):
        raise NoRoute("only sealed envelopes are passed on here", member=envelope.to)


def check_speaker(who: str | None, envelope: Envelope) -> None:
    """``who``: the sender, as the transport knows it; None where members are not asked for keys. Raises ForgedSender for an
    envelope that names another sender, or introduces another member as the speaker."""
    if who is None:
        return
    if envelope.sender != who and plain_id(envelope.sender) != who:
        raise ForgedSender(f"{who} speaks for {envelope.sender or 'nobody'}", id=who)
    description = envelope.body.get("description")
    described = description.get("id") if isinstance(description, dict) else None
    if isinstance(described, str) and described != who and plain_id(described) != who:
        raise ForgedSender(f"{who} introduces itself as {described}", id=who)
