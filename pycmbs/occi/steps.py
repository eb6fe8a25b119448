"""How much work the definitions of clients may make: counted in steps, so that it is the same on every machine.

A step takes a few microseconds at most. What one request, or one operation in a message, has checked shares a budget; a check
outside of one has a budget of its own. Beyond it the request is refused: a front has one thread, and all others wait for it
meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from pycmbs.errors import InvalidRequest

MOST = 100_000
_left: ContextVar[int | None] = ContextVar("steps", default=None)


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Have what is checked within share one budget, which is the outer one's where there is one."""
    if _left.get() is not None:
        yield
        return
    token = _left.set(MOST)
    try:
        yield
    finally:
        _left.reset(token)


def spend(number: int) -> None:
    """Take steps from the budget, before they are done. Raises InvalidRequest when it has not that many any more."""
    left = _left.get()
    if left is None:
        return
    _left.set(left - number)
    if left < number:
        raise InvalidRequest(
            f"to check this against its definitions takes more than {MOST} steps",
            hint="Send less at a time, or make the patterns of the attributes simpler.",
        )
