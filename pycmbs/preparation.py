"""Prepares the home and the store before a broker serves."""

from __future__ import annotations

import logging
from importlib import resources

from pycmbs.broker import PROVIDERS, Broker, open_configured
from pycmbs.config import Settings
from pycmbs.errors import ConfigurationError, Conflict, InvalidRequest, NotFound
from pycmbs.occi import cmbs
from pycmbs.occi.category import Category, Kind, bind
from pycmbs.occi.rendering.json_reader import JsonReader
from pycmbs.processes.identity import this_node
from pycmbs.runtime import ThreadRuntime
from pycmbs.services.access import rules as allow
from pycmbs.services.entities.occupants import displaced
from pycmbs.services.federation.founding import Described, have_described, have_member
from pycmbs.services.federation.keys import own_keys
from pycmbs.services.records.node import NodeService
from pycmbs.services.records.rekeying import rekey
from pycmbs.store.base import StoreDamaged

log = logging.getLogger(__name__)

DEFINITIONS = ("cmbs_member.json", "cmbs_message.json")


def prepare(settings: Settings) -> str:
    """Open the store, load the shipped definitions, close it again; returns what there is to say of store and member.

    Raises ConfigurationError for a store that cannot be opened or cannot be served from.
    """
    store = open_configured(settings, ThreadRuntime())
    try:
        if not (store.shared and store.durable):
            raise ConfigurationError(
                f"a broker cannot be served from the store {store.url!r}: it forgets everything when its process ends",
                hint="use --store sqlite:",
            )
        NodeService(store, this_node(settings)).take()
        own_keys(settings.home)
        broker = Broker(settings, store, _NoEngine())
        if settings.preload == "cmbs":
            broker.categories.ship(shipped_definitions())
        registry = broker.categories.registry()
        rekey(store, registry)
        for warning in [*allow.dormant(allow.parse(settings.allow), registry), *displaced(store, registry)]:
            log.warning("%s", warning)
        _declare_member(broker, settings)
        own = broker.members.local()
        member = f"member {own.id}" if own else f"no member yet: POST one to {cmbs.MEMBER_LOCATION}"
        return f"store {store.url}, {member}"
    except StoreDamaged as exc:
        raise ConfigurationError(exc.message, hint=exc.hint) from exc
    finally:
        store.close()


def _declare_member(broker: Broker, settings: Settings) -> None:
    """Have the own member be as the settings say. Raises ConfigurationError."""
    said = Described(settings.listen, tuple(settings.neighbor.split()), tuple(settings.topics.split()))
    try:
        if settings.member:
            have_member(broker.entities, broker.members, settings.member, said)
        elif said != Described():
            have_described(broker.entities, broker.members, said)
    except (InvalidRequest, NotFound, Conflict) as exc:
        raise ConfigurationError(
            f"the own member cannot be made to match the settings: {exc.message}", hint=exc.hint
        ) from exc


def shipped_definitions() -> list[Category]:
    """The member and message kinds, their mixins and actions, as this version ships them."""
    found: list[Category] = []
    for name in DEFINITIONS:
        text = resources.files("pycmbs").joinpath("definitions", name).read_bytes()
        found += JsonReader().categories(text).categories
    return [bind(one, PROVIDERS[one.identifier]) if isinstance(one, Kind) else one for one in found]


class _NoEngine:
    """While the broker is prepared there is no engine, and nothing needs one."""

    def wake(self) -> None:
        """There is no engine to wake."""

    def call(self, operation: str, parameters: dict[str, object], *, seconds: float) -> dict[str, object]:
        """There is no engine to answer."""
        raise ConfigurationError(f"the engine is not started yet: {operation} {parameters} {seconds}")
