"""Starts and stops the parts of the engine in order."""

from __future__ import annotations

import logging

from pycmbs.control.server import ControlServer
from pycmbs.engine.calls import Calls
from pycmbs.engine.discovery import Discovery
from pycmbs.engine.executor import Executor
from pycmbs.engine.housekeeping import Housekeeping
from pycmbs.engine.inbound import Inbound
from pycmbs.engine.listening import Listening
from pycmbs.engine.outbound import Outbound
from pycmbs.engine.probes import Probes
from pycmbs.engine.requests import Requests
from pycmbs.engine.standing import Standing
from pycmbs.errors import Unavailable
from pycmbs.services.federation.members import MemberService
from pycmbs.store.base import Store
from pycmbs.transport.base import Arrival
from pycmbs.transport.transports import Transports
from pycmbs.workers import Started

log = logging.getLogger(__name__)


class Engine:
    """Owns the transports, and hands on what arrives by them."""

    def __init__(
        self,
        store: Store,
        members: MemberService,
        transports: Transports,
        *,
        requests: Requests,
        inbound: Inbound,
        executor: Executor,
        listening: Listening,
        outbound: Outbound,
        discovery: Discovery,
        probes: Probes,
        calls: Calls,
        control: ControlServer,
        housekeeping: Housekeeping,
        standing: Standing | None = None,
    ) -> None:
        self._store = store
        self._members = members
        self._transports = transports
        self._requests = requests
        self._inbound = inbound
        self._executor = executor
        self._listening = listening
        self._outbound = outbound
        self._discovery = discovery
        self._probes = probes
        self._calls = calls
        self._control = control
        self._housekeeping = housekeeping
        self._standing = standing
        self.started = Started()
        """What works, in the order in which it began."""
        self._waits = False

    def prepare(self) -> bool:
        """Do what must be done in the store before the engine starts; False while the store does not answer in time."""
        try:
            self._store.ready()
            self._members.renew(0)
        except Unavailable as exc:
            if not self._waits:
                log.warning("the engine waits for its store: %s", exc)
            self._waits = True
            return False
        return True

    def start(self) -> None:
        """Listen, take up the outbox, answer the fronts, once all is prepared."""
        started = self.started
        started.add("transports", self._transports.close)
        self._transports.start(self._receive)
        started.start("requests", self._requests)
        started.start("inbound", self._inbound)
        started.start("executor", self._executor)  # before anything new comes in: what waits from before is first
        started.start("listening", self._listening)
        started.start("outbound", self._outbound)
        started.start("discovery", self._discovery)
        started.start("probes", self._probes)
        if self._standing is not None:
            started.start("standing", self._standing)
        self._discovery.announce()
        started.add("calls", self._calls.close)
        started.start("control", self._control)
        started.start("housekeeping", self._housekeeping)

    def close(self) -> None:
        """Stop taking calls and arrivals, finish what was taken, close the sockets. What is unsettled stays stored."""
        self.started.stop()

    def _receive(self, arrivals: list[Arrival]) -> None:
        for arrival in arrivals:
            if arrival.answer:
                self._outbound.answer(arrival)
            else:
                self._inbound.put(arrival)
