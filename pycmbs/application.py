"""Assembles the WSGI application: the HTTP half of the composition root."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pycmbs.config import Settings
from pycmbs.config_values import is_loopback
from pycmbs.errors import Unavailable
from pycmbs.metrics.table import STREAMS
from pycmbs.runtime import Runtime, ThreadRuntime
from pycmbs.services.access.users import Users
from pycmbs.services.delivery.parts import PARTS
from pycmbs.services.delivery.readiness import ReadinessService
from pycmbs.services.entities.feed import Feed
from pycmbs.services.entities.occupants import entities_at
from pycmbs.services.entities.watching import Watching
from pycmbs.wsgi import auth
from pycmbs.wsgi.access_log import AccessLog
from pycmbs.wsgi.app import Application
from pycmbs.wsgi.auditor import Auditor
from pycmbs.wsgi.client_certificates import ClientCertificates
from pycmbs.wsgi.collections import Collections
from pycmbs.wsgi.descriptions import Descriptions
from pycmbs.wsgi.entities import Entities
from pycmbs.wsgi.guard import Guard
from pycmbs.wsgi.jwt import WebTokens
from pycmbs.wsgi.observation import Observation
from pycmbs.wsgi.query_interface import QueryInterface
from pycmbs.wsgi.routes import Routes
from pycmbs.wsgi.streams import Streams
from pycmbs.wsgi.watching import Shower, Watchers

if TYPE_CHECKING:
    from pycmbs.broker import Broker


def application(broker: Broker, settings: Settings, runtime: Runtime | None = None) -> Application:
    """The WSGI application of a broker, whatever its store and engine are."""
    runtime = runtime or ThreadRuntime()
    observation = Observation(
        broker.engine,
        broker.access,
        ReadinessService(broker.store, broker.members, broker.engine, broker.bound, runtime),
        record=settings.processes_file,
        store=broker.store.url.partition(":")[0],
    )
    gate = _gate(settings, runtime)
    feed = Feed(broker.store, runtime, PARTS)
    watching = Watching.of(broker.store, broker.categories, broker.access, feed, Shower(broker.entities))
    streams = Streams(gate.admit, lambda: feed.over)
    STREAMS.look = lambda: streams.open
    watchers = Watchers(watching, streams)
    taken: list[str] = []
    with contextlib.suppress(Unavailable):  # while the store is away, who asks for health gets that
        taken = entities_at(broker.store)
    routes = Routes(
        QueryInterface(broker.categories),
        Collections(broker.entities, broker.categories, watchers),
        Entities(broker.entities, watchers),
        observation,
        Descriptions(broker.categories, lambda: gate.required),
        taken,
    )
    guard = Guard(
        settings.url.rstrip("/"),
        names=settings.names,
        origins=settings.origins,
        public_url=settings.public_url,
        proxies=settings.proxies,
    )
    auditor = Auditor(settings.home, runtime, settings.audit)

    def end() -> None:
        observation.drain()
        feed.end()

    return Application(
        routes,
        guard,
        gate,
        broker.access,
        auditor,
        observation,
        max_body=settings.max_body,
        access_log=AccessLog(runtime, settings.access_log),
        ending=end,
    )


def _gate(settings: Settings, runtime: Runtime) -> auth.Gate:
    """What gives each request its principal. Raises ConfigurationError."""
    web_tokens = WebTokens.of(
        runtime,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        keys=settings.jwt_keys,
        claim=settings.jwt_claim,
        roles=settings.jwt_roles,
    )
    # With an issuer named, credentials are required, even while the users' file is empty.
    wanted = "on" if web_tokens and settings.authentication == "auto" else settings.authentication
    users = Users(settings.home, wanted, loopback=is_loopback(settings.host))
    ways = [*auth.standard(users, runtime, settings.run_dir), *filter(None, [web_tokens]), ClientCertificates(users)]
    return auth.Gate(users, runtime, ways, keystone=settings.keystone_uri)
