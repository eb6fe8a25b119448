"""One front's connection to the engine. Answers go out in order, and sending one never blocks."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Mapping
from typing import Any

from pycmbs.control.frames import encode
from pycmbs.workers import start_thread

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 5
"""For a front to take some of what waits; one that does not has stopped, and is not waited for again."""
_BOUND_BYTES = 16 * 1024 * 1024
"""Bytes of answers that may wait for a front to take them."""
_PIECE = 262_144


class Front:
    """The connection of one front. :meth:`answer` may be called from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        # Of one direction: settimeout is of both.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _ANSWER_SECONDS, 0))
        self.connection = connection
        self._lock = threading.Lock()  # never held across a wait
        self._waiting = bytearray()
        self._writing = False

    def answer(self, document: Mapping[str, Any]) -> None:
        """Send an answer: at once as far as the front takes it, and the rest by a thread of its own. Never waits."""
        frame = memoryview(_encoded(document))
        with self._lock:
            if not self._writing:
                frame = frame[self._send(frame, socket.MSG_DONTWAIT) :]
            if not frame:
                return
            if len(self._waiting) + len(frame) > _BOUND_BYTES:
                self._hang_up("it takes none")
                return
            self._waiting += frame
            write, self._writing = not self._writing, True
        if write:
            start_thread("control-answers", self._write)

    def close(self) -> None:
        """End the connection, and the waiting of threads that send on it."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _write(self) -> None:
        """Send what waits, as the front takes it. When that fails the front has to reconnect."""
        try:
            while piece := self._next_piece():
                sent = self._send(memoryview(piece), 0)
                with self._lock:
                    del self._waiting[: sent or len(self._waiting)]
        except BaseException:
            self.close()
            raise

    def _next_piece(self) -> bytes:
        """What is to be sent next; nothing when this thread is done."""
        with self._lock:
            piece = bytes(self._waiting[:_PIECE])
            self._writing = bool(piece)
        return piece

    def _send(self, data: memoryview, flags: int) -> int:
        """How much of it went out; all of it when the front is gone."""
        try:
            return self.connection.send(data, flags)
        except BlockingIOError:
            if flags:
                return 0
            self._hang_up(f"it took none for {_ANSWER_SECONDS} s")
        except OSError as exc:
            self._hang_up(str(exc))
        return 0 if not flags else len(data)

    def _hang_up(self, why: str) -> None:
        log.info("a front left before its answers could be sent: %s", why)
        self.close()  # a part of the answer may have gone out


def _encoded(document: Mapping[str, Any]) -> bytes:
    """The frame of an answer; where it cannot be encoded, of the error that says so: the front waits for one."""
    try:
        return encode(document)
    except (TypeError, ValueError):
        log.exception("an answer to a front is not JSON")
        return encode({"id": document.get("id"), "error": {"code": "error", "message": "the engine failed"}})
