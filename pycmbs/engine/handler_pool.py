"""A pool of processes that handlers run in: one that hangs is killed, one that crashes affects no other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

from pycmbs import codec, handlers
from pycmbs.engine.handler_output import HandlerOutput, printing_to
from pycmbs.errors import HandlerFailed, Unavailable
from pycmbs.handlers import Call, Handler
from pycmbs.workers import KEEPER, new_thread

if TYPE_CHECKING:
    from pebble import ProcessPool

PROCESSES = 4
"""Handlers at a time."""
_CALLS = 1000
"""Calls after which a process is replaced: what a handler leaks does not add up."""
_LOOK_SECONDS = 0.5
_LONGEST = 500


class HandlerPool:
    """A few processes, started when the first handler is called."""

    def __init__(self, known: Mapping[str, Handler]) -> None:
        self._known = known
        self._lock = threading.Lock()
        self._pool: ProcessPool | None = None
        self._closed = False

    def get(self, name: str) -> Handler | None:
        """The handler of this name, or None."""
        return self._known.get(name)

    def known(self) -> Mapping[str, Handler]:
        """All of them, by name."""
        return self._known

    def call(self, handler: Handler, call: Call) -> Any:
        """What the handler returns, within its deadline. Raises HandlerFailed, and Unavailable once this is closed."""
        from pebble import ProcessExpired  # where nothing is executed it need not be loaded

        with HandlerOutput() as output:
            future = self._started().schedule(_called, args=[handler, call, output.path], timeout=handler.deadline)
            output.follow(future)
            try:
                return codec.loads(future.result())
            except FutureTimeoutError:
                how = f"did not return within {handler.deadline:g} s, and was killed"
            except ProcessExpired as exc:
                how = f"ended its process (exit code {exc.exitcode})"
            except Exception as exc:  # noqa: BLE001 - whatever a handler raises
                how = f"raised {type(exc).__name__}: {str(exc)[:_LONGEST]}"
            raise _failed(handler, how, output.tail)

    def close(self) -> None:
        """Kill what runs."""
        with self._lock:
            self._closed = True
            if self._pool is not None:
                self._pool.stop()  # type: ignore[no-untyped-call]
                self._pool.join(2)

    def _started(self) -> ProcessPool:
        from pebble import ProcessPool

        with self._lock:
            if self._closed:
                raise Unavailable("the engine stops")
            if self._pool is None or not self._pool.active:  # one that broke ends by itself
                self._pool = ProcessPool(
                    max_workers=PROCESSES,
                    max_tasks=_CALLS,
                    initializer=_enter,
                    initargs=[os.getpid()],
                    context=_Context(),
                )
            return self._pool


class _Process(SpawnProcess):
    """A new process that ends without a word when the engine, which is stopping, has withdrawn meanwhile what they share.

    The standard one leaves a traceback in the log then: it fails before anything of ours runs.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (bytes(ForkingPickler.dumps(self.__dict__)),)


def _rebuilt(state: bytes) -> _Process:
    process = _Process.__new__(_Process)
    try:
        process.__dict__ |= ForkingPickler.loads(state)
    except FileNotFoundError:  # semaphores have names, which go with the engine
        os._exit(1)
    return process


class _Context(SpawnContext):
    """How processes are started: spawned, since a fork of a process with threads may never run."""

    Process = _Process


def _failed(handler: Handler, how: str, printed: str) -> HandlerFailed:
    told = {"stderr": printed} if printed else {}
    return HandlerFailed(f"the handler {handler.name} {how}", handler=handler.name, **told)


def _enter(parent: int) -> None:
    """In the new process: be killable, leave Ctrl-C to the broker, and end with it however it ends."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    KEEPER.ending = lambda: os._exit(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    new_thread("parent", watch, vital=True).start()


def _called(handler: Handler, call: Call, output: str) -> bytes:
    """In the new process: call it. ``output``: where what it prints is to go."""
    with printing_to(output):
        return codec.dumps(handlers.find(handler)(call))
