"""The local socket on which the engine answers the fronts (see :mod:`pycmbs.control.frames`)."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pycmbs.control.frames import BEAT, ONCE, WAKE, Frames, short_path
from pycmbs.control.fronts import Front
from pycmbs.control.once import Once
from pycmbs.errors import CmbsError, EngineUnavailable
from pycmbs.seldom import Seldom
from pycmbs.workers import Pool, new_thread, start_thread

log = logging.getLogger(__name__)

Operation = Callable[[dict[str, Any]], "dict[str, Any] | Future[dict[str, Any]]"]
"""What the engine does for a call. One that has to wait for something returns a future."""

_WORKERS = 8
_MOST_CALLS = 1000
"""Calls that are performed, or wait for that; one more is refused."""

IMMEDIATE = frozenset({"wait", "report"})
"""Operations that only begin or note something: they need no thread of their own, which would cost as much as they do."""


class ControlServer:
    """Answers the fronts' calls. One thread a connection, of which every front has one."""

    def __init__(self, path: Path, operations: Mapping[str, Operation], wake: Callable[[], None]) -> None:
        """``operations``: by name; one in ``IMMEDIATE`` must return at once."""
        self._path = path
        self._operations = operations
        self._wake = wake
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connections: set[Front] = set()
        self._pool = Pool("control", _WORKERS)
        self._room = threading.Semaphore(_MOST_CALLS)
        self._once = Once()
        self._refused = Seldom(log)
        self._closed = False

    def start(self) -> None:
        """Begin to answer. Raises OSError."""
        self._path.unlink(missing_ok=True)  # left by an engine that was killed; the home's lock says there is no other
        with short_path(self._path) as name:
            self._listener.bind(name)
        self._listener.listen(128)
        new_thread("control-accept", self._accept, vital=True).start()

    def close(self) -> None:
        """Answer nothing any more."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for front in list(self._connections):
            front.close()
        self._pool.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError as exc:  # closed; or no descriptor is free just now
                if not self._closed:
                    self._refused("a control connection cannot be accepted: %s", exc)
                    time.sleep(0.1)
                continue
            if not _is_ours(connection):
                connection.close()
                continue
            front = Front(connection)
            self._connections.add(front)
            start_thread("control", lambda front=front: self._serve(front))  # type: ignore[misc]

    def _serve(self, front: Front) -> None:
        frames = Frames(front.connection)
        try:
            while True:
                frame = frames.next()
                operation = frame.get("operation")
                if operation == WAKE:
                    self._wake()
                elif operation == BEAT:
                    front.answer({})
                elif operation in IMMEDIATE:
                    self._perform(front, frame)
                else:
                    self._begin(front, frame)
        except (OSError, ValueError, RuntimeError) as exc:  # RuntimeError: the pool is shut down
            if not isinstance(exc, ConnectionError) and not self._closed:
                log.warning("a control connection ends: %s", exc)
        finally:
            self._connections.discard(front)
            front.connection.close()

    def _begin(self, front: Front, frame: dict[str, Any]) -> None:
        """Perform it on a thread of the pool, if not too many wait for that."""
        if not self._room.acquire(blocking=False):
            error = EngineUnavailable(
                f"the engine has {_MOST_CALLS} calls to answer already", hint="Try again in a second."
            )
            front.answer({"id": frame.get("id"), "error": error.to_dict()})
            return
        self._pool.do(self._perform, front, frame, self._room.release)

    def _perform(self, front: Front, frame: dict[str, Any], over: Callable[[], None] = lambda: None) -> None:
        """Answer a call; ``over`` is called once that is done."""
        name = str(frame.get("operation"))

        def finish(outcome: Callable[[], Any]) -> None:
            try:
                answer = outcome()
                if isinstance(answer, Future):
                    # Come back when it is done: a thread of the pool is too good for waiting.
                    answer.add_done_callback(lambda done: finish(done.result))
                    return
                document = {"answer": answer}
            except CmbsError as exc:
                document = {"error": exc.to_dict()}
            except BaseException:  # whatever it is, the front waits for an answer
                log.exception("the operation %s failed", name)
                document = {"error": {"code": "error", "message": "the engine failed"}}
            over()
            front.answer({"id": frame.get("id"), **document})

        finish(lambda: self._operate(name, frame))

    def _operate(self, name: str, frame: dict[str, Any]) -> dict[str, Any] | Future[dict[str, Any]]:
        operation = self._operations.get(name)
        if operation is None:
            raise EngineUnavailable(f"the engine knows no operation {name!r}")
        parameters = frame.get("parameters") or {}
        if name not in ONCE:
            return operation(parameters)

        def begin() -> Future[dict[str, Any]]:
            begun = operation(parameters)
            assert isinstance(begun, Future)  # one that takes its time: what is done at once need not be remembered
            return begun

        return self._once.perform(str(frame.get("key")), begin, again=bool(frame.get("again")))


def _is_ours(connection: socket.socket) -> bool:
    """Whether a process of this user, or of root, is at the other end."""
    size = struct.calcsize("3i")
    pid, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if user in (0, os.geteuid()):
        return True
    log.warning("refused process %d of another user (%d) on the control socket", pid, user)
    return False
