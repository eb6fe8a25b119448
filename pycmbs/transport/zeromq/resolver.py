"""Resolves host names without holding up the caller.

libzmq asks on its own I/O thread, where one dead name server holds up the traffic with *everybody*. So nothing but IP
addresses is given to libzmq: :func:`resolve` for callers that can wait, :class:`Resolver` for those that cannot.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections.abc import Callable, Sequence

from pycmbs.workers import new_thread

log = logging.getLogger(__name__)

_MOST = 10_000
"""Names that may wait to be asked for; of one more there are no addresses just now."""

Answer = Callable[[Sequence[str]], None]
"""Gets the IP addresses, the one to use first; none when there is none. Called on a resolver's thread."""


def resolve(host: str) -> list[str]:
    """The IP addresses of ``host``, the one to use first. Blocks as long as the system's resolver does.

    IPv4 goes first whatever the system prefers, so that who binds a name and who connects to it mean the same address.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """A few daemon threads that ask. ``threads`` is how many slow names may be waited for at once.

    Daemon, because the system's resolver cannot be interrupted, and no close may wait for it.
    """

    def __init__(self, threads: int = 4) -> None:
        self._questions: queue.SimpleQueue[tuple[str, Answer] | None] = queue.SimpleQueue()
        self._most = threads
        self._threads: list[threading.Thread] = []

    def ask(self, host: str, answer: Answer) -> None:
        """Have ``answer`` called with the addresses of ``host``, later. Call from one thread only."""
        if self._questions.qsize() >= _MOST:
            answer([])
            return
        self._questions.put((host, answer))
        if len(self._threads) < self._most:
            thread = new_thread("resolver", self._work)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """End the threads, each after the question it is at. Doesn't wait."""
        for _ in self._threads:
            self._questions.put(None)

    def _work(self) -> None:
        while (question := self._questions.get()) is not None:
            host, answer = question
            try:
                answer(resolve(host))
            except Exception:
                log.exception("could not deal with the addresses of %s", host)
