"""Per-request context of a thread or green thread."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any


class Scope:
    """Each part belongs to the module that knows what it means; they are only kept together here."""

    # Defaults of the class, so that making a scope calls nothing.
    asked_at: float | None = None
    """Used by :mod:`pycmbs.runtime`: when the request or operation came."""
    principals: tuple[Any, ...] = ()
    """Used by :mod:`pycmbs.services.access.access`: for whom it is done."""
    steps: int | None = None
    """Used by :mod:`pycmbs.occi.steps`: how much may still be checked; None: it is not counted."""


current: ContextVar[Scope | None] = ContextVar("scope", default=None)
"""This thread's scope; green threads have contexts of their own, too."""


def entered() -> tuple[Scope, Token[Scope | None] | None]:
    """This thread's scope, and, if it is a new one, the token that ends it."""
    scope = current.get()
    if scope is not None:
        return scope, None
    scope = Scope()
    return scope, current.set(scope)
