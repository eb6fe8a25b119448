"""The local socket between the fronts and the engine: frames, the server in the engine, the client in the fronts.

A frame is its length (four bytes, big-endian) and a JSON object. A call is ``{"id", "operation", "parameters"}`` and is
answered by ``{"id", "answer"}`` or ``{"id", "error"}``; a wake-up is ``{"operation": "wake"}`` and is not answered. The
socket lies in the home, which only its owner can enter.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pycmbs import codec
from pycmbs.errors import CmbsError, EngineUnavailable, from_dict
from pycmbs.runtime import Runtime

log = logging.getLogger(__name__)

Operation = Callable[[dict[str, Any]], "dict[str, Any] | Future[dict[str, Any]]"]
"""What the engine does for a call. One that has to wait for something returns a future."""

_MOST_FRAME = 64 * 1024 * 1024
_WORKERS = 8
_ANSWER_SECONDS = 5.0


def encode(document: Mapping[str, Any]) -> bytes:
    """A frame."""
    body = codec.dumps(document)
    return len(body).to_bytes(4, "big") + body


def read(connection: socket.socket) -> dict[str, Any]:
    """The next frame's object. Raises OSError (also ConnectionError at the end), ValueError for what is no frame."""
    size = int.from_bytes(_exactly(connection, 4), "big")
    if size > _MOST_FRAME:
        raise ValueError(f"a frame of {size} bytes")
    document = codec.loads(_exactly(connection, size))
    if not isinstance(document, dict):
        raise ValueError("a frame that is no object")  # noqa: TRY004 - one kind of wrong for the caller
    return document


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the other side closed")
        data += part
    return bytes(data)


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """The path under a name that fits into a socket address, which takes only 107 bytes."""
    if len(os.fsencode(path)) <= 107:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


IMMEDIATE = frozenset({"wait"})
"""Operations that only begin something: they need no thread of their own, which would cost as much as they do."""


class ControlServer:
    """Answers the fronts' calls. One thread a connection, of which every front has a few."""

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
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="control", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        lock = threading.Lock()
        try:
            while True:
                frame = read(connection)
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
                connection.settimeout(_ANSWER_SECONDS)
                connection.sendall(encode(document))
                connection.settimeout(None)
        except OSError as exc:
            log.info("an answer had nobody to go to: %s", exc)


class ControlClient:
    """The engine as a front process sees it: an :class:`~pycmbs.services.link.EngineLink`.

    Calls take a connection each from a small pool, so that green threads wait side by side.
    """

    def __init__(self, path: Path, runtime: Runtime) -> None:
        self._path = path
        self._runtime = runtime
        self._idle: list[socket.socket] = []
        self._waking = False

    def wake(self) -> None:
        """See :class:`~pycmbs.services.link.EngineLink`. Wake-ups of one turn become one."""
        if not self._waking:
            self._waking = True
            self._runtime.spawn(self._send_wake)

    def _send_wake(self) -> None:
        self._waking = False
        try:
            self._exchange({"operation": "wake"}, 1.0, answered=False)
        except (EngineUnavailable, OSError) as exc:
            log.info("the engine misses a wake-up and will poll: %s", exc)

    def call(self, operation: str, parameters: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """See :class:`~pycmbs.services.link.EngineLink`."""
        frame = {"id": 1, "operation": operation, "parameters": parameters}
        try:
            answer = self._exchange(frame, seconds, answered=True)
        except (OSError, ValueError) as exc:
            raise EngineUnavailable(
                f"the engine does not answer: {exc}", hint="It is restarted by itself; try again in a second."
            ) from exc
        if "error" in answer:
            raise from_dict(answer["error"])
        result: dict[str, Any] = answer.get("answer") or {}
        return result

    def _exchange(self, frame: dict[str, Any], seconds: float, *, answered: bool) -> dict[str, Any]:
        """One frame there and, if it is ``answered``, one back. An idle connection may have died with an engine: then
        another is tried, at last a new one. Every operation of the engine may be repeated."""
        while True:
            fresh = not self._idle
            connection = self._connect() if fresh else self._idle.pop()
            try:
                connection.settimeout(seconds)
                connection.sendall(encode(frame))
                answer = read(connection) if answered else {}
            except (ConnectionError, BrokenPipeError):
                connection.close()
                if fresh:
                    raise
            except BaseException:
                connection.close()
                raise
            else:
                self._idle.append(connection)
                return answer

    def _connect(self) -> socket.socket:
        with short_path(self._path) as name:
            return self._runtime.connect_unix(name)
