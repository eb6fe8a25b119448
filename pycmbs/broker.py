"""The composition root: the only module that names concrete stores, transports and backends, and puts them together.

What only one kind of process needs is imported where that is built: the others are the smaller for it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pycmbs.backends import load_backends
from pycmbs.config import Settings
from pycmbs.engine.handler_pool import HandlerPool
from pycmbs.handlers import load as load_handlers
from pycmbs.occi import cmbs
from pycmbs.processes.identity import this_node
from pycmbs.runtime import Runtime, ThreadRuntime
from pycmbs.services.access import rules as allow
from pycmbs.services.access.rulebook import Rulebook
from pycmbs.services.delivery.inbox import InboxService
from pycmbs.services.delivery.limit import OutboxBound
from pycmbs.services.delivery.messages import MessageService
from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.delivery.retention import RetentionService
from pycmbs.services.delivery.sending import SendingService
from pycmbs.services.engine_link import EngineLink
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.entities.service import EntityService
from pycmbs.services.execution.noted import Noted
from pycmbs.services.execution.once import OnceStore
from pycmbs.services.execution.operations import OperationService
from pycmbs.services.execution.service import ExecutionService, Handlers
from pycmbs.services.federation.credentials import credentials
from pycmbs.services.federation.gossip import FederationService
from pycmbs.services.federation.health import HealthService
from pycmbs.services.federation.keys import own_fingerprint, own_keys
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.proofs import Proofs
from pycmbs.services.federation.ring import Trust, nobody
from pycmbs.services.federation.seals import Seals
from pycmbs.services.records.node import NodeService
from pycmbs.store import open_store
from pycmbs.store.base import Store
from pycmbs.store.measured import Measured
from pycmbs.transport.address import check_address, parse_listen_at
from pycmbs.transport.envelope import most_datagram
from pycmbs.transport.transports import Transports

if TYPE_CHECKING:
    from pycmbs.engine.engine import Engine
    from pycmbs.wsgi.app import Application

log = logging.getLogger(__name__)

TRANSPORTS = ("zeromq",)
"""What ``serve`` moves messages with."""

PROVIDERS = {cmbs.MEMBER: "cmbs_member", cmbs.MESSAGE: "cmbs_message"}
"""The backends of the shipped kinds."""


class Broker:
    """The services of one process, joined together. Also the :class:`~pycmbs.backends.base.Host` of its backends."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: EngineLink,
        check_address: Callable[[str], None] = check_address,
        handlers: Handlers | None = None,
        give_way: Callable[[], None] = lambda: None,
        trust: Trust | None = None,
    ) -> None:
        """``check_address`` raises for a socket URL that no transport here can reach. ``give_way`` lets others run, in a
        process that has one thread for all. ``handlers`` calls handlers; a process that executes nothing needs none. ``trust``:
        who is known by which key, where members are asked for theirs.
        Raises ConfigurationError for an invalid rule."""
        self.engine = engine
        store = self.store = OnceStore(store)
        rules = Rulebook(settings.home, allow.parse(settings.allow))
        self.categories = CategoryService(store, load_backends(self), rules)
        access = self.access = self.categories.access
        self.entities = EntityService(store, self.categories, access, give_way)
        self.health = HealthService(store)
        most = settings.most_members
        mark = functools.partial(own_fingerprint, settings.home)
        members = self._members = MemberService(
            store,
            self.entities,
            self.health,
            engine,
            check_address,
            most=most,
            fingerprint=mark,
            credentials=functools.partial(credentials, trust),
        )
        proofs = Proofs(trust)
        self.federation = FederationService(store, self.categories, members, self.health, most=most, proofs=proofs)
        self.operations = OperationService(self.entities, self.categories)
        self.bound = OutboxBound(store, settings.outbox_bound)
        self._messages = MessageService(
            store,
            self.entities,
            self._members,
            self.operations,
            access,
            engine,
            check_address,
            SendingService(
                store, self.entities, self._members, access, engine, self.bound, deadline=settings.delivery_deadline
            ),
            max_content=settings.max_content,
        )
        self.outbox = OutboxService(store, self.entities, self._members, self.federation)
        noted = Noted(settings.home, settings.audit)
        self.execution = ExecutionService(
            store, self.entities, self.operations, handlers or HandlerPool({}), access, noted, most=settings.max_content
        )
        self.inbox = InboxService(
            store, self.categories, self._members, self.federation, self.execution, most=settings.max_content
        )
        self.retention = RetentionService(
            store, self.entities, seconds=settings.retain_seconds, most=settings.retain_messages
        )

    @property
    def members(self) -> MemberService:
        """The federation's members."""
        return self._members

    @property
    def messages(self) -> MessageService:
        """Messages and their deliveries."""
        return self._messages


def control_path(settings: Settings) -> Path:
    """Where the engine answers the fronts."""
    return settings.run_dir / "engine.sock"


def open_configured(settings: Settings, runtime: Runtime) -> Store:
    """The store that the settings name."""
    return Measured(
        open_store(settings.store_url(), home=settings.home, runtime=runtime, least_free=settings.least_free)
    )


def build_application(settings: Settings, runtime: Runtime) -> Application:
    """A front process: the WSGI application over the store, with the engine at the other end of a local socket."""
    from pycmbs.application import application
    from pycmbs.control.client import ControlClient
    from pycmbs.store.change_tokens import ChangeTokens
    from pycmbs.store.group import GroupCommit

    store = ChangeTokens(GroupCommit(open_configured(settings, runtime), runtime), runtime)
    engine = ControlClient(control_path(settings), runtime)
    check = Transports(TRANSPORTS).check
    trust = _ring(settings, lambda: broker.members)
    broker = Broker(settings, store, engine, check, give_way=functools.partial(runtime.sleep, 0), trust=trust)
    front = application(broker, settings, runtime)
    runtime.spawn("metrics", lambda: front.observation.report_for_ever(runtime.sleep))
    return front


