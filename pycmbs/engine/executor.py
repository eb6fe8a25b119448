"""Runs received operations on worker threads, so that a slow one holds up only its own queue."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pycmbs.engine.handler_pool import PROCESSES
from pycmbs.errors import Unavailable
from pycmbs.services.execution.service import DONE, Execution, ExecutionService, Lane, execution_from
from pycmbs.workers import Pool, later

log = logging.getLogger(__name__)

Listener = Callable[[dict[str, Any]], None]
"""Gets the outcome of an execution."""

_THREADS = 8
_BOUND = 10_000
"""Executions in memory; beyond, they stay in the store until there is room."""
_LISTENERS = 4
"""Recipients of one outcome; a sender that gets none asks for it."""
_RETRY_SECONDS = 1.0


class Executor:
    """Lanes of executions. In a lane one is executed after the other, in the order in which they came.

    So that it is this order also after a restart, and when there is no room, what is in the store and not in memory comes
    first: while that is so (*behind*), nothing is taken in but from there.
    """

    def __init__(self, execution: ExecutionService) -> None:
        self._execution = execution
        self._operations = Pool("execution", _THREADS)
        # Threads of their own: however many handlers are slow, operations go on.
        self._handlers = Pool("handler", PROCESSES)
        self._lock = threading.Lock()  # never held while something is read or written
        self._lanes: dict[Lane, deque[str]] = {}
        self._known: dict[str, list[Listener]] = {}
        self._behind = True
        self._missed = False
        self._loading = threading.Lock()
        self._closing = threading.Event()

    def start(self) -> None:
        """Take up what an earlier engine did not finish."""
        self._load()

    def close(self) -> None:
        """Begin nothing more. What is not done stays in the store."""
        self._closing.set()
        self._operations.close()
        self._handlers.close()
        self._execution.close()

    def submit(self, receipt: str, execution: Execution, listener: Listener | None = None) -> None:
        """Have an execution done, unless it is at that already; ``listener`` gets its outcome. Blocks for nothing."""
        with self._lock:
            known = self._known.get(receipt)
            if known is not None:
                if listener is not None and len(known) < _LISTENERS:
                    known.append(listener)
            elif self._behind or len(self._known) >= _BOUND:
                self._behind = self._missed = True
            else:
                self._line_up(receipt, execution, listener)

    def _line_up(self, receipt: str, execution: Execution, listener: Listener | None = None) -> None:
        """Put it at the end of its lane. The lock is held."""
        self._known[receipt] = [listener] if listener is not None else []
        lane = self._execution.lane(execution)
        waiting = self._lanes.setdefault(lane, deque())
        waiting.append(receipt)
        if len(waiting) == 1:
            self._next(lane)

    def _load(self) -> None:
        """Take in what stands in the store, as far as there is room."""
        with self._loading:
            after: int | None = 0 if self._behind else None
            try:
                while after is not None:
                    after = self._load_page(after)
            except Unavailable as exc:
                log.warning("what is to be executed cannot be read: %s", exc)
                self._later(self._load)
            except Exception:
                log.exception("what is to be executed cannot be read; it is tried again")
                self._later(self._load)

    def _load_page(self, after: int) -> int | None:
        """The number to go on from; None when nothing is left, or no room."""
        with self._lock:
            self._missed = False
        receipts = self._execution.waiting(after)
        with self._lock:
            for one in receipts:
                execution = execution_from(one)
                if one.id in self._known or execution is None:
                    continue
                if len(self._known) >= _BOUND:
                    return None
                self._line_up(one.id, execution)
            if receipts:
                return receipts[-1].number
            if self._missed:  # something came while it was read, and was too late for that
                return after
            self._behind = False
            return None

    def _next(self, lane: Lane) -> None:
        if not self._closing.is_set():
            with contextlib.suppress(RuntimeError):  # it closes just now
                (self._handlers if lane.handler else self._operations).do(self._run, lane)

    def _later(self, work: Callable[[], None]) -> None:
        if not self._closing.is_set():
            later("execution-again", _RETRY_SECONDS, work)

    def _run(self, lane: Lane) -> None:
        receipt = self._lanes[lane][0]
        try:
            execution = self._execution.run(receipt)
        except Unavailable as exc:
            if not self._closing.is_set():
                log.warning("executing %s is paused: %s", receipt, exc)
            self._later(lambda: self._next(lane))
            return
        except Exception:
            log.exception("executing %s failed", receipt)
            execution = None
        with self._lock:
            listeners = self._known.pop(receipt)
            self._lanes[lane].popleft()
            if self._lanes[lane]:
                self._next(lane)
            else:
                del self._lanes[lane]
            room = self._behind and len(self._known) <= _BOUND // 2
        self._tell(execution, listeners)
        if room:
            self._load()

    def _tell(self, execution: Execution | None, listeners: list[Listener]) -> None:
        if execution is None or execution.state != DONE:
            return
        for listener in listeners:
            try:
                listener(execution.outcome or {})
            except Exception:
                log.exception("an outcome cannot be told")

    def handle(self, path: str) -> Future[dict[str, Any]]:
        """Call the handler that a message of this broker asks for: for a client, not for another member."""
        return self._handlers.submit(lambda: {"result": self._execution.handle(path)})
