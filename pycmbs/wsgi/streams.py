"""Server-sent event streams: format, heartbeats, limit on open streams, renewed authorization, shutdown.

Here is what all streams have in common: how an event is written, the heartbeat that reveals when a client has gone, the limit
of their number, the check whether the client may still read (repeated before each event, if a second has passed, since rights
may end before a stream does), and their end when the process stops.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from webob import Response

from pycmbs.errors import CmbsError, QueueFull
from pycmbs.occi.steps import bounded
from pycmbs.services.access.access import asking
from pycmbs.services.access.principal import Principal

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
HEARTBEAT_SECONDS = 15.0
"""Between heartbeats of a stream on which nothing happens."""
ASK_SECONDS = 1.0
"""How long the result of checking a client's rights is reused."""
MOST_STREAMS = 2000
"""Streams of a front, long polls included."""
PIECE = 65_536
"""Bytes of events that are sent together; a larger event is sent by itself."""
_RETRY = 1500
"""The fewest milliseconds until a client connects again; at random up to twice as long, so that not all come at once."""
_SOON = 500
"""The same when the process ends: another front is already there."""


class Source(Protocol):
    """Where a stream's events come from."""

    @property
    def position(self) -> str:
        """The id from which a client that has seen everything so far can resume."""

    def begin(self) -> bytes:
        """Events that come first, if any."""

    def more(self, seconds: float) -> list[bytes]:
        """The next events, in pieces as :func:`pieces` makes them. Waits at most the given seconds; none after that, or when
        the process ends."""

    def close(self) -> None:
        """The stream has ended: nobody listens any more."""


def event(data: bytes, *, name: str = "", id: str = "") -> bytes:
    """One event. ``data`` has no line breaks."""
    lines = [f"event: {name}\n".encode() if name else b"", f"id: {id}\n".encode() if id else b"", b"data: ", data]
    return b"".join([*lines, b"\n\n"])


def pieces(events: Sequence[bytes]) -> list[bytes]:
    """The events joined into pieces that are sent at once."""
    found: list[bytes] = []
    some: list[bytes] = []
    size = 0
    for one in events:
        if some and size + len(one) > PIECE:
            found.append(b"".join(some))
            some, size = [], 0
        some.append(one)
        size += len(one)
    return [*found, b"".join(some)] if some else found


def without_events(accept: str) -> str:
    """An Accept header without events: how an error is told to a client that asked for them."""
    return ",".join(one.strip() for one in accept.split(",") if EVENT_STREAM not in one)


class Streams:
    """The streams of a front."""

    def __init__(self, admit: Callable[[dict[str, Any]], Principal], over: Callable[[], bool]) -> None:
        """``admit`` returns who the client is, or raises; ``over``: whether the process ends."""
        self._admit = admit
        self._over = over
        self.open = 0
        """How many there are."""

    def enter(self) -> None:
        """One more. Raises QueueFull."""
        if self.open >= MOST_STREAMS:
            raise QueueFull(f"{self.open} streams are open here", hint="Try again, or ask without ?watch.")
        self.open += 1

    def leave(self) -> None:
        """One less."""
        self.open -= 1

    def answer(self, environ: dict[str, Any], source: Source, headers: list[tuple[str, str]]) -> Response:
        """The answer that is the stream; it closes the source."""
        if environ["REQUEST_METHOD"] == "HEAD":
            source.close()
            stream: Any = [b""]
        else:
            self.enter()
            stream = _Stream(self, environ, source)
        fields = [
            ("Content-Type", EVENT_STREAM),
            ("Cache-Control", "no-store"),
            ("X-Accel-Buffering", "no"),
            *headers,
        ]
        return Response(app_iter=stream, status=200, headerlist=fields)

    def permitted(self, environ: dict[str, Any]) -> Principal | None:
        """Who the client is now; None once it may no longer read."""
        try:
            return self._admit(environ)
        except CmbsError:
            return None

    @property
    def over(self) -> bool:
        """Whether the process ends."""
        return self._over()


class _Stream:
    """The body of an answer."""

    def __init__(self, streams: Streams, environ: dict[str, Any], source: Source) -> None:
        self._streams = streams
        self._environ = environ
        self._source = source
        self._events = self._run()
        self._left = False

    def __iter__(self) -> Iterator[bytes]:
        return self._events

    def close(self) -> None:
        """Called at the end, whichever side ended it (PEP 3333)."""
        if not self._left:
            self._left = True
            self._streams.leave()
            self._source.close()

    def _run(self) -> Iterator[bytes]:
        source, said = self._source, self._source.position
        wait = _RETRY + secrets.randbelow(_RETRY)
        yield f"retry: {wait}\n".encode() + (f"id: {said}\n".encode() if said else b"") + b"\n" + source.begin()
        principal, asked = None, float("-inf")
        while not self._streams.over:
            if time.monotonic() - asked > ASK_SECONDS:  # the client may have lost its rights, or be gone
                principal, asked = self._streams.permitted(self._environ), time.monotonic()
            if principal is None:
                return
            try:
                with asking(principal), bounded():
                    events = source.more(HEARTBEAT_SECONDS)
            except CmbsError as exc:
                log.info("a stream ends: %s", exc.message)
                return
            if events:
                yield from events
                said = source.position
            elif not self._streams.over:
                moved, said = source.position != said, source.position
                yield b": ping\n" + (f"id: {said}\n".encode() if moved else b"") + b"\n"
        yield f"retry: {_SOON}\n\n".encode()
