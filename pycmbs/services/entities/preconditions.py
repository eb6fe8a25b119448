"""Preconditions of a change, checked in one step with it, so that no other change can come between."""

from __future__ import annotations


class Precondition:
    """One that holds always."""

    __slots__ = ()

    @property
    def pins(self) -> bool:
        """Whether it holds for certain revisions only."""
        return False

    def check(self, path: str, revision: str | None) -> None:
        """Raises PreconditionFailed unless the entity may be changed. ``revision`` is None where there is none."""


ALWAYS = Precondition()
