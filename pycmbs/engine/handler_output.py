"""Captures what handlers and the programs they run print, for the log and for reports of failures.

A named pipe that the process of the handler opens in the place of its standard output and error: what was written is there
also when that process was killed or crashed.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LONGEST_TAIL = 2000
"""Bytes of the end of what it printed, which are told."""
_PIECE = 65_536
_PIPE = "output"


class HandlerOutput:
    """What one call prints, while it goes on."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pycmbs-handler-")
        self.path = str(Path(self._folder.name) / _PIPE)
        self._tail = b""
        os.mkfifo(self.path, 0o600)
        self._reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self._woken, self._waker = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._reader, self._woken, self._waker):
            os.close(one)
        self._folder.cleanup()

    @property
    def tail(self) -> str:
        """The end of it, in whole lines if it has any."""
        text = self._tail.decode("utf-8", "replace").strip()
        whole = text.partition("\n")[2] if len(self._tail) == LONGEST_TAIL else ""
        return whole or text

    def follow(self, call: Future[Any]) -> None:
        """Pass on what is printed until the call is over."""
        call.add_done_callback(lambda _call: os.write(self._waker, b"\0"))
        watched = {self._reader, self._woken}
        while self._woken in watched:
            ready, _, _ = select.select(watched, (), ())
            if self._reader in ready and not self._take():
                watched.discard(self._reader)  # no process has it open any more
            if self._woken in ready:
                watched.discard(self._woken)
        while self._take():
            pass

    def _take(self) -> bool:
        """Take what is there; whether there may be more."""
        try:
            piece = os.read(self._reader, _PIECE)
        except BlockingIOError:
            return False
        self._tail = (self._tail + piece)[-LONGEST_TAIL:]
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(piece.decode("utf-8", "replace"))
            sys.stderr.flush()
        return bool(piece)


@contextlib.contextmanager
def printing_to(path: str) -> Iterator[None]:
    """In the handler's process: inside this, standard output and error go there, also those of programs that it runs."""
    pipe = os.open(path, os.O_WRONLY)
    kept = [os.dup(number) for number in (1, 2)]
    try:
        for number in (1, 2):
            os.dup2(pipe, number)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        for number, one in zip((1, 2), kept, strict=True):
            os.dup2(one, number)
            os.close(one)
        os.close(pipe)
