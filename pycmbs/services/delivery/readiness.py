"""Readiness check: whether messages are taken in, and why not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pycmbs.errors import CmbsError, Unavailable
from pycmbs.occi import cmbs
from pycmbs.runtime import Runtime, Signal
from pycmbs.services.delivery.limit import OutboxBound
from pycmbs.services.engine_link import EngineLink
from pycmbs.services.federation.members import MemberService
from pycmbs.store.base import Store

log = logging.getLogger(__name__)

SECONDS = 0.5
"""For store and engine to answer."""
FULL = 0.95
"""Of the outbox: from there on nothing more should be sent here."""


@dataclass(frozen=True)
class Readiness:
    """``reasons`` why not, by code; what there is to say besides are ``notes``."""

    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _Question:
    """Something that may hang: it is asked once at a time, however many want to know."""

    def __init__(self, name: str, ask: Callable[[], object], runtime: Runtime) -> None:
        self._name = name
        self._ask = ask
        self._runtime = runtime
        self._asked: Signal | None = None
        self._error = ""

    def begin(self) -> Signal:
        """Ask, unless that is under way."""
        asked = self._asked
        if asked is None:
            asked = self._asked = self._runtime.signal()
            self._runtime.spawn(f"ready-{self._name}", self._run)
        return asked

    def error(self, asked: Signal) -> str:
        """What is wrong; empty when nothing is."""
        return self._error if asked.wait(SECONDS) else f"the {self._name} does not answer within {SECONDS:g} s"

    def _run(self) -> None:
        error = f"the {self._name} does not answer"
        try:
            self._ask()
            error = ""
        except CmbsError as exc:
            log.info("not ready: %s", exc.message)  # needs no credentials, so it must not tell where the store is
        finally:
            self._error = error
            asked, self._asked = self._asked, None
            if asked is not None:
                asked.set()


class ReadinessService:
    """Asks the store and the engine."""

    def __init__(
        self, store: Store, members: MemberService, engine: EngineLink, bound: OutboxBound, runtime: Runtime
    ) -> None:
        self._store = _Question("store", lambda: runtime.offload(store.ready), runtime)
        self._engine = _Question("engine", lambda: engine.call("ready", {}, seconds=2 * SECONDS), runtime)
        self._members = members
        self._bound = bound
        self.draining = False
        """Whether this process is about to stop, and finishes what is under way."""

    def now(self) -> Readiness:
        """Whether it is ready, and why not. Takes little more than :data:`SECONDS`."""
        found = Readiness()
        if self.draining:
            found.reasons["draining"] = "the broker stops, and finishes what is under way"
        asked = [(name, one, one.begin()) for name, one in (("store", self._store), ("engine", self._engine))]
        for name, question, signal in asked:
            if error := question.error(signal):
                found.reasons[name] = error
        if "store" not in found.reasons:
            self._look(found)
        return found

    def _look(self, found: Readiness) -> None:
        try:
            if (share := self._bound.share()) >= FULL:
                found.reasons["outbox"] = f"the outbox is {share:.0%} full"
            if self._members.local() is None:
                found.notes.append(f"there is no member yet: POST one to {cmbs.MEMBER_LOCATION}")
        except Unavailable as exc:
            log.info("not ready: %s", exc.message)
            found.reasons["store"] = "the store does not answer"
