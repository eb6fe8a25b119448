"""The body of a request as it arrives: ``wsgi.input``, unbuffered."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable

_MOST_SIZE_LINE = 1024
"""Bytes of the line that gives a chunk's size, with its extensions."""
_MOST_TRAILERS = 8192
"""Bytes after the last chunk."""
_BODY_SECONDS = 60.0
"""For a whole body, however it is divided, and a second more for every :data:`_PACE` of it."""
_PACE = 65_536
"""Bytes."""
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n")


class Source:
    """The bytes of a connection that are not taken yet."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        """``receive`` waits for more; nothing is the end."""
        self.buffer = b""
        self.deadline = float("inf")
        self._receive = receive

    @property
    def late(self) -> bool:
        """Whether what is still to come should be there by now."""
        return time.monotonic() > self.deadline

    def more(self) -> bool:
        """Wait for more bytes; False at the end. Raises TimeoutError once the deadline has passed."""
        piece = self._receive()
        if self.late:
            raise TimeoutError("it takes too long")
        self.buffer += piece
        return bool(piece)

    def take(self, most: int) -> bytes:
        """At most so many bytes, at least one; nothing at the end."""
        if not self.buffer and not self.more():
            return b""
        taken, self.buffer = self.buffer[:most], self.buffer[most:]
        return taken

    def line(self, most: int) -> bytes:
        """Up to and with the next newline. Raises ValueError when there is none in so many bytes, or ever."""
        while (end := self.buffer.find(b"\n", 0, most) + 1) == 0:
            if len(self.buffer) >= most or not self.more():
                raise ValueError("a chunk's size is missing or too long")
        taken, self.buffer = self.buffer[:end], self.buffer[end:]
        return taken


class Body(io.RawIOBase):
    """A body that comes as it is read."""

    def __init__(self, source: Source, *, length: int | None, go_on: Callable[[], None] | None) -> None:
        """``length``: bytes; None for chunks. ``go_on`` tells a client that waits for it to send the body."""
        super().__init__()
        self._source = source
        self._chunked = length is None
        self._left = length or 0
        self._first = True
        self._go_on = go_on
        self.finished = length == 0
        source.deadline = time.monotonic() + _BODY_SECONDS + self._left / _PACE

    def readable(self) -> bool:
        """It can be read."""
        return True

    @property
    def small(self) -> int | None:
        """How many bytes are left, if that can be known and they are on their way."""
        return None if self._chunked or self._go_on is not None else self._left

    @property
    def late(self) -> bool:
        """Whether it should be there by now."""
        return self._source.late

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # the base class says Buffer
        """The next bytes; none at the end. Raises ValueError for invalid chunks, OSError when they break off,
        TimeoutError when they take too long."""
        if self.finished:
            return 0
        if self._go_on is not None:
            self._go_on()
            self._go_on = None
        if self._chunked and self._left == 0 and not self._next_chunk():
            return 0
        taken = self._source.take(min(len(buffer), self._left))
        buffer[: len(taken)] = taken
        self._left -= len(taken)
        if not taken and self._chunked:
            raise OSError("the connection ended within a chunk")
        if self._chunked:
            self._source.deadline += len(taken) / _PACE
        elif self._left == 0:
            self._finish()
        return len(taken)

    def _finish(self) -> None:
        self.finished = True
        self._source.deadline = float("inf")

    def _next_chunk(self) -> bool:
        if not self._first and self._source.line(2) != b"\r\n":
            raise ValueError("a chunk does not end where its size says")
        self._first = False
        found = _SIZE.fullmatch(self._source.line(_MOST_SIZE_LINE))
        if found is None:
            raise ValueError("a chunk's size is not a hexadecimal number")
        self._left = int(found[1], 16)
        if self._left == 0:
            self._skip_trailers()
            self._finish()
        return not self.finished

    def _skip_trailers(self) -> None:
        left = _MOST_TRAILERS
        while (line := self._source.line(left)) != b"\r\n":
            left -= len(line)
            if _TRAILER.fullmatch(line) is None:
                raise ValueError("what follows the last chunk is not a header")
