"""Executes what came from other members, beside the engine's loops: a slow one holds up nobody but its own lane."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pycmbs.errors import Unavailable
from pycmbs.services.execution import DONE, Execution, ExecutionService

log = logging.getLogger(__name__)

Listener = Callable[[dict[str, Any]], None]
"""Gets the outcome of an execution."""

_THREADS = 8
_BOUND = 10_000
"""Executions in memory; beyond, they stay in the store until there is room."""
_LISTENERS = 4
"""Who is told one outcome; who is not asks for it."""
_RETRY_SECONDS = 1.0


class Executor:
    """Lanes of executions. In a lane one is executed after the other, in the order in which they came."""

    def __init__(self, execution: ExecutionService) -> None:
        self._execution = execution
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="execution")
        self._lock = threading.Lock()
        self._lanes: dict[str, deque[str]] = {}
        self._known: dict[str, list[Listener]] = {}
        self._overflow = False
        self._closing = False

    def start(self) -> None:
        """Take up what an earlier engine did not finish."""
        self._load()

    def close(self) -> None:
        """Begin nothing more. What is not done stays in the store."""
        self._closing = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._execution.close()

    def submit(self, receipt: str, listener: Listener | None = None) -> None:
        """Have an execution done, unless it is at that already; ``listener`` is told its outcome. Never blocks for long."""
        with self._lock:
            known = self._known.get(receipt)
            if known is not None:
                if listener is not None and len(known) < _LISTENERS:
                    known.append(listener)
                return
            if len(self._known) >= _BOUND:
                self._overflow = True
                return
            self._known[receipt] = [listener] if listener is not None else []
        found = self._execution.lane_of(receipt)
        with self._lock:
            lane = self._lanes.setdefault(found, deque())
            lane.append(receipt)
            first = len(lane) == 1
        if first:
            self._next(found)

    def _load(self) -> None:
        self._overflow, after = False, 0
        while receipts := self._execution.waiting(after):
            for one in receipts:
                self.submit(one.id)
            after = receipts[-1].number

    def _next(self, lane: str) -> None:
        if not self._closing:
            self._pool.submit(self._run, lane)

    def _run(self, lane: str) -> None:
        receipt = self._lanes[lane][0]
        try:
            execution = self._execution.run(receipt)
        except Unavailable as exc:
            log.warning("executing %s waits: %s", receipt, exc)
            threading.Timer(_RETRY_SECONDS, self._next, [lane]).start()
            return
        except Exception:
            log.exception("executing %s failed", receipt)
            execution = None
        with self._lock:
            listeners = self._known.pop(receipt, [])
            self._lanes[lane].popleft()
            more = bool(self._lanes[lane])
            if not more:
                del self._lanes[lane]
            overflow = self._overflow and not self._known
        self._tell(execution, listeners)
        if more:
            self._next(lane)
        if overflow:
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
        return self._pool.submit(lambda: {"result": self._execution.handle(path)})
