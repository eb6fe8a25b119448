"""Metrics and audit lines of executions.

A line is written before the sender is told, so that a kill loses none whose outcome is known elsewhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycmbs.metrics.table import EXECUTION_SECONDS, EXECUTIONS
from pycmbs.seldom import Seldom
from pycmbs.services.access.audit import AUDIT, Line, append, lines, stamp
from pycmbs.services.access.principal import MESSAGE
from pycmbs.services.access.rules import LISTING

if TYPE_CHECKING:
    from pycmbs.services.execution.service import Execution

log = logging.getLogger(__name__)

_READING = ("list", "read", LISTING)
_LONGEST = 1000
"""Characters of a target, and a tenth of them of an operation: members choose both."""
_SAY_SECONDS = 60.0
_unwritten = Seldom(log, logging.ERROR, seconds=_SAY_SECONDS)


class Noted:
    """Told of each execution once: when it is refused, or when it is done."""

    def __init__(self, home: Path, which: str) -> None:
        """``home``: where the audit log is; ``which``: the setting ``audit``."""
        self._path = home / AUDIT
        self._which = which

    def refused(self, execution: Execution, what: str, outcome: Mapping[str, Any]) -> None:
        """No rule allows it. ``what``: ``handler`` or ``operation``."""
        EXECUTIONS.count(what, "refused")
        self._note(execution, outcome)

    def done(self, execution: Execution, what: str, outcome: Mapping[str, Any], seconds: float) -> None:
        """It is over, and this is what came of it."""
        EXECUTIONS.count(what, "failed" if "error" in outcome else "executed")
        EXECUTION_SECONDS.observe(seconds, what)
        self._note(execution, outcome)

    def _note(self, execution: Execution, outcome: Mapping[str, Any]) -> None:
        call, error = execution.call(), outcome.get("error")
        if self._which == "off" or (self._which != "all" and call.operation in _READING and error is None):
            return
        line = Line(
            stamp(time.time()),
            execution.sender,
            MESSAGE,
            (f"act:{call.action}" if call.operation == "act" else call.operation)[: _LONGEST // 10],
            request=execution.message,
            path=call.target[:_LONGEST],
            code=str(error.get("code", "")) if isinstance(error, dict) else "",
        )
        try:
            append(self._path, lines([line]))
        except OSError as exc:
            _unwritten("%s cannot be written, and a line of it is lost: %s", self._path, exc.strerror)
