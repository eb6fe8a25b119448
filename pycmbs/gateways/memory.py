"""In-process gateway for embedding, and the reference for other gateways."""

from __future__ import annotations

from typing import Any

from pycmbs.errors import Unavailable
from pycmbs.gateways.base import Gateway, Perform


class MemoryGateway(Gateway):
    """See :class:`~pycmbs.gateways.base.Gateway`."""

    def __init__(self, perform: Perform) -> None:
        super().__init__(perform)
        self._open = False

    def start(self) -> None:
        """See :class:`~pycmbs.gateways.base.Gateway`."""
        self._open = True

    def stop(self) -> None:
        """See :class:`~pycmbs.gateways.base.Gateway`."""
        self._open = False

    def submit(self, operation: Any) -> dict[str, Any]:
        """Perform an operation; returns what came of it. Raises Unavailable when the gateway is not started, and whatever
        the operation raises."""
        if not self._open:
            raise Unavailable("the gateway is not started")
        return self.perform(operation)
