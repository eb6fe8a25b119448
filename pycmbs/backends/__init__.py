"""Backends: what a kind does when its entities are created, changed, deleted and acted on.

May import :mod:`pycmbs.occi`, :mod:`pycmbs.store.base`, :mod:`pycmbs.seams` and :mod:`pycmbs.errors`; never a service, a
socket or a concrete store. Those of members and messages are at home with what they do, in :mod:`pycmbs.services`; third
parties add theirs by the entry-point group ``pycmbs.backends`` (name = class).
"""

from __future__ import annotations

from pycmbs.backends.base import Backend, Host
from pycmbs.seams import Seam

BACKENDS = {
    "cmbs_member": "pycmbs.services.federation.backend:MemberBackend",
    "cmbs_message": "pycmbs.services.delivery.backend:MessageBackend",
    "dummy": "pycmbs.backends.dummy:DummyBackend",
}
"""The broker's own, by name."""

GROUP = "pycmbs.backends"
SEAM = Seam("backend", Backend, BACKENDS, GROUP)


def load_backends(host: Host) -> dict[str, Backend]:
    """One of every backend there is, by name. Raises ConfigurationError naming the one that cannot be loaded."""
    backends = {}
    for name in SEAM.names():
        found = SEAM.load(name)
        try:
            backends[name] = found(host)
        except Exception as exc:
            raise SEAM.unusable(name, exc) from exc
    return backends