def build_engine(settings: Settings) -> tuple[Engine, Store, NodeService]:
    """The engine process: the engine, its store, and what keeps that for this broker. Its threads group what they write
    themselves, so the store needs no group commit."""
    from pycmbs.store.change_tokens import ChangeTokens
    from pycmbs.transport.zeromq.transport import ZeroMQTransport

    runtime = ThreadRuntime()
    store = ChangeTokens(open_configured(settings, runtime), runtime)
    places = parse_listen_at(settings.listen_at)
    largest = most_datagram(settings.max_content)
    trust = _ring(settings, lambda: broker.members)
    make = functools.partial(ZeroMQTransport, largest, listen_at=places, keyring=trust)
    transports = Transports(TRANSPORTS, {"zeromq": make})
    handlers = load_handlers(settings.handlers.split(), reserved=(*allow.OPERATIONS, allow.SEND, allow.LISTING))
    allow.check(allow.parse(settings.allow), handlers)
    engine, broker = assemble_engine(
        settings, store, transports, control_path(settings), transports.check, HandlerPool(handlers), trust
    )
    return engine, store, NodeService(store, this_node(settings))


def _ring(settings: Settings, members: Callable[[], MemberService]) -> Trust | None:
    """Who is known by which key; None where members are not asked for theirs. Raises ConfigurationError."""
    if settings.members not in ("closed", "mixed"):
        return None
    return Trust(settings.home, own_keys(settings.home), members, mixed=settings.members == "mixed")


def assemble_engine(
    settings: Settings,
    store: Store,
    transports: Transports,
    control: Path,
    check_address: Callable[[str], None] = check_address,
    handlers: Handlers | None = None,
    trust: Trust | None = None,
) -> tuple[Engine, Broker]:
    """An engine that is not started yet, and the services that it works with. ``control``: where it answers the fronts; the
    others as for :class:`Broker`. ``trust``: the ring of the transports, where members are asked for their keys.

    Those who need each other get a function: it is called when all are there.
    """
    from pycmbs.control.server import ControlServer
    from pycmbs.engine.calls import Calls, OwnEngine
    from pycmbs.engine.discovery import Discovery
    from pycmbs.engine.engine import Engine
    from pycmbs.engine.executor import Executor
    from pycmbs.engine.housekeeping import Housekeeping
    from pycmbs.engine.inbound import Inbound
    from pycmbs.engine.listening import Listening
    from pycmbs.engine.numbers import Numbers
    from pycmbs.engine.outbound import Outbound
    from pycmbs.engine.probes import Probes
    from pycmbs.engine.relay import Relay
    from pycmbs.engine.requests import Requests
    from pycmbs.engine.rotation import Rotation
    from pycmbs.engine.standing import Standing

    broker = Broker(settings, store, OwnEngine(lambda: calls), check_address, handlers, trust=trust)
    members, federation, lives = broker.members, broker.federation, broker.federation.lives
    listening = Listening(members, transports, keyed=trust is not None)
    seals = None
    if trust is not None:
        seals = Seals(trust.keys, trust.identity, members.local_id, knows=trust.knows if trust.mixed else None)
    requests = Requests(transports, seals)
    probes = Probes(
        members,
        broker.health,
        requests,
        lives,
        on_alive=lambda member: outbound.resume(member),  # noqa: PLW0108 - it is made below
        on_news=lambda url: discovery.greet(url),  # noqa: PLW0108 - so is this
        seconds=settings.neighbor_timeout,
        interval=settings.probe_interval,
        keyed=trust is not None and not trust.mixed,
    )
    hosts, admit = (trust.sockets, trust.admit) if trust is not None else (tuple, nobody)
    follow, seconds = trust is None or trust.mixed, settings.neighbor_timeout
    discovery = Discovery(members, federation, probes, requests, invited_by=hosts, seconds=seconds, follow=follow)
    relay = Relay(transports, transports.reply, probes.way, hops=settings.hops)
    outbound = Outbound(
        broker.outbox,
        transports,
        [requests.answered, relay.answered],
        relay.answered,
        probes,
        window=settings.window,
        retry_first=settings.retry_first,
        retry_most=settings.retry_most,
        poll=settings.poll,
        most=settings.max_content,
        seals=seals,
    )
    executor = Executor(broker.execution)
    inbound = Inbound(
        broker.inbox,
        listening.identity,
        listening.layers_at,
        transports.reply,
        discovery.introduced,
        probes.answer,
        relay,
        broker.execution,
        executor,
        lives,
        admit,
        seals,
    )
    standing = None
    if trust is not None:
        news = discovery.announce
        rotation = Rotation(settings.home, trust, members, transports, all_know=probes.all_know, announce=news)
        standing = Standing(trust, members, federation, transports, outbound.give_up, news, rotation.turn)
    calls = Calls(listening, outbound, executor, discovery, probes)
    numbers = Numbers(store, probes, listening, bound=settings.outbox_bound)
    engine = Engine(
        store,
        members,
        transports,
        requests=requests,
        inbound=inbound,
        executor=executor,
        listening=listening,
        outbound=outbound,
        discovery=discovery,
        probes=probes,
        calls=calls,
        control=ControlServer(control, calls.operations | numbers.operations, calls.wake),
        housekeeping=Housekeeping(store, broker.outbox, broker.inbox, federation, broker.retention),
        standing=standing,
    )
    return engine, broker
