"""Federations under faults, in seeded rounds: ``make chaos``, and some rounds in ``make test``."""

from tests.chaos.proxy import Faults, Proxy

__all__ = ["Faults", "Proxy"]
