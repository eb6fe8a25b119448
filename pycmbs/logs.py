"""Logging of every process of the broker: one line per event, to standard error or to one file they all append to."""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import time
from types import TracebackType
from typing import TypeAlias

from pycmbs.config import Settings
from pycmbs.errors import ConfigurationError

_LONGEST = 8000
"""Characters of a message; what is beyond is cut off."""
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""What ends a line, moves the cursor, turns the direction of writing, or cannot be written at all."""
_ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_installed: list[logging.Handler] = []


class OneLine(logging.Formatter):
    """Formats a record as one line, whatever others have put into it; below it the lines of a traceback, each after a ``|``, so
    that none can pose as a record of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """The line, without what cannot be seen."""
        if len(record.message) > _LONGEST:
            record.message = f"{record.message[:_LONGEST]}… ({len(record.message) - _LONGEST} characters more)"
        return escaped(super().formatMessage(record))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - the library's name
        """The lines of a traceback."""
        return _below(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - the library's name
        """The lines of a stack."""
        return _below(super().formatStack(stack_info))


def escaped(text: str) -> str:
    """The text with all that is not to be seen in it written as in a Python literal."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _below(text: str) -> str:
    return "\n".join(f"| {escaped(line)}" for line in text.split("\n"))


def configure(settings: Settings, role: str) -> None:
    """Send log lines of at least ``settings.log_level`` where ``settings.log_file`` says.

    A line reads ``time (UTC) LEVEL role[pid] logger: message``; see :class:`OneLine`. Calling it again replaces
    what it did before and leaves handlers of others alone. Raises ConfigurationError when the file cannot be opened.
    """
    handler = _handler(settings.log_file)
    formatter = OneLine(
        f"%(asctime)s.%(msecs)03dZ %(levelname)s {role}[{os.getpid()}] %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime  # sites in several time zones compare their lines
    handler.setFormatter(formatter)
    root = logging.getLogger()
    while _installed:
        previous = _installed.pop()
        root.removeHandler(previous)
        previous.close()
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    _installed.append(handler)


def _handler(log_file: str) -> logging.Handler:
    if not log_file:
        return logging.StreamHandler()
    try:
        # Watched: logrotate may move the file away, and no process needs to be told.
        return logging.handlers.WatchedFileHandler(log_file, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"log_file {log_file} cannot be opened: {error.strerror}") from None
