"""Per-request context of a thread or green thread."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any


class Scope:
    """Each part belongs to the module that knows what it means; here they are only together."""

    # As it is to begin with; nothing is called to make one.
    asked_at: float | None = None
    """Of :mod:`pycmbs.runtime`: when it was asked for."""
    principals: tuple[Any, ...] = ()
    """Of :mod:`pycmbs.services.access.access`: for whom it is done."""
    steps: int | None = None
    """Of :mod:`pycmbs.occi.steps`: how much may still be checked; None: no one counts."""


current: ContextVar[Scope | None] = ContextVar("scope", default=None)
"""This thread's: a green thread has a context of its own, too."""


def entered() -> tuple[Scope, Token[Scope | None] | None]:
    """This thread's scope, and if there was none the token by which the new one is left again."""
    scope = current.get()
    if scope is not None:
        return scope, None
    scope = Scope()
    return scope, current.set(scope)
