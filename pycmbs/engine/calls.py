"""Serves calls to the engine, from the control socket or in the same process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from pycmbs.engine.discovery import Discovery
from pycmbs.engine.executor import Executor
from pycmbs.engine.listening import Listening
from pycmbs.engine.outbound import Outbound
from pycmbs.engine.probes import Probes
from pycmbs.errors import EngineUnavailable
from pycmbs.services.engine_link import EngineLink
from pycmbs.workers import Pool

_WALKS = 4

Parameters = dict[str, Any]


class Calls:
    """The operations of the engine, by name. Also an :class:`~pycmbs.services.engine_link.EngineLink`."""

    def __init__(
        self, listening: Listening, outbound: Outbound, executor: Executor, discovery: Discovery, probes: Probes
    ) -> None:
        self._listening = listening
        self._outbound = outbound
        self._discovery = discovery
        self._probes = probes
        # Walks take long: they must not keep the control socket's threads from starting and stopping layers.
        self._walks = Pool("walk", _WALKS)
        self.operations: dict[str, Callable[[Parameters], Any]] = {
            "start": self._start,
            "stop": self._stop,
            "apply_sockets": self._apply_sockets,
            "try": self._try,
            "leave": self._leave,
            "handle": lambda parameters: executor.handle(str(parameters["message"])),
            "discover": lambda _parameters: self._walks.submit(discovery.walk),
            "wait": lambda parameters: outbound.wait(str(parameters["message"]), float(parameters["seconds"])),
        }
        """Each returns its answer, or a future of it."""

    def close(self) -> None:
        """Begin no further walks."""
        self._walks.close()

    def wake(self) -> None:
        """See :class:`~pycmbs.services.engine_link.EngineLink`."""
        self._outbound.wake()

    def call(self, operation: str, parameters: Parameters, *, seconds: float) -> dict[str, Any]:
        """See :class:`~pycmbs.services.engine_link.EngineLink`. Runs in the caller's thread."""
        answer = self.operations[operation](parameters)
        try:
            result: dict[str, Any] = answer.result(seconds) if isinstance(answer, Future) else answer
        except FutureTimeoutError:
            raise EngineUnavailable(f"{operation} is not done within {seconds:g} s") from None
        return result

    def _start(self, parameters: Parameters) -> dict[str, Any]:
        self._listening.start_layers(list(parameters["layers"]))
        return self._announced()

    def _stop(self, parameters: Parameters) -> dict[str, Any]:
        self._listening.stop_layers(list(parameters["layers"]))
        return self._announced()

    def _apply_sockets(self, _parameters: Parameters) -> dict[str, Any]:
        """The own member, or another one, was changed."""
        self._listening.bind_wanted()
        self._probes.reload()
        return self._announced()

    def _announced(self) -> dict[str, Any]:
        """The others are told soon; here it is answered now."""
        self._discovery.announce()
        return self._listening.describe()

    def _try(self, parameters: Parameters) -> dict[str, Any]:
        self._listening.try_sockets(parameters.get("sockets") or ())
        return {}

    def _leave(self, parameters: Parameters) -> dict[str, Any]:
        """The own member was deleted: nothing listens for it any more, and the others are told."""
        self._listening.bind_wanted()
        return self._discovery.leave(
            str(parameters["member"]), int(parameters["version"] or 0), str(parameters["instance"] or "")
        )


class OwnEngine:
    """The :class:`~pycmbs.services.engine_link.EngineLink` of the services in the engine's own process. They are made first,
    and the engine of them: ``engine`` is called once there is something to be asked."""

    def __init__(self, engine: Callable[[], EngineLink]) -> None:
        self._engine = engine

    def wake(self) -> None:
        """See :class:`~pycmbs.services.engine_link.EngineLink`."""
        self._engine().wake()

    def call(self, operation: str, parameters: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """See :class:`~pycmbs.services.engine_link.EngineLink`."""
        return self._engine().call(operation, parameters, seconds=seconds)
