"""The relay: passes on envelopes for a member that their sender cannot reach.

Nothing is stored here: the sender keeps what it sent until the recipient's own answer has come back the way it went, and the
recipient tells duplicates apart. So a relay that dies costs another try, and no promise has to be passed on. Where members have
keys all that is passed on is sealed, but for a relay's own refusal: each that passes one back says it as its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from msgspec.structs import replace

from pycmbs.engine.asked import Asked, new_id
from pycmbs.engine.probes import Way
from pycmbs.engine.requests import Sender
from pycmbs.engine.speaker import check_passing
from pycmbs.errors import CmbsError, NoRoute
from pycmbs.metrics.table import RELAYED, layer_label
from pycmbs.services.federation.seals import is_sealed
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import MESSAGE, REFUSAL, Envelope, encode

log = logging.getLogger(__name__)

_KEEP_SECONDS = 60.0
"""How long an answer may take to come back; who waits longer has asked again by then."""
_MOST = 10_000
"""Datagrams that were passed on and may still be answered; beyond, the oldest answers are not passed back."""


class _Passed(NamedTuple):
    """A question that was passed on: who asked, under which id, of whom, until when; ``own``: the own member, where each speaks
    for itself only."""

    peer: Hashable
    id: str
    asked: Asked
    until: float
    own: str


class Relay:
    """Datagrams passed on, and their answers passed back."""

    def __init__(
        self,
        transports: Sender,
        reply: Callable[[Hashable, bytes], None],
        way: Callable[[str, str], Way | None],
        *,
        hops: int,
    ) -> None:
        """``way``: how a member is reached on a layer. ``hops``: how many members may pass one datagram on; 0: none does."""
        self._transports = transports
        self._reply = reply
        self._way = way
        self._hops = hops
        self._open: OrderedDict[str, _Passed] = OrderedDict()
        self._lock = threading.Lock()

    def forward(self, own: str, arrival: Arrival, envelope: Envelope) -> None:
        """Pass on what is meant for another member than ``own``. Raises NoRoute, ForgedSender, and what sending raises."""
        layer = str(envelope.body.get("layer", "")) if envelope.type == MESSAGE else ""
        result = "refused"
        try:
            self._forward(own, arrival, envelope, layer)
            result = "passed"
        finally:
            RELAYED.count(layer_label(layer), result)

    def _forward(self, own: str, arrival: Arrival, envelope: Envelope, layer: str) -> None:
        check_passing(arrival.who, envelope)
        if own in envelope.path or own == envelope.sender:
            raise NoRoute(f"it has been here before: no member on its way reaches {envelope.to}", member=envelope.to)
        if len(envelope.path) >= self._hops:
            raise NoRoute(f"{self._hops} members have passed it on, and that is the limit", member=envelope.to)
        way = self._way(envelope.to, layer)
        if way is None or way.via in envelope.path or (way.via and way.via == envelope.sender):
            raise NoRoute(f"{own} cannot reach {envelope.to} either", member=envelope.to)
        with self._lock:
            id, asked = new_id(), Asked(way.url, envelope.to, relayed=True)
            speaks_as = own if arrival.who is not None else ""
            self._open[id] = _Passed(arrival.peer, envelope.id, asked, time.monotonic() + _KEEP_SECONDS, speaks_as)
            self._drop_old()
        passed = encode(replace(envelope, id=id, path=(*envelope.path, own)))
        self._transports.send(way.url, passed, apart=envelope.type != MESSAGE, peer=way.via or envelope.to)

    def answered(self, link: str, envelope: Envelope) -> bool:
        """Pass an answer back, under the id that its asker knows; False when nothing was passed on under this one to where the
        link leads, or another member answers: but the one that was to pass it on may refuse to.

        There may be several answers to one question, so it stays open for a while.
        """
        with self._lock:
            found = self._open.get(envelope.id)
        if found is None:
            return False
        asked = found.asked
        if not asked.over(link) or not (asked.of(envelope.sender) or envelope.type == REFUSAL):
            return False
        if found.own and not is_sealed(envelope):
            if envelope.type != REFUSAL:
                return False
            envelope = replace(envelope, sender=found.own, body={**envelope.body, "final": False})
        try:
            self._reply(found.peer, encode(replace(envelope, id=found.id)))
        except CmbsError as exc:
            log.info("an answer of %s cannot be passed back: %s", envelope.sender, exc)
        return True

    def _drop_old(self) -> None:
        now = time.monotonic()
        while self._open:
            if self._open[next(iter(self._open))].until > now and len(self._open) <= _MOST:
                return
            self._open.popitem(last=False)
