"""Limits failed logins.

After :data:`FREE` wrong passwords for a user from an address the next one is looked at after a second, then two, four, to
:data:`MOST_PAUSE`. The count is of the broker, not of a process: it is in a file that the fronts have mapped. No user is locked
out for ever, nor from elsewhere; what is known to be right is not counted at all.
"""

from __future__ import annotations

import hashlib
import ipaddress
import mmap
import os
import struct
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pycmbs.errors import QueueFull, TooManyAttempts
from pycmbs.runtime import Runtime, Signal

T = TypeVar("T")

FREE = 5
"""Wrong passwords that cost no pause."""
MOST_PAUSE = 30.0
"""The longest pause, in seconds."""
FORGET_SECONDS = 900.0
"""After so long without another they are forgotten."""
RATE = 20.0
"""Passwords that a front looks at in a second, each some 20 ms of a processor; as many at once."""
THREADS = 2
"""Threads that look at them: the pool has others to serve."""
MOST_WAITING = 100
"""Requests that wait for theirs to be looked at; one more is a 503."""

_SLOT = struct.Struct("=16sdI4x")
_WAYS = 8
_BUCKETS = 512
_SIZE = _SLOT.size * _WAYS * _BUCKETS


class Attempts:
    """Wrong passwords by user and address. Of very many, the oldest are forgotten."""

    def __init__(self, path: Path) -> None:
        """``path``: the file that is shared; where its folder is missing, nothing is."""
        self._map = _mapped(path)

    def begin(self, user: str, address: str) -> None:
        """A password is about to be looked at: it counts as wrong until :meth:`right` is called. Raises TooManyAttempts."""
        place, now = self._place(user, address), time.monotonic()
        digest, last, count = _SLOT.unpack_from(self._map, place[0])
        if digest != place[1] or not 0 <= now - last < FORGET_SECONDS:
            count = 0
        if count >= FREE:
            left = last + min(MOST_PAUSE, 2.0 ** (count - FREE)) - now
            if left > 0:
                raise TooManyAttempts(
                    "too many wrong passwords for this user from this address",
                    hint="Wait, and send the right one; pycmbs user passwd sets a new one.",
                    retry_after=int(left) + 1,
                )
        _SLOT.pack_into(self._map, place[0], place[1], now, count + 1)

    def right(self, user: str, address: str) -> None:
        """It was right: what was wrong before does not count any more."""
        place = self._place(user, address)
        _SLOT.pack_into(self._map, place[0], place[1], time.monotonic(), 0)

    def _place(self, user: str, address: str) -> tuple[int, bytes]:
        """Where the count is or goes: its own slot of a few that it may have, or that of the oldest."""
        digest = hashlib.blake2b(f"{user}\0{_network(address)}".encode("utf-8", "replace"), digest_size=16).digest()
        first = int.from_bytes(digest[:4], "big") % _BUCKETS * _WAYS * _SLOT.size
        slots = range(first, first + _WAYS * _SLOT.size, _SLOT.size)
        for offset in slots:
            if self._map[offset : offset + 16] == digest:
                return offset, digest
        return min(slots, key=lambda offset: _SLOT.unpack_from(self._map, offset)[1]), digest


def _network(address: str) -> str:
    """What one client can be taken to have: of IPv6 that is a network."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address


def _mapped(path: Path) -> mmap.mmap:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        return mmap.mmap(-1, _SIZE)
    try:
        if os.fstat(descriptor).st_size != _SIZE:
            os.ftruncate(descriptor, _SIZE)
        return mmap.mmap(descriptor, _SIZE)
    finally:
        os.close(descriptor)


class Desk:
    """Where passwords are looked at, a few at a time, and so many in a second. For the green threads of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting = 0
        self._busy = 0
        self._queue: deque[Signal] = deque()
        self._due = 0.0
        """When one would be looked at if they came evenly."""

    def look(self, work: Callable[..., T], *args: object) -> T:
        """Do it, when it is its turn, where it holds up no other request. Raises QueueFull."""
        if self._waiting >= MOST_WAITING:
            raise QueueFull("too many logins wait to be checked", hint="Try again in a second, or use a token.")
        self._waiting += 1
        try:
            now = time.monotonic()
            self._due = max(self._due, now) + 1 / RATE
            if (pause := self._due - now - 1.0) > 0:
                self._runtime.sleep(pause)
            while self._busy >= THREADS:
                signal = self._runtime.signal()
                self._queue.append(signal)
                signal.wait()
            self._busy += 1
        finally:
            self._waiting -= 1
        try:
            return self._runtime.offload(work, *args)
        finally:
            self._busy -= 1
            if self._queue:
                self._queue.popleft().set()
