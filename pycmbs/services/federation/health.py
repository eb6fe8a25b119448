"""The stored health of other members."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pycmbs.errors import RevisionConflict, Unavailable
from pycmbs.occi.layers import LAYERS
from pycmbs.services.records.deliveries import DELIVERY, delivery_from, route_name
from pycmbs.services.records.times import timestamp
from pycmbs.store.base import Query, Store, Write

HEALTH = "health"
_LOOK_SECONDS = 1.0
"""Between looks whether others died: those who send ask each time."""
ALIVE, SUSPECT, DEAD = "alive", "suspect", "dead"


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a member's health. Times are seconds since the epoch, 0 for never; ``round_trip`` is in seconds,
    0 while it is not known.

    ``via`` is the member through which it was reached, empty when it was reached directly. ``reason`` says what went wrong
    last when it is not alive.
    """

    state: str
    since: float
    last_seen: float = 0.0
    round_trip: float = 0.0
    via: str = ""
    reason: str = ""
    revision: str = field(default="", compare=False)

    def described(self) -> dict[str, Any]:
        """As the member's attribute shows it."""
        shown: dict[str, Any] = {"state": self.state, "since": timestamp(self.since)}
        if self.last_seen:
            shown["last_seen"] = timestamp(self.last_seen)
        if self.round_trip:
            shown["round_trip_ms"] = round(self.round_trip * 1000, 3)
        return shown | {name: value for name in ("via", "reason") if (value := getattr(self, name))}


class HealthService:
    """Health in the store: written by the engine, a document a member, so that no entity is rewritten by every probe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked, self._token = 0.0, ""
        self._dead: Mapping[str, str] = {}

    def of(self, member: str) -> Health | None:
        """The health of a member; None before it was measured."""
        found = self._store.get(_document(member))
        return Health(**found.body, revision=found.revision) if found is not None else None

    def described(self, member: str) -> dict[str, Any]:
        """The health of a member as it is shown, with when the oldest message was accepted that did not reach it yet, unless
        the store, which tells documents by their ids, cannot tell that now."""
        health = self.of(member)
        shown = health.described() if health is not None else {}
        waiting: list[float] = []
        with contextlib.suppress(Unavailable):
            waiting = [row.accepted for layer in LAYERS if (row := self._oldest(member, layer)) is not None]
        return shown | ({"oldest_unsent": timestamp(min(waiting))} if waiting else {})

    def _oldest(self, member: str, layer: str) -> Any:
        found = self._store.find(Query(DELIVERY, {"route": route_name(member, layer)}, limit=1))
        return delivery_from(found[0]) if found else None

    def dead(self) -> Mapping[str, str]:
        """Since when those members have been dead that are, by id: as of a second ago at most, unless the store is away."""
        if not self._looked or time.monotonic() >= self._looked + _LOOK_SECONDS:
            with contextlib.suppress(Unavailable):
                self._look()
            self._looked = time.monotonic()
        return self._dead

    def _look(self) -> None:
        token = self._store.change_token(HEALTH)
        if token != self._token:
            found = [one for one in self._store.find(Query(HEALTH)) if one.body["state"] == DEAD]
            self._dead = {one.id.partition(":")[2]: timestamp(one.body["since"]) for one in found}
            self._token = token

    def record(self, measured: Mapping[str, Health]) -> None:
        """Store what was measured, with one commit. Of a member that goes at the same time, the deletion wins."""
        batches = []
        for member, health in measured.items():
            before = self.of(member)
            body = {name: value for name, value in asdict(health).items() if name != "revision"}
            batches.append([Write(_document(member), HEALTH, body, revision=before.revision if before else None)])
        if batches:
            self._store.write_batches(batches)

    def forget(self, member: str) -> None:
        """Delete what was measured of a member that is no longer known."""
        before = self.of(member)
        if before is not None:
            try:
                self._store.write([Write(_document(member), HEALTH, revision=before.revision, delete=True)])
            except RevisionConflict:
                return  # it was measured meanwhile; the engine's housekeeping comes back to it


def _document(member: str) -> str:
    return f"{HEALTH}:{member}"
