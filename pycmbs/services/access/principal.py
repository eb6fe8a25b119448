"""Principals: the identity that a request or message acts as."""

from __future__ import annotations

import functools
import math

from msgspec import Struct

MESSAGE = "message"
"""How members ask: by messages."""


class Principal(Struct, frozen=True, dict=True):
    """A user, a token without a user, or a member of the federation.

    ``via`` says how that is known: ``password``, ``token``, ``certificate``, ``jwt``; ``message`` for a member, whose id is the
    ``name`` then. ``until``: when it is not known any more, in seconds since the epoch.
    """

    name: str
    roles: tuple[str, ...] = ()
    via: str = ""
    until: float = math.inf

    @functools.cached_property
    def subject(self) -> str:
        """As rules and the audit log name it."""
        return self.name if self.via in (MESSAGE, "") else f"user:{self.name}"


OPEN = Principal("")
"""The principal of what is not asked for from outside: everything is allowed."""
