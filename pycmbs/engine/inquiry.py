"""Questions to other members that are answered at once or not at all: introductions, probes, farewells."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from pycmbs.engine.asked import Asked, new_id
from pycmbs.errors import CmbsError, RemoteError, from_dict
from pycmbs.runtime import new_thread
from pycmbs.transport.envelope import REFUSAL, Envelope, encode

log = logging.getLogger(__name__)

_TICK = 0.1
"""Seconds between two looks for questions that were not answered in time, at least."""


class Sender(Protocol):
    """What of the transports is needed here."""

    def send(self, url: str, data: bytes) -> None:
        """See :class:`~pycmbs.transport.base.Transport`."""

    def forget(self, url: str) -> None:
        """See :class:`~pycmbs.transport.base.Transport`."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A question that is not answered yet."""

    asked: Asked
    seconds: float
    until: float
    done: Callable[[Envelope | CmbsError], None]


class Inquiries:
    """Matches answers to questions by the envelope's id, and takes those that count (see :mod:`pycmbs.engine.asked`)."""

    def __init__(self, transports: Sender) -> None:
        self._transports = transports
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()
        self._next = math.inf
        """When the next of the open questions is overdue, as far as the thread was told."""
        self._sooner = threading.Event()
        self._closing = False
        self._thread = new_thread("inquiries", self._time_out, vital=True)

    def start(self) -> None:
        """Begin to notice what is not answered."""
        self._thread.start()

    def close(self) -> None:
        """Stop; what is open stays so."""
        self._closing = True
        self._sooner.set()

    def ask(self, url: str, question: Envelope, seconds: float) -> Envelope:
        """Send a question and wait for its answer. Raises RemoteError when there is none in time, or what the other side
        refused it with."""
        outcome: Future[Envelope | CmbsError] = Future()
        self.begin(url, question, seconds, outcome.set_result)
        try:
            answer = outcome.result(seconds + 10 * _TICK)
        except FutureTimeoutError:
            answer = _silence(url, seconds)
        if isinstance(answer, CmbsError):
            raise answer
        return answer

    def begin(
        self,
        url: str,
        question: Envelope,
        seconds: float,
        done: Callable[[Envelope | CmbsError], None],
        *,
        direct: bool = True,
    ) -> None:
        """Send a question, under an id of its own. ``done`` gets the answer, or the error that stands for it: once, on any
        thread. ``direct``: whether silence is that of the one at ``url``, and not of somebody behind it."""
        id = new_id()
        asked = Asked(url, question.to, relayed=not direct)
        until = time.monotonic() + seconds
        with self._lock:
            self._open[id] = _Open(asked, seconds, until, done)
            sooner = until < self._next
            self._next = min(until, self._next)
        if sooner:
            self._sooner.set()
        try:
            self._transports.send(url, encode(replace(question, id=id)))
        except CmbsError as exc:
            self._finish(id, exc)

    def answered(self, link: str, envelope: Envelope) -> bool:
        """Take an answer that came over the link to a URL; False when nobody here asked that there.

        An answer by another member than the one that was asked is none: the question has failed, and the link leads astray.
        """
        with self._lock:
            found = self._open.get(envelope.id)
        if found is None or not found.asked.over(link):
            return False
        if not found.asked.of(envelope.sender) and not (found.asked.relayed and envelope.type == REFUSAL):
            if not found.asked.relayed:
                self._transports.forget(link)
            return self._finish(envelope.id, RemoteError(found.asked.stranger(envelope.sender), socket=link))
        return self._finish(
            envelope.id, from_dict(envelope.body.get("error")) if envelope.type == REFUSAL else envelope
        )

    def _finish(self, id: str, answer: Envelope | CmbsError) -> bool:
        with self._lock:
            found = self._open.pop(id, None)
        if found is not None:
            found.done(answer)
        return found is not None

    def _time_out(self) -> None:
        while not self._closing:
            try:
                self._turn()
            except Exception:
                log.exception("looking for what is not answered failed; it goes on")
                time.sleep(_TICK)

    def _turn(self) -> None:
        """Wait until the next question is overdue, or one is asked that will be sooner; then end those that are."""
        pause = self._next - time.monotonic()
        self._sooner.wait(max(_TICK, pause) if pause < math.inf else None)
        self._sooner.clear()
        now = time.monotonic()
        with self._lock:
            late = [id for id, one in self._open.items() if one.until <= now]
            overdue = [(self._open.pop(id)) for id in late]
            self._next = min((one.until for one in self._open.values()), default=math.inf)
        for one in overdue:
            try:
                if not one.asked.relayed:
                    self._transports.forget(one.asked.url)  # a half-open connection would stay silent for ever
                one.done(_silence(one.asked.url, one.seconds))
            except Exception:
                log.exception("whoever asked at %s cannot be told of the silence", one.asked.url)


def _silence(url: str, seconds: float) -> RemoteError:
    return RemoteError(f"no answer from {url} within {seconds:g} s", socket=url)
