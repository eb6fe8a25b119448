"""Backends: what a kind does when its entities are created, changed, deleted and acted on.

May import :mod:`pycmbs.occi`, :mod:`pycmbs.store.base` and :mod:`pycmbs.errors`; never a service, a socket or a concrete
store. Those of members and messages are at home with what they do, in :mod:`pycmbs.services`; third parties add theirs by the
entry-point group ``pycmbs.backends`` (name = class).
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from pycmbs.backends.base import Backend, Host
from pycmbs.errors import ConfigurationError

BACKENDS = {
    "cmbs_member": "pycmbs.services.federation.backend:MemberBackend",
    "cmbs_message": "pycmbs.services.delivery.backend:MessageBackend",
    "dummy": "pycmbs.backends.dummy:DummyBackend",
}
"""The broker's own, by name."""

GROUP = "pycmbs.backends"


def load_backends(host: Host) -> dict[str, Backend]:
    """One of every backend there is, by name. Raises ConfigurationError naming the one that cannot be loaded."""
    targets = {entry.name: entry.value for entry in entry_points(group=GROUP)} | BACKENDS
    backends = {}
    for name, target in targets.items():
        module, _, attribute = target.partition(":")
        try:
            backend = getattr(importlib.import_module(module), attribute)(host)
            if not isinstance(backend, Backend):
                raise TypeError(f"{attribute} makes no Backend")
            backends[name] = backend
        except Exception as exc:
            raise ConfigurationError(f"the backend {name!r} ({target}) cannot be loaded: {exc}") from exc
    return backends
