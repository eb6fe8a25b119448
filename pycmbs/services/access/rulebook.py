"""Combines the rules of the shipped roles, of the setting ``allow``, and of ``HOME/rules``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pycmbs.errors import ConfigurationError
from pycmbs.services.access.files import Watched
from pycmbs.services.access.rules import ROLES, Rule, parse

log = logging.getLogger(__name__)

RULES = "rules"
"""The file's name."""
SHIPPED = parse(ROLES, "pycmbs")


class Rulebook:
    """The rules as they are now: what was changed in the file counts at once."""

    def __init__(self, home: Path, allow: Sequence[Rule]) -> None:
        self._allow = tuple(allow)
        self._file = Watched(home / RULES, self._parsed, self._allow)
        self.own: tuple[Rule, ...] = self._allow
        self.due = 0.0

    def look(self, now: float) -> None:
        """See :class:`~pycmbs.services.access.access.Rules`."""
        self._file.look(now)
        self.own, self.due = self._file.said, self._file.due

    def _parsed(self, text: str) -> tuple[Rule, ...]:
        """A line that is not a rule allows nothing: the others count."""
        found: list[Rule] = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                found += parse(line, f"line {number} of {self._file.path}")
            except ConfigurationError as exc:
                log.error("%s; it allows nothing", exc.message)  # noqa: TRY400 - a line of a file, no fault here
        return (*self._allow, *found)
