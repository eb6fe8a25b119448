"""Client of the engine's control socket, for the other processes of its broker."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from pycmbs.control.frames import BEAT, ONCE, WAKE, Frames, encode, short_path
from pycmbs.errors import EngineUnavailable, from_dict
from pycmbs.runtime import Runtime, Signal

log = logging.getLogger(__name__)

_BOUND = 10_000
"""Frames that may wait to be sent."""
_BOUND_BYTES = 16 * 1024 * 1024
"""Bytes of these."""
_TRIES = 2
"""A connection may have died with an engine, which is noticed by the next call."""
_LOOK_SECONDS = 0.2
"""Between two looks whether the engine answers heartbeats, while there are calls under way."""
_MOST_MISSED = 4
"""Looks without an answer, the one at which it was asked included, after which the engine counts as frozen: within a second of
any call."""
_HINT = "It is restarted by itself; try again in a second."
_WAKE = encode({"operation": WAKE})
_BEAT = encode({"operation": BEAT})


class _Call:
    """One call under way. Without an answer when it is ``done``, it was lost."""

    __slots__ = ("answer", "done", "id")

    def __init__(self, id: int, done: Signal) -> None:
        self.id = id
        self.done = done
        self.answer: dict[str, Any] | None = None


class _Line:
    """A connection that all callers share: answers are matched to calls by id.

    No caller waits for the engine to take a call: what is sent goes out by itself. While there are calls under way the
    engine is asked for heartbeats; when it gives none it is ``frozen``, and so are the calls, until it is heard again.
    """

    def __init__(self, connection: socket.socket, runtime: Runtime) -> None:
        self._connection = connection
        self._runtime = runtime
        self._lock = threading.Lock()  # held for a few instructions, never across a wait
        self._ids = itertools.count(1)
        self._calls: dict[int, _Call] = {}
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._sending = False
        self._watching = False
        self._missed = 0
        self.ended = False
        runtime.spawn("engine-answers", self._receive)

    @property
    def frozen(self) -> bool:
        """Whether the engine is connected and gives no sign of life."""
        return self._missed >= _MOST_MISSED

    def ask(self, document: dict[str, Any]) -> _Call:
        """Send a call. Raises EngineUnavailable when too many wait."""
        call = _Call(next(self._ids), self._runtime.signal())
        frame = encode({"id": call.id, **document})
        with self._lock:
            if self.ended or self.frozen:
                call.done.set()
                return call
            self._calls[call.id] = call
            watch, self._watching = not self._watching, True
        try:
            self.send(frame)
        except BaseException:
            self.forget(call)
            raise
        finally:
            if watch:
                self._runtime.spawn("engine-watch", self._watch)
        return call

    def forget(self, call: _Call) -> None:
        """Its caller has given up."""
        with self._lock:
            self._calls.pop(call.id, None)

    def send(self, frame: bytes) -> None:
        """Have a frame sent. Raises EngineUnavailable when too many wait."""
        with self._lock:
            if len(self._out) >= _BOUND or self._out_bytes + len(frame) > _BOUND_BYTES:
                raise EngineUnavailable("the engine does not take any more calls", hint=_HINT)
            self._out.append(frame)
            self._out_bytes += len(frame)
            lead, self._sending = not self._sending, True
        if lead:
            self._runtime.spawn("engine-calls", self._flush)

    def _flush(self) -> None:
        while True:
            with self._lock:
                data, self._out, self._out_bytes = b"".join(self._out), [], 0
                self._sending = bool(data)
                if not data:
                    return
            try:
                self._connection.sendall(data)
            except BaseException as exc:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)  # who receives notices, and ends it
                if not isinstance(exc, OSError):
                    raise

    def _watch(self) -> None:
        """While calls are under way, or the engine is frozen: see whether it lives. What counts is how often it was looked, so
        that a front which had no time itself does not take the engine for frozen."""
        while True:
            with self._lock:
                if self.ended or not (self._calls or self.frozen):
                    self._watching, self._missed = False, 0
                    return
                beat = not self._missed  # the last one was answered
                self._missed += 1
                lost, self._calls = (self._calls, {}) if self.frozen else ({}, self._calls)
            if lost:
                log.warning("the engine gives no sign of life: %d calls are lost", len(lost))
            for call in lost.values():
                call.done.set()
            if beat:
                with contextlib.suppress(EngineUnavailable):  # then there is enough to answer
                    self.send(_BEAT)
            self._runtime.sleep(_LOOK_SECONDS)

    def _receive(self) -> None:
        frames = Frames(self._connection)
        try:
            while True:
                answer = frames.next()
                with self._lock:
                    self._missed = 0
                    call = self._calls.pop(answer.get("id", 0), None)
                if call is not None:
                    call.answer = answer
                    call.done.set()
        except (OSError, ValueError) as exc:
            log.info("the connection to the engine ends: %s", exc)
        finally:
            self._connection.close()
            with self._lock:
                self.ended = True
                lost, self._calls = self._calls, {}
            for call in lost.values():
                call.done.set()


class ControlClient:
    """An :class:`~pycmbs.services.engine_link.EngineLink`."""

    def __init__(self, path: Path, runtime: Runtime) -> None:
        self._path = path
        self._runtime = runtime
        self._lock = threading.Lock()
        self._line: _Line | None = None
        self._waking = False

    def wake(self) -> None:
        """See :class:`~pycmbs.services.engine_link.EngineLink`. Wake-ups of one turn become one."""
        if not self._waking:
            self._waking = True
            self._runtime.spawn("engine-wake", self._send_wake)

    def _send_wake(self) -> None:
        self._waking = False
        try:
            self._connected().send(_WAKE)
        except (EngineUnavailable, OSError) as exc:
            log.info("the engine misses a wake-up and will poll: %s", exc)

    def call(self, operation: str, parameters: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """See :class:`~pycmbs.services.engine_link.EngineLink`. A call whose connection breaks is made
        again, or, of an operation that must not be done twice, asked after."""
        end = time.monotonic() + seconds
        document: dict[str, Any] = {"operation": operation, "parameters": parameters}
        if operation in ONCE:
            document["key"] = uuid.uuid4().hex
        for _ in range(_TRIES):
            answer = self._answer(document, end)
            if answer is not None:
                break
            document["again"] = True
        else:
            raise EngineUnavailable("the engine ended while it was asked", hint=_HINT)
        if "error" in answer:
            raise from_dict(answer["error"])
        result: dict[str, Any] = answer.get("answer") or {}
        return result

    def _answer(self, document: dict[str, Any], end: float) -> dict[str, Any] | None:
        """None when the call was lost."""
        try:
            line = self._connected()
        except OSError as exc:
            raise EngineUnavailable(f"the engine does not answer: {exc}", hint=_HINT) from exc
        call = line.ask(document)
        try:
            answered = call.done.wait(max(0.0, end - time.monotonic()))
        finally:
            line.forget(call)
        if not answered:
            raise EngineUnavailable("the engine does not answer in time", hint=_HINT)
        if call.answer is None and line.frozen:
            raise EngineUnavailable("the engine gives no sign of life", hint=_HINT)
        return call.answer

    def _connected(self) -> _Line:
        """The line that is in use, or a new one. Raises OSError."""
        line = self._line
        if line is not None and not line.ended:
            return line
        with short_path(self._path) as name:
            connection = self._runtime.connect_unix(name)
        with self._lock:
            if self._line is None or self._line.ended:
                self._line = _Line(connection, self._runtime)
                return self._line
        connection.close()  # another thread was faster
        return self._line
