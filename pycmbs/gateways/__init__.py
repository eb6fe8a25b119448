"""Gateways: foreign protocols at the edge. Each turns what arrives into operations and hands them to the services.

May import :mod:`pycmbs.services`, :mod:`pycmbs.occi` and :mod:`pycmbs.errors`; never a store, a transport or the engine.
"""

from __future__ import annotations

import importlib
from typing import cast

from pycmbs.errors import ConfigurationError
from pycmbs.gateways.base import Gateway, Perform

GATEWAYS = {"memory": "pycmbs.gateways.memory:MemoryGateway"}
"""The implementations, by name."""


def load_gateway(name: str, perform: Perform) -> Gateway:
    """The gateway of this name, not started. Raises ConfigurationError for an unknown name."""
    target = GATEWAYS.get(name)
    if target is None:
        raise ConfigurationError(f"there is no gateway {name!r}; there is {', '.join(sorted(GATEWAYS))}", gateway=name)
    module, _, attribute = target.partition(":")
    return cast(Gateway, getattr(importlib.import_module(module), attribute)(perform))
