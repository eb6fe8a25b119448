"""The latest round of each message that arrived, so that older ones are discarded."""

from __future__ import annotations

from collections import OrderedDict

TAKEN = "taken"
"""The private record of the round in a received message; ``round`` is that of one that was sent here."""
_MOST = 10_000


class Rounds:
    """The newest rounds of those messages that arrived last, by origin and id.

    A datagram that was held up arrives in the life of the connection that holds it, so what is remembered in memory is enough
    for messages that are not kept, or are deleted; one that is kept says its round itself.
    """

    def __init__(self) -> None:
        self._newest: OrderedDict[tuple[str, str], int] = OrderedDict()

    def note(self, origin: str, message: str, round: int) -> None:
        """A round was taken in."""
        key = origin, message
        self._newest[key] = max(round, self._newest.get(key, 0))
        self._newest.move_to_end(key)
        if len(self._newest) > _MOST:
            self._newest.popitem(last=False)

    def newest(self, origin: str, message: str) -> int:
        """The newest round that is remembered, 0 for none."""
        return self._newest.get((origin, message), 0)
