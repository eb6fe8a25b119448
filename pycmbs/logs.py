"""Logging of every process of the broker: one line per event, to standard error or to one file they all append to."""

from __future__ import annotations

import logging
import logging.handlers
import os
import time

from pycmbs.config import Settings
from pycmbs.errors import ConfigurationError

_installed: list[logging.Handler] = []


def configure(settings: Settings, role: str) -> None:
    """Send log lines of at least ``settings.log_level`` where ``settings.log_file`` says.

    A line reads ``time (UTC) LEVEL role[pid] logger: message``. Calling it again replaces what it did before and
    leaves handlers of others alone. Raises ConfigurationError when the file cannot be opened.
    """
    handler = _handler(settings.log_file)
    formatter = logging.Formatter(
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
