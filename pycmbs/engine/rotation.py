"""CURVE key rotation: announces the next key, switches to it, retires the old one after a day.

What is to be done stands in the file of the key (:mod:`pycmbs.services.federation.keys`), so it goes on after a restart.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pycmbs.services.federation.keys import NEXT, OLD, retire_old, take_next
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.ring import Trust
from pycmbs.services.federation.roster import version_of

log = logging.getLogger(__name__)

VALID_SECONDS = 86400.0
"""How long a member that is away has to hear of a new key before it is used, and an old one counts after that."""


class Rekeyed(Protocol):
    """What of the transports is needed here."""

    def rekey(self) -> None:
        """See :class:`~pycmbs.transport.base.Transport`."""


class Rotation:
    """Changes the key for connections when the file says so. For one thread."""

    def __init__(
        self,
        home: Path,
        trust: Trust,
        members: MemberService,
        transports: Rekeyed,
        *,
        all_know: Callable[[int], bool],
        announce: Callable[[], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``all_know``: whether all others know the own member in this version. ``announce``: tells them that there is news."""
        self._home = home
        self._trust = trust
        self._members = members
        self._transports = transports
        self._all_know = all_know
        self._announce = announce
        self._wall_clock = wall_clock
        self._curves = trust.keys.curves
        self._told = 0
        """The version of the own member in which the others are to know what its keys are."""

    def turn(self) -> None:
        """Look what is to be done now. Raises CmbsError, OSError; then it is to be called again."""
        keys, now = self._trust.keys, self._wall_clock()
        if keys.curves != self._curves:
            if keys.curve.public != self._curves[0]:
                self._transports.rekey()
                log.info("the new key for connections is in use")
            self._tell()
            self._curves = keys.curves
        second = keys.second
        if second is not None and second.phase == NEXT:
            if not self._told:  # it was made before this process began
                self._tell()
            if (self._told and self._all_know(self._told)) or now >= second.at + VALID_SECONDS:
                take_next(self._home, now + VALID_SECONDS)
        elif second is not None and second.phase == OLD and now >= second.at:
            retire_old(self._home)

    def _tell(self) -> None:
        """Have the own member be newer, so that the others ask for what it signs now."""
        if (own := self._members.local()) is not None:
            self._members.renew(version_of(own))
            self._announce()
            own = self._members.local()
        self._told = version_of(own) if own is not None else 0
