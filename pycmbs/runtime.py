"""Waiting and offloading, the same for green and real threads.

Services, stores and clients wait, spawn and offload only through a :class:`Runtime`, so they run unchanged in a front
process (green threads, :class:`pycmbs.processes.front.GreenRuntime`) and in the engine, the command line and the tests
(real threads, :class:`ThreadRuntime`).
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import Token
from typing import Any, Protocol, TypeVar

from pycmbs.scope import Scope, current
from pycmbs.workers import new_thread

T = TypeVar("T")
_thread = threading.local()
_turns = itertools.count()


class Signal(Protocol):
    """A one-shot event: any number wait for it, one sets it."""

    def set(self) -> None:
        """Wake all who wait, now and later. Must be called on the runtime's own thread(s)."""

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until set; False when ``seconds`` passed first."""


class Runtime(Protocol):
    """The verbs of waiting."""

    @property
    def cooperative(self) -> bool:
        """Whether others run only while the caller waits."""

    def sleep(self, seconds: float) -> None:
        """Let others run for at least ``seconds``; 0 only yields."""

    def spawn(self, name: str, work: Callable[[], None], *, vital: bool = False) -> None:
        """Run ``work`` concurrently, after the caller next waits, under the guard of a thread of this name: see
        :class:`~pycmbs.workers.Keeper`. Raises RuntimeError when there are too many."""

    def signal(self) -> Signal:
        """A new, unset signal."""

    def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Run blocking work (a scan, a slow syscall) where it holds up no other thread; returns its result."""

    def turn(self) -> int | None:
        """The number of this turn: whatever runs in it was asked for before it began, so that what is read once in it is new
        enough for all. None where there are no turns."""

    def connect_unix(self, path: str) -> socket.socket:
        """A connected local stream socket whose blocking calls suit this runtime. Raises OSError."""


class ThreadRuntime:
    """A :class:`Runtime` on real threads."""

    cooperative = False

    def sleep(self, seconds: float) -> None:
        """Sleep this thread."""
        time.sleep(seconds)

    def spawn(self, name: str, work: Callable[[], None], *, vital: bool = False) -> None:
        """Run ``work`` in a new daemon thread."""
        new_thread(name, work, vital=vital).start()

    def signal(self) -> Signal:
        """A :class:`threading.Event`."""
        return threading.Event()

    def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Run it here: a real thread holds up no other."""
        return work(*args)

    def turn(self) -> int | None:
        """That of a thread within :func:`in_turn`; others have none."""
        return getattr(_thread, "turn", None)

    def connect_unix(self, path: str) -> socket.socket:
        """A plain blocking socket."""
        return connected(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path)


@contextlib.contextmanager
def in_turn() -> Iterator[None]:
    """Inside this, all that the thread does is one turn (see :meth:`Runtime.turn`), and was asked for when that began."""
    _thread.turn = next(_turns)
    try:
        with asked():
            yield
    finally:
        _thread.turn = None


class asked:  # noqa: N801 - a context, and one of a generator costs three times as much, with every request
    """What this thread, green or real, does meanwhile was asked for now: what was read later, by whomever, is new enough. It is
    a scope of its own, which begins as the outer one is, and what is set in it ends with it."""

    __slots__ = ("_token",)

    def __enter__(self) -> Scope:
        scope, outer = Scope(), current.get()
        scope.asked_at = time.monotonic()
        if outer is not None:
            scope.principals, scope.steps = outer.principals, outer.steps
        self._token: Token[Scope | None] = current.set(scope)
        return scope

    def __exit__(self, *_raised: object) -> None:
        current.reset(self._token)


def asked_at() -> float:
    """When what this thread does was asked for, on the monotonic clock; now, if that was not said."""
    scope = current.get()
    return time.monotonic() if scope is None or scope.asked_at is None else scope.asked_at


def wrote() -> None:
    """This thread has written: what it does from now on must see that."""
    scope = current.get()
    if scope is not None and scope.asked_at is not None:
        scope.asked_at = time.monotonic()


def connected(connection: socket.socket, path: str) -> socket.socket:
    """The socket, connected; closed when that fails. Raises OSError."""
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def drain(source: queue.Queue[T] | queue.SimpleQueue[T], first: T, most: int) -> list[T]:
    """``first`` and what else is in ``source`` right now, at most ``most``: one turn's worth of work."""
    items = [first]
    while len(items) < most:
        try:
            items.append(source.get_nowait())
        except queue.Empty:
            break
    return items
