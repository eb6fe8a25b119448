"""Limits the steps that patterns and schemas of clients may take, alike on every machine.

A step takes a few microseconds at most. What one request, or one operation in a message, has checked shares a budget; a check
outside of one has a budget of its own. Beyond it the request is refused: a front has one thread, and all others wait for it
meanwhile.
"""

from __future__ import annotations

from pycmbs.errors import InvalidRequest
from pycmbs.scope import current, entered

MOST = 100_000
"""Steps of a budget."""


class bounded:  # noqa: N801 - a context, and one of a generator costs three times as much
    """Have what is checked within share one budget, which is the outer one's where there is one."""

    __slots__ = ("_outermost", "_scope", "_token")

    def __enter__(self) -> None:
        self._scope, self._token = entered()
        self._outermost = self._scope.steps is None
        if self._outermost:
            self._scope.steps = MOST

    def __exit__(self, *_raised: object) -> None:
        if self._outermost:
            self._scope.steps = None
        if self._token is not None:
            current.reset(self._token)


def spend(number: int) -> None:
    """Take steps from the budget, before they are done. Raises InvalidRequest when it has not that many any more."""
    scope = current.get()
    if scope is None or scope.steps is None:
        return
    left = scope.steps
    scope.steps = left - number
    if left < number:
        raise InvalidRequest(
            f"checking this against its definitions takes more than {MOST} steps",
            hint="Send less at a time, or make the patterns of the attributes simpler.",
        )
