"""Collects the metrics of all processes for ``/metrics``."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from pycmbs import clock
from pycmbs.engine.listening import Listening
from pycmbs.engine.probes import Probes
from pycmbs.errors import Unavailable
from pycmbs.metrics import table
from pycmbs.metrics.reports import Counts, Tally, as_json
from pycmbs.occi.layers import LAYERS
from pycmbs.services.federation.health import ALIVE, DEAD, SUSPECT
from pycmbs.services.records.deliveries import DELIVERY, delivery_from, route_name
from pycmbs.store.base import Query, Store
from pycmbs.workers import start_thread

log = logging.getLogger(__name__)

TYPES = ("category", "claim", "delivery", "entity", "health", "left", "node", "receipt", "removal")
"""Types of documents that are counted: those of which there may be many, and those by which a broker is known."""
_UNKNOWN = "unknown"
_SHARE = 100
"""What was counted in the store is good for so many times as long as that took, so that it takes one hundredth at most."""
_LEAST_SECONDS = 0.5
_WAIT_SECONDS = 0.5
"""For the store to be counted; after that, what was counted before is told."""
_SILENT_SECONDS = 5.0
"""After which a store that is being counted is taken not to answer."""

Parameters = dict[str, Any]


class Numbers:
    """The sum of all reports, and what there is in the engine and in the store."""

    def __init__(self, store: Store, probes: Probes, listening: Listening, *, bound: int) -> None:
        """``bound``: deliveries that may wait in the outbox."""
        self._store = store
        self._probes = probes
        self._listening = listening
        self._bound = bound
        self._tally = Tally()
        self._stored: Counts = {}
        self._stale = 0.0
        self._counting_since = 0.0
        self._lock = threading.Lock()  # never held across a wait
        self._counting: threading.Event | None = None
        self.operations: dict[str, Callable[[Parameters], Parameters]] = {
            "ready": lambda _parameters: {},
            "report": self._report,
            "metrics": self._metrics,
        }
        """What fronts may call, by name."""

    def _report(self, parameters: Parameters) -> Parameters:
        """A front says what it has counted."""
        self._tally.take(parameters)
        return {"number": parameters["number"]}

    def _metrics(self, parameters: Parameters) -> Parameters:
        """All numbers, those of the front that asks included; with ``members`` those of every member, too."""
        answer = self._report(parameters["report"])
        counts = self._tally.total() | self._present() | self._of_store()
        if parameters.get("members"):
            counts |= self._of_members()
        return answer | {"counts": as_json(counts)}

    def _present(self) -> Counts:
        """What the engine knows without asking the store."""
        states = Counter(state or _UNKNOWN for state, _ in self._probes.measured().values())
        found: Counts = {(table.MEMBERS.name, (one,)): [states[one]] for one in (ALIVE, SUSPECT, DEAD, _UNKNOWN)}
        bound = self._listening.bound
        return found | {(table.LISTENING.name, (layer,)): [float(layer in bound)] for layer in LAYERS}

    def _of_store(self) -> Counts:
        """What is in the store, as of a moment ago: counting a large one, or one that does not answer, is not waited for."""
        with self._lock:
            over = self._counting
            if over is None and time.monotonic() >= self._stale:
                over = self._counting = threading.Event()
                self._counting_since = time.monotonic()
                start_thread("numbers", self._count)
        if (
            over is not None
            and not over.wait(_WAIT_SECONDS)
            and time.monotonic() - self._counting_since > _SILENT_SECONDS
        ):
            return self._stored | {(table.STORE_UP.name, ()): [0.0]}
        return self._stored

    def _count(self) -> None:
        try:
            self._stored = self._counted_in_store()
        except Unavailable as exc:
            log.info("the store is not counted: %s", exc)
            self._stored = {(table.STORE_UP.name, ()): [0.0]}
        finally:
            now = time.monotonic()
            with self._lock:
                self._stale = now + max(_LEAST_SECONDS, _SHARE * (now - self._counting_since))
                over, self._counting = self._counting, None
            if over is not None:
                over.set()

    def _counted_in_store(self) -> Counts:
        waiting = Query(DELIVERY, {"unsettled": "1"}, limit=1)
        oldest = [delivery_from(one).accepted for one in self._store.find(waiting)]
        found: Counts = {
            (table.STORE_UP.name, ()): [1.0],
            (table.OUTBOX.name, ()): [self._store.count(waiting)],
            (table.OUTBOX_BOUND.name, ()): [self._bound],
            (table.OUTBOX_OLDEST.name, ()): [_age(oldest)],
        }
        for type in TYPES:
            found[table.STORE_DOCUMENTS.name, (type,)] = [self._store.count(Query(type))]
        if (size := self._store.size()) is not None:
            found[table.STORE_BYTES.name, ()] = [size]
        return found

    def _of_members(self) -> Counts:
        found: Counts = {}
        for member, (state, round_trip) in self._probes.measured().items():
            queries = [Query(DELIVERY, {"route": route_name(member, layer)}, limit=1) for layer in LAYERS]
            try:
                waiting = sum(map(self._store.count, queries))
                oldest = [delivery_from(one).accepted for query in queries for one in self._store.find(query)]
            except Unavailable:
                return found
            found |= {
                (table.MEMBER_UP.name, (member,)): [float(state == ALIVE)],
                (table.MEMBER_WAITING.name, (member,)): [waiting],
                (table.MEMBER_OLDEST.name, (member,)): [_age(oldest)],
            }
            if round_trip:
                found[table.MEMBER_ROUND_TRIP.name, (member,)] = [round_trip]
        return found


def _age(accepted: list[float]) -> float:
    """Seconds since the first of these; 0 when there is none."""
    return max(0.0, clock.now() - min(accepted)) if accepted else 0.0
