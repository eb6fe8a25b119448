"""Events that wake the outbox: answers, members that are reached again, and rows that are new."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from pycmbs.queues import BoundedQueue
from pycmbs.seldom import Seldom
from pycmbs.transport.base import Arrival

log = logging.getLogger(__name__)

_TURN = 500
_TURN_BYTES = 4 * 1024 * 1024
_BOUND = 10_000
_BOUND_BYTES = 32 * 1024 * 1024
_WAKE: Final = None


class Revoked(NamedTuple):
    """A member that is no longer trusted."""

    member: str


class Events:
    """A bounded queue for one thread that takes what is there by turns. The rest is for any thread."""

    def __init__(self) -> None:
        self._queue: BoundedQueue[Arrival | str | Revoked | None] = BoundedQueue(_BOUND, _BOUND_BYTES)
        self._full = Seldom(log)
        self.woken = True
        """Whether the outbox is to be read, in a turn that is about to begin: the thread does not sleep before it."""

    def wake(self) -> None:
        """There is something new in the outbox."""
        if not self.woken:
            self.woken = True
            self._queue.put(_WAKE)

    def answer(self, arrival: Arrival) -> None:
        """An answer arrived. When too many wait it is dropped: what it answers is sent again."""
        if not self._queue.offer(arrival, len(arrival.data)):
            self._full("too many answers wait: one from %s is dropped", arrival.address)

    def resume(self, member: str) -> None:
        """A member is reached again, or in another way."""
        self._queue.put(member)

    def revoked(self, member: str) -> None:
        """A member is no longer trusted."""
        self._queue.put(Revoked(member))

    def take(self, seconds: float, resumed: Callable[[str], None], given_up: Callable[[str], None]) -> list[Arrival]:
        """The answers that came, after ``seconds`` at most; ``resumed`` is called with each member that is reached again,
        ``given_up`` with each that is revoked."""
        events = self._queue.turn(_TURN, _TURN_BYTES, 0.0 if self.woken else seconds)
        if not events:
            self.woken = True  # a wake-up may have been lost
            return []
        for member in {one for one in events if isinstance(one, str)}:
            resumed(member)
        for one in events:
            if isinstance(one, Revoked):
                given_up(one.member)
        return [one for one in events if isinstance(one, Arrival)]
