"""The gateway seam: a foreign protocol (mail, Redfish, SLAP …) as a way into the broker.

The contract below is checked for every implementation by ``tests/gateways/contract.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

Perform = Callable[[Any], dict[str, Any]]
"""Performs one operation: :meth:`pycmbs.services.execution.operations.OperationService.perform`. Raises CmbsError."""


class Gateway(ABC):
    """A way into the broker. It knows one protocol, and of the broker only how to perform an operation."""

    def __init__(self, perform: Perform) -> None:
        self.perform = perform

    @abstractmethod
    def start(self) -> None:
        """Begin to take what arrives. Returns once it does. Called once."""

    @abstractmethod
    def stop(self) -> None:
        """Take nothing any more, finish what was taken, and return. Idempotent; must not raise."""
