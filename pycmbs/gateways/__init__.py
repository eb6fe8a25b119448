"""Gateways: foreign protocols at the edge. Each turns what arrives into operations and hands them to the services.

May import :mod:`pycmbs.services`, :mod:`pycmbs.occi`, :mod:`pycmbs.seams` and :mod:`pycmbs.errors`; never a store, a transport
or the engine.
"""

from __future__ import annotations

from pycmbs.gateways.base import Gateway, Perform
from pycmbs.seams import Seam

GATEWAYS = {"memory": "pycmbs.gateways.memory:MemoryGateway"}
"""The broker's own, by name."""

SEAM: Seam[Gateway] = Seam("gateway", Gateway, GATEWAYS)  # type: ignore[type-abstract] # what it loads is not


def load_gateway(name: str, perform: Perform) -> Gateway:
    """The gateway of this name, not started. Raises ConfigurationError for an unknown name."""
    return SEAM.load(name)(perform)
