"""The engine: puts its parts together, listens where the own member was told to, and answers the fronts."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any, Protocol

from pycmbs.config import Settings
from pycmbs.control.server import ControlServer
from pycmbs.engine.discovery import Discovery
from pycmbs.engine.executor import Executor
from pycmbs.engine.housekeeping import Housekeeping
from pycmbs.engine.inbound import Inbound
from pycmbs.engine.outbound import Outbound
from pycmbs.engine.probes import Probes
from pycmbs.engine.relay import Relay
from pycmbs.engine.requests import Requests
from pycmbs.errors import CmbsError, Conflict, EngineUnavailable, InvalidRequest, SocketUnavailable, Unavailable
from pycmbs.occi import cmbs
from pycmbs.occi.naming import LAYERS
from pycmbs.services.delivery.inbox import InboxService
from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.delivery.retention import RetentionService
from pycmbs.services.execution.service import ExecutionService
from pycmbs.services.federation.gossip import FederationService
from pycmbs.services.federation.health import HealthService
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.roster import socket_of
from pycmbs.store.base import Store
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import Envelope
from pycmbs.transport.router import Transports
from pycmbs.workers import Pool, Started, new_thread

log = logging.getLogger(__name__)

_REBIND_SECONDS = 1.0
_WALKS = 4


class Services(Protocol):
    """What the engine works with."""

    @property
    def members(self) -> MemberService:
        """The own member, and those that are known."""

    federation: FederationService
    health: HealthService
    execution: ExecutionService
    outbox: OutboxService
    inbox: InboxService
    retention: RetentionService


class Engine:
    """Owns the transports. Also the :class:`~pycmbs.services.engine_link.EngineLink` of the services in its own process."""

    def __init__(self, settings: Settings, store: Store, transports: Transports, control: Path) -> None:
        self._settings = settings
        self._store = store
        self._transports = transports
        self._control_path = control
        self._requests = Requests(transports)
        self._bound: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self._binding = threading.RLock()
        self._closing = threading.Event()
        self.started = Started()
        """What works, in the order in which it began."""
        self._own = ""
        self._waits = False
        # Walks take long: they must not keep the control socket's threads from starting and stopping layers.
        self._walks = Pool("walk", _WALKS)
        self._operations: dict[str, Callable[[dict[str, Any]], Any]] = {
            "start": self._start_layer,
            "stop": self._stop_layer,
            "settle": self._settle,
            "try": self._try,
            "leave": self._leave,
            "handle": lambda parameters: self._executor.handle(str(parameters["message"])),
            "discover": lambda _parameters: self._walks.submit(self._discovery.walk),
            "wait": lambda parameters: self._outbound.wait(str(parameters["message"]), float(parameters["seconds"])),
        }

    def attach(self, services: Services) -> None:
        """Give it the services, which in turn were given the engine."""
        settings = self._settings
        self._members = services.members
        self._federation = services.federation
        self._probes = Probes(
            services.members,
            services.health,
            self._requests,
            services.federation.lives,
            seconds=settings.neighbor_timeout,
            interval=settings.probe_interval,
        )
        self._discovery = Discovery(
            services.members, services.federation, self._probes, self._requests, seconds=settings.neighbor_timeout
        )
        self._executor = Executor(services.execution)
        relay = Relay(self._transports, self._transports.reply, self._probes.way, hops=settings.hops)
        self._outbound = Outbound(
            services.outbox,
            self._transports,
            [self._requests.answered, relay.answered],
            self._probes,
            window=settings.window,
            retry_first=settings.retry_first,
            retry_most=settings.retry_most,
            poll=settings.poll,
            most=settings.max_content,
        )
        self._probes.on_alive = self._outbound.resume
        self._probes.on_news = self._discovery.greet
        self._inbound = Inbound(
            services.inbox,
            self._layers_at,
            self._transports.reply,
            self._introduced,
            self._probes.answer,
            relay,
            services.execution,
            self._executor,
            services.federation.lives,
        )
        self._inbound.identity = self._identity
        self._housekeeping = Housekeeping(
            self._store, services.outbox, services.inbox, services.federation, services.retention
        )
        self._control = ControlServer(self._control_path, self._operations, self.wake)

    # The engine as the services of its own process see it

    def wake(self) -> None:
        """See :class:`~pycmbs.services.engine_link.EngineLink`."""
        self._outbound.wake()

    def call(self, operation: str, parameters: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """See :class:`~pycmbs.services.engine_link.EngineLink`. Runs in the caller's thread."""
        answer = self._operations[operation](parameters)
        try:
            result: dict[str, Any] = answer.result(seconds) if isinstance(answer, Future) else answer
        except FutureTimeoutError:
            raise EngineUnavailable(f"{operation} is not done within {seconds:g} s") from None
        return result

    # Life

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
        """Listen, take up the outbox, answer the fronts, once all is prepared. Sockets that cannot be bound now are tried again
        every second."""
        self.started.add("transports", self._transports.close)
        self._transports.start(self._receive)
        self.started.start("requests", self._requests)
        self.started.start("inbound", self._inbound)
        self.started.start("executor", self._executor)  # before anything new comes in: what waits from before is first
        with contextlib.suppress(Unavailable):
            self._bind_wanted()
        self.started.start("outbound", self._outbound)
        self.started.start("discovery", self._discovery)
        self.started.start("probes", self._probes)
        self._discovery.announce()
        self.started.add("walks", self._walks.close)
        self.started.start("control", self._control)
        self.started.start("housekeeping", self._housekeeping)
        self.started.add("binding", self._closing.set)
        new_thread("binding", self._keep_bound, vital=True).start()

    def close(self) -> None:
        """Stop taking calls and arrivals, finish what was taken, close the sockets. What is unsettled stays stored."""
        self.started.stop()

    def _receive(self, arrivals: list[Arrival]) -> None:
        for arrival in arrivals:
            if arrival.answer:
                self._outbound.answer(arrival)
            else:
                self._inbound.put(arrival)

    def _introduced(self, hello: Envelope) -> None:
        """A member introduced itself: look after it, and after those that it knows of."""
        self._discovery.hint(self._federation.sockets(hello.body))
        self._probes.told(self._federation.hear(hello.body), hello.sender)
        self._probes.look(hello.sender)
        if self._federation.lacks(hello.body):
            member = self._members.by_id(hello.sender)
            if member is not None and socket_of(member, "l1"):
                self._discovery.greet(socket_of(member, "l1"))

    def _identity(self) -> str:
        return self._own

    def _keep_bound(self) -> None:
        while not self._closing.wait(_REBIND_SECONDS):
            try:
                self._members.renew(0)  # after the clock was ahead
                if self._members.wanted() != self._bound:
                    self._bind_wanted()
            except Unavailable as exc:
                log.warning("binding waits: %s", exc)
            except Exception:
                log.exception("binding failed; it is tried again")

    # Listening

    def _layers_at(self, url: str) -> tuple[str, ...]:
        return tuple(layer for layer, bound in self._bound.items() if bound == url)

    def _bind_wanted(self) -> None:
        """Bind what the own member was told to listen on; what fails is logged and tried again."""
        with self._binding:
            self._own = self._members.local_id()  # first: whoever is answered must be told by whom
            wanted = self._members.wanted()
            for layer in self._bound.keys() - wanted.keys():
                self._unbind(layer)
            for layer, url in wanted.items():
                if self._bound.get(layer) != url:
                    try:
                        self._bind(layer, url)
                    except CmbsError as exc:
                        self._say_once(layer, exc)
            self._record()

    def _say_once(self, layer: str, error: CmbsError) -> None:
        """Log why a layer cannot listen, unless that is what was said of it last: it is tried every second."""
        if self._said.get(layer) != error.line:
            self._said[layer] = error.line
            log.warning("%s cannot listen: %s", layer, error.line)

    def _bind(self, layer: str, url: str) -> None:
        self._transports.listen(url)
        self._said.pop(layer, None)
        self._unbind(layer)
        self._bound[layer] = url

    def _unbind(self, layer: str) -> None:
        url = self._bound.pop(layer, None)
        if url is not None and url not in self._bound.values():
            self._transports.unlisten(url)

    def _record(self) -> None:
        self._own = self._members.local_id()
        self._members.record_listening([layer for layer in LAYERS if layer in self._bound])

    def _start_layer(self, parameters: dict[str, Any]) -> dict[str, Any]:
        layer = str(parameters.get("layer"))
        own = self._members.local()
        if own is None:
            raise Conflict("this broker has no member of its own yet")
        self._own = own.id
        url, name = socket_of(own, layer), cmbs.socket_attribute(layer)
        if not url:
            raise InvalidRequest(f"{own.path} has no socket for {layer}", attribute=name)
        with self._binding:
            if self._bound.get(layer) != url:
                try:
                    self._bind(layer, url)
                except SocketUnavailable as exc:
                    exc.hint = exc.hint or f"Stop what listens there, or change {name} with a POST to {own.path}."
                    raise
            self._members.want(layer, listen=True)
            self._record()
        self._discovery.announce()
        return self._listening()

    def _stop_layer(self, parameters: dict[str, Any]) -> dict[str, Any]:
        layer = str(parameters.get("layer"))
        with self._binding:
            self._members.want(layer, listen=False)
            self._unbind(layer)
            self._record()
        self._discovery.announce()
        return self._listening()

    def _leave(self, parameters: dict[str, Any]) -> Any:
        """The own member was deleted: nothing listens for it any more, and the others are told."""
        self._bind_wanted()
        return self._discovery.leave(
            str(parameters["member"]), int(parameters["version"] or 0), str(parameters["instance"] or "")
        )

    def _listening(self) -> dict[str, Any]:
        return {"listening": {layer: self._bound[layer] for layer in LAYERS if layer in self._bound}}

    def _try(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Raises SocketUnavailable when one of the sockets could not be bound; leaves nothing bound."""
        with self._binding:
            for url in parameters.get("sockets") or []:
                if url not in self._bound.values():
                    self._transports.listen(url)
                    self._transports.unlisten(url)
        return {}

    def _settle(self, _parameters: dict[str, Any]) -> dict[str, Any]:
        self._bind_wanted()
        self._probes.reload()
        self._discovery.announce()
        return self._listening()
