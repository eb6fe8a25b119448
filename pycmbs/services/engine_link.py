"""Interface by which services call the engine."""

from __future__ import annotations

from typing import Any, Protocol


class EngineLink(Protocol):
    """The engine, from wherever it is called: over a local socket in a front process, directly in the engine's own."""

    def wake(self) -> None:
        """Tell that there is something new in the outbox. Never blocks and never fails: a lost wake-up costs a poll."""

    def call(self, operation: str, parameters: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """Have the engine do something and return its answer.

        Raises what the engine raised, or EngineUnavailable when there is no answer within ``seconds``."""
