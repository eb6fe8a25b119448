"""Keeps a process's threads and thread pools: names, logging of crashes, ordered shutdown.

What was started is stopped in the opposite order.

Only here are threads and pools of threads made; green ones are spawned under the same guard (:mod:`pycmbs.processes.front`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, Protocol, Self, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")


class Keeper:
    """Starts the threads of a process. One that ends by an error is logged; when it is *vital*, :attr:`ending` is called too:
    a process that lacks it is worse than none, which is replaced."""

    def __init__(self) -> None:
        self.ending: Callable[[], None] = lambda: None

    def guarded(self, name: str, work: Callable[[], object], *, vital: bool = False) -> Callable[[], None]:
        """``work`` under the guard of a thread of this name: it raises nothing."""

        def run() -> None:
            try:
                work()
            except (Exception, SystemExit):  # not what ends a green thread that no one needs any more
                log.critical("the thread %s ended by an error", name, exc_info=True)
                if vital:
                    self.ending()

        return run

    def thread(self, name: str, work: Callable[[], object], *, vital: bool = False) -> threading.Thread:
        """A new thread, a daemon, which will do ``work``."""
        return threading.Thread(target=self.guarded(name, work, vital=vital), name=name, daemon=True)

    def later(self, name: str, seconds: float, work: Callable[[], object]) -> None:
        """Do ``work`` after so many seconds, in a thread of its own."""
        timer = threading.Timer(seconds, self.guarded(name, work))
        timer.name, timer.daemon = name, True
        timer.start()


KEEPER = Keeper()
"""Of this process."""
new_thread = KEEPER.thread
guarded = KEEPER.guarded
later = KEEPER.later


def start_thread(name: str, work: Callable[[], object]) -> None:
    """Do ``work`` in a thread of its own. Raises RuntimeError when there are too many."""
    new_thread(name, work).start()


class Pool:
    """A few threads, started when there is something to do. A piece of work that fails takes no thread with it."""

    def __init__(self, name: str, threads: int) -> None:
        """``threads``: pieces of work at a time; the others wait."""
        self._name = name
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._threads.shutdown()

    def submit(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> Future[T]:
        """Do ``work``; the future has its outcome, and an error shows where it was raised. Raises
        RuntimeError when the pool is closed."""
        return self._threads.submit(lambda: self._named(work, *args, **named))

    def map(self, work: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
        """The outcomes of ``work`` for each item, in their order. Raises as it does, and RuntimeError when the pool is
        closed."""
        return self._threads.map(lambda item: self._named(work, item), items)

    def do(self, work: Callable[P, object], *args: P.args, **named: P.kwargs) -> None:
        """Do ``work``, of which no one looks at what comes: an error is logged. Raises RuntimeError when the pool is closed."""
        self._threads.submit(self._logged, work, *args, **named)

    def close(self) -> None:
        """Begin nothing more; wait for nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _named(self, work: Callable[..., T], *args: Any, **named: Any) -> T:
        try:
            return work(*args, **named)
        except BaseException as exc:
            exc.add_note(f"raised in the pool {self._name}")
            raise

    def _logged(self, work: Callable[..., object], *args: Any, **named: Any) -> None:
        try:
            work(*args, **named)
        except (Exception, SystemExit):
            log.critical("unattended work of the pool %s ended by an error", self._name, exc_info=True)


class Part(Protocol):
    """What works from its start until it is closed."""

    def start(self) -> None:
        """Begin to work."""

    def close(self) -> None:
        """Work no more."""


class Started:
    """What was started, and in which order: it is stopped the other way round, since each may need those before it."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, Callable[[], None]]] = []

    @property
    def names(self) -> list[str]:
        """In the order in which they were started."""
        return [name for name, _ in self._parts]

    def start(self, name: str, part: Part) -> None:
        """Start a part, and remember that it is to be closed, also if it fails half-way. Raises as it does."""
        self.add(name, part.close)
        part.start()

    def add(self, name: str, stop: Callable[[], None]) -> None:
        """Something works from now on, until ``stop``."""
        self._parts.append((name, stop))

    def stop(self) -> None:
        """Stop everything, once. What fails in that is logged, and the others are stopped all the same."""
        while self._parts:
            name, stop = self._parts.pop()
            try:
                stop()
            except Exception:
                log.exception("%s could not be stopped in order", name)
