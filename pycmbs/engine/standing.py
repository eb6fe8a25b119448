"""Applies a revocation: ends contact, and fails what waits for the member.

The file that says so may be changed by a command, or by what other members pass on. One thread looks at it, and at that of the
own keys, several times a second. That what a revoked member sends is not heard, connections that are open or not, is the affair
of the ring of keys.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from pycmbs.errors import CmbsError
from pycmbs.occi.layers import LAYERS
from pycmbs.services.federation.gossip import FederationService
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.ring import Trust
from pycmbs.services.federation.roster import socket_of
from pycmbs.workers import new_thread

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""Between looks whether a member is revoked."""


class Links(Protocol):
    """What of the transports is needed here."""

    def forget(self, url: str, *, silent: float = 0.0) -> None:
        """See :class:`~pycmbs.transport.base.Transport`."""


class Standing:
    """Keeps the federation in line with who is trusted."""

    def __init__(
        self,
        trust: Trust,
        members: MemberService,
        federation: FederationService,
        links: Links,
        give_up: Callable[[str], None],
        announce: Callable[[], None],
        rotate: Callable[[], None],
    ) -> None:
        """``give_up``: sends nothing more to a member. ``announce``: tells the others that there is news.
        ``rotate``: looks whether the own key is to be changed."""
        self._rotate = rotate
        self._trust = trust
        self._members = members
        self._federation = federation
        self._links = links
        self._give_up = give_up
        self._announce = announce
        self._seen = 0
        self._done: set[str] = set()
        self._closing = threading.Event()
        self._thread = new_thread("standing", self._run, vital=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        self._thread.join(2)

    def _run(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            for look in (self._look, self._rotate):
                try:
                    look()
                except CmbsError as exc:
                    log.warning("what the files of keys say waits: %s", exc)
                except Exception:
                    log.exception("what the files of keys say waits")

    def _look(self) -> None:
        version = self._trust.revocations.version
        if version != self._seen:
            self._enforce()
            self._seen = version

    def _enforce(self) -> None:
        known = self._members.now().by_id
        out = {id for id in self._trust.revocations.ids if self._trust.identity(id) is None}
        for id in out:
            if (member := known.get(id)) is not None:
                self._federation.departures.drop(member)
                for layer in LAYERS:
                    if url := socket_of(member, layer):
                        self._links.forget(url)
            if member is not None or id not in self._done:
                self._give_up(id)
        if out - self._done:
            self._announce()
        self._done = out
