"""Questions to other members that are answered at once or not at all: introductions."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Protocol

from pycmbs.errors import RemoteError, from_dict
from pycmbs.transport.envelope import REFUSAL, Envelope, encode


class Sender(Protocol):
    """What of the transports is needed here."""

    def send(self, url: str, data: bytes) -> None:
        """See :class:`~pycmbs.transport.base.Transport`."""

    def forget(self, url: str) -> None:
        """See :class:`~pycmbs.transport.base.Transport`."""


class Inquiries:
    """Matches answers to questions by the envelope's id."""

    def __init__(self, transports: Sender) -> None:
        self._transports = transports
        self._waiting: dict[str, Future[Envelope]] = {}
        self._lock = threading.Lock()

    def ask(self, url: str, type: str, sender: str, body: dict[str, Any], seconds: float) -> Envelope:
        """Send a question and wait for its answer. Raises RemoteError when there is none in time, or what the other side
        refused it with."""
        id = uuid.uuid4().hex
        answer: Future[Envelope] = Future()
        with self._lock:
            self._waiting[id] = answer
        try:
            self._transports.send(url, encode(Envelope(type, id, sender, body)))
            envelope = answer.result(seconds)
        except FutureTimeoutError:
            self._transports.forget(url)  # a half-open connection would stay silent for ever
            raise RemoteError(f"no answer from {url} within {seconds:g} s", socket=url) from None
        finally:
            with self._lock:
                del self._waiting[id]
        if envelope.type == REFUSAL:
            raise from_dict(envelope.body.get("error"))
        return envelope

    def answered(self, envelope: Envelope) -> bool:
        """Take an answer; False when nobody here asked."""
        with self._lock:
            waiting = self._waiting.get(envelope.id)
            if waiting is None or waiting.done():
                return waiting is not None
            waiting.set_result(envelope)
        return True
