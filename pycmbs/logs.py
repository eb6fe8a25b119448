"""Logging of every process of the broker: one line per event, to standard error or to one file they all append to."""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import time
from types import TracebackType
from typing import Any, TypeAlias

from pycmbs.config import Settings
from pycmbs.errors import ConfigurationError
from pycmbs.tracing import log_fields, tracing

_LONGEST = 8000
"""Characters of a message; what is beyond is cut off."""
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""What ends a line, moves the cursor, turns the direction of writing, or cannot be written at all."""
_SECOND = "%Y-%m-%dT%H:%M:%S"
_RENAMED = {"asctime": "time", "levelname": "level", "name": "logger", "message": "msg", "message_id": "message"}
"""How members of a JSON line are called: a record cannot have a ``message`` besides its text."""
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

    A line reads ``time (UTC) LEVEL role[pid] logger: message``, see :class:`OneLine`, or is a JSON object. Calling it again
    replaces what it did before and leaves handlers of others alone. Raises ConfigurationError when the file cannot be opened.
    """
    handler = _handler(settings.log_file)
    handler.setFormatter(_as_json(role) if settings.log_format == "json" else _as_text(role))
    root = logging.getLogger()
    while _installed:
        previous = _installed.pop()
        root.removeHandler(previous)
        previous.close()
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    _installed.append(handler)


def _as_text(role: str) -> logging.Formatter:
    formatter = OneLine(f"%(asctime)s.%(msecs)03dZ %(levelname)s {role}[{os.getpid()}] %(name)s: %(message)s", _SECOND)
    formatter.converter = time.gmtime  # sites in several time zones compare their lines
    return formatter


def _as_json(role: str) -> logging.Formatter:
    """One object a line, with what a record has besides (``extra``). The library is imported where it is asked for."""
    from pythonjsonlogger.orjson import OrjsonFormatter

    class OneObject(OrjsonFormatter):
        """Adds what the request says that is worked for; leaves out what cannot be written."""

        def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the library's name
            """With milliseconds, in UTC."""
            return f"{time.strftime(datefmt or _SECOND, time.gmtime(record.created))}.{int(record.msecs):03d}Z"

        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            """The members of the object."""
            fields = {**log_fields(tracing.get()), **log_data}
            return {name: _storable(one) if isinstance(one, str) else one for name, one in fields.items()}

    return OneObject(
        ["asctime", "levelname", "name", "message"],
        rename_fields=_RENAMED,
        static_fields={"process": role, "pid": os.getpid()},
    )


def _storable(text: str) -> str:
    """Without halves of characters, and not too long."""
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text) - _LONGEST} characters more)"
    return text.encode("utf-8", "backslashreplace").decode()


def _handler(log_file: str) -> logging.Handler:
    if not log_file:
        return logging.StreamHandler()
    try:
        # Watched: logrotate may move the file away, and no process needs to be told.
        return logging.handlers.WatchedFileHandler(log_file, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"log_file {log_file} cannot be opened: {error.strerror}") from None
