"""The local socket on which the engine answers the fronts (see :mod:`pycmbs.engine.frames`)."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pycmbs.engine.frames import Frames, encode, short_path
from pycmbs.errors import CmbsError, EngineUnavailable

log = logging.getLogger(__name__)

Operation = Callable[[dict[str, Any]], "dict[str, Any] | Future[dict[str, Any]]"]
"""What the engine does for a call. One that has to wait for something returns a future."""

_WORKERS = 8
_ANSWER_SECONDS = 5
"""For a front to take an answer; one that does not has stopped, and is not waited for again."""


IMMEDIATE = frozenset({"wait"})
"""Operations that only begin something: they need no thread of their own, which would cost as much as they do."""


class ControlServer:
    """Answers the fronts' calls. One thread a connection, of which every front has one."""

    def __init__(self, path: Path, operations: Mapping[str, Operation], wake: Callable[[], None]) -> None:
        """``operations``: by name; one in ``IMMEDIATE`` must return at once."""
        self._path = path
        self._operations = operations
        self._wake = wake
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connections: set[socket.socket] = set()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="control")
        self._closed = False

    def start(self) -> None:
        """Begin to answer. Raises OSError."""
        self._path.unlink(missing_ok=True)  # left by an engine that was killed; the home's lock says there is no other
        with short_path(self._path) as name:
            self._listener.bind(name)
        self._listener.listen(128)
        threading.Thread(target=self._accept, name="control-accept", daemon=True).start()

    def close(self) -> None:
        """Answer nothing any more."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError as exc:  # closed; or no descriptor is free just now
                if not self._closed:
                    log.warning("a control connection cannot be accepted: %s", exc)
                    time.sleep(0.1)
                continue
            if not _is_ours(connection):
                connection.close()
                continue
            limit = struct.pack("ll", _ANSWER_SECONDS, 0)
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit
            )  # of one direction: settimeout is of both
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="control", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        lock, frames = threading.Lock(), Frames(connection)
        try:
            while True:
                frame = frames.next()
                if frame.get("operation") == "wake":
                    self._wake()
                elif frame.get("operation") in IMMEDIATE:
                    self._perform(connection, lock, frame)
                else:
                    self._pool.submit(self._perform, connection, lock, frame)
        except (OSError, ValueError, RuntimeError) as exc:  # RuntimeError: the pool is shut down
            if not isinstance(exc, ConnectionError) and not self._closed:
                log.warning("a control connection ends: %s", exc)
        finally:
            self._connections.discard(connection)
            connection.close()

    def _perform(self, connection: socket.socket, lock: threading.Lock, frame: dict[str, Any]) -> None:
        name = str(frame.get("operation"))

        def call() -> Any:
            operation = self._operations.get(name)
            if operation is None:
                raise EngineUnavailable(f"the engine knows no operation {name!r}")
            return operation(frame.get("parameters") or {})

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
            except Exception:
                log.exception("the operation %s failed", name)
                document = {"error": {"code": "error", "message": "the engine failed"}}
            self._answer(connection, lock, {"id": frame.get("id"), **document})

        finish(call)

    def _answer(self, connection: socket.socket, lock: threading.Lock, document: dict[str, Any]) -> None:
        try:
            with lock:
                connection.sendall(encode(document))
        except OSError as exc:
            log.info("an answer had nobody to go to: %s", exc)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # a part of the answer may have gone out


def _is_ours(connection: socket.socket) -> bool:
    """Whether a process of this user, or of root, is at the other end."""
    size = struct.calcsize("3i")
    pid, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if user in (0, os.geteuid()):
        return True
    log.warning("the process %d of another user (%d) wanted to control the engine", pid, user)
    return False
