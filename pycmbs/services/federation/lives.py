"""Random ids of starts, by which two processes that take the same member notice each other.

A home that was copied, with its machine or without, makes two processes with one id and one instance: nothing in the store
tells them apart. The number does. A restart brings a new one and ends the old one; of two copies the one is heard, then the
other, then the first again. A datagram may be late, and come after those of a later start; so one that comes back counts only
when it does so several times, and not all at once.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pycmbs.errors import ClaimedId, CmbsError
from pycmbs.seldom import Seldom

log = logging.getLogger(__name__)

LIFE = "life"
_RETURNS = 3
"""How often a number comes back until it is certain that both are there."""
_APART_SECONDS = 1.0
"""Returns count once in this time: what was held up somewhere comes all at once."""
_MOST = 4
"""Numbers that are remembered of a member: of more copies some are found, and that is enough."""
_LONGEST = 64
"""Characters of a number that are looked at."""
_SAY_SECONDS = 60.0


@dataclass(slots=True)
class _Heard:
    """What was heard of one member: when, by number, and how often one came back after another."""

    at: dict[str, float] = field(default_factory=dict)
    last: str = ""
    returns: int = 0
    counted: float = float("-inf")


class Lives:
    """The number of this process, and those that members are heard under. May be used from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.own = secrets.token_hex(8)
        self.patience = 60.0
        """Seconds without a word of one of two, after which it is gone: longer than a running member is ever silent."""
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._contested: set[str] = set()
        self._lock = threading.Lock()
        self._say = Seldom(log, seconds=_SAY_SECONDS)
        self._say_own = Seldom(log, seconds=_SAY_SECONDS)

    def keep(self, members: set[str]) -> None:
        """Only these are known: what was heard of others is forgotten."""
        with self._lock:
            for id in self._heard.keys() - members:
                del self._heard[id]
            self._contested &= members

    def heard(self, member: str, life: Any) -> None:
        """A member that is known spoke, under this number; those of before version 0.4 have none."""
        if not isinstance(life, str) or not 0 < len(life) <= _LONGEST:
            return
        now = self._clock()
        with self._lock:
            found = self._heard.setdefault(member, _Heard())
            if life != found.last:
                if life in found.at and now - found.counted >= _APART_SECONDS:
                    found.returns, found.counted = found.returns + 1, now
                found.last = life
            found.at[life] = now
            found.at = {one: at for one, at in found.at.items() if now - at < self.patience}
            while len(found.at) > _MOST:
                del found.at[min(found.at, key=lambda one: found.at[one])]
            if len(found.at) == 1:
                found.returns = 0
            self._judge(member, found)

    def _judge(self, member: str, found: _Heard) -> None:
        if found.returns >= _RETURNS:
            self._contested.add(member)
            self._say("two processes claim to be the member %s: nothing is sent to either until one is gone", member)
        elif member in self._contested and not found.returns:
            self._contested.discard(member)
            log.warning("one process is the member %s now", member)

    def last(self, member: str) -> str:
        """The number under which a member was heard last, empty when it says none."""
        found = self._heard.get(member)
        return found.last if found is not None else ""

    def contested(self, member: str) -> bool:
        """Whether two processes claim to be this member, now."""
        return member in self._contested

    def check(self, member: str) -> None:
        """Raises ClaimedId when two processes claim to be this member."""
        if member in self._contested:
            raise ClaimedId(
                f"two processes claim to be the member {member}",
                hint="Was its home copied? Stop one of them, or give it a member of its own.",
                id=member,
            )

    def check_own(self, own: str, life: Any) -> None:
        """A message has the own id and instance, and this number. Raises ClaimedId when that is another process's."""
        if isinstance(life, str) and life and life != self.own:
            self._say_own("another process claims to be the own member %s, too: was the home copied?", own)
            raise ClaimedId(f"two processes claim to be the member {own}", hint="Was its home copied?", id=own)

    def refused(self, own: str, error: CmbsError) -> None:
        """Another member refuses the own one; if that is since there are two of it, say so."""
        if isinstance(error, ClaimedId) and own and error.data.get("id") == own:
            self._say_own("others report that the own member exists twice: %s", error.message)
