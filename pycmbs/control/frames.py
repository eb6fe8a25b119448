"""Wire format of the control socket.

A frame is its length (four bytes, big-endian) and a JSON object. A call is ``{"id", "operation", "parameters"}`` and is
answered by ``{"id", "answer"}`` or ``{"id", "error"}``, in any order. A call of an operation in :data:`ONCE` has a ``key``, and
``again`` when it is made a second time, since its connection broke: then what came of the first is the answer. A wake-up is
``{"operation": "wake"}`` and is not answered; ``{"operation": "beat"}`` is answered at once by ``{}``. The socket lies in the
home, which only its owner can enter.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pycmbs import codec

WAKE = "wake"
BEAT = "beat"
ONCE = frozenset({"handle"})
"""Operations that must not be done twice for one call."""
_MOST_FRAME = 64 * 1024 * 1024
_LENGTH = 4
_PIECE = 65_536


def encode(document: Mapping[str, Any]) -> bytes:
    """A frame."""
    body = codec.dumps(document)
    return len(body).to_bytes(_LENGTH, "big") + body


class Frames:
    """What comes in on a connection. Frames that were sent together are read together."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()

    def next(self) -> dict[str, Any]:
        """The next frame's object. Raises OSError (also ConnectionError at the end), ValueError for what is not a frame."""
        size = int.from_bytes(self._take(_LENGTH), "big")
        if size > _MOST_FRAME:
            raise ValueError(f"a frame of {size} bytes")
        document = codec.loads(self._take(size))
        if not isinstance(document, dict):
            raise ValueError("a frame that is not an object")  # noqa: TRY004 - one kind of wrong for the caller
        return document

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            piece = self._connection.recv(max(_PIECE, size - len(self._buffer)))
            if not piece:
                raise ConnectionError("the other side closed")
            self._buffer += piece
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


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
