"""Matches answers to requests: ids that cannot be guessed, answered only over the link and by the member asked."""

from __future__ import annotations

import os

from msgspec import Struct

from pycmbs.errors import InvalidRequest
from pycmbs.occi.naming import bare_id

_ID_BYTES = 12


def new_id() -> str:
    """An id for an envelope that may be answered: 96 random bits, which only those know that it is sent to."""
    return os.urandom(_ID_BYTES).hex()


class Asked(Struct, frozen=True):
    """What was asked: over the link to which ``url``, and of which ``member``.

    ``member`` is empty where none is named, as when the own member introduces itself at an address: then the link is what
    counts. ``relayed`` says that another member passes it on, which may refuse to.
    """

    url: str
    member: str = ""
    relayed: bool = False

    def over(self, link: str) -> bool:
        """Whether an answer over this link can be one to it at all."""
        return link == self.url

    def of(self, sender: str) -> bool:
        """Whether an answer by this member counts."""
        return not self.member or sender == self.member or _same(sender, self.member)

    def stranger(self, sender: str) -> str:
        """What is wrong with an answer by another member."""
        who = f"the member {sender}" if sender else "a broker without a member"
        return f"{who} answers at {self.url}, not {self.member}"


def _same(one: str, other: str) -> bool:
    """Whether two spellings mean one member; what is not an id means none."""
    try:
        return bare_id(one) == bare_id(other)
    except InvalidRequest:
        return False
