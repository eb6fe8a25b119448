"""Who may say what, where members are known by their keys: each speaks for itself and describes itself, and no one else."""

from __future__ import annotations

from pycmbs.errors import ForgedSender
from pycmbs.occi.naming import plain_id
from pycmbs.transport.envelope import Envelope


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
