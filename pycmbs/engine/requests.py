"""Requests to members that are answered at once and not retried: introductions, probes, farewells."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from pycmbs.engine.asked import Asked, new_id
from pycmbs.errors import CmbsError, RemoteError, from_dict
from pycmbs.services.federation.seals import Seals
from pycmbs.transport.envelope import REFUSAL, Envelope, encode
from pycmbs.workers import new_thread

log = logging.getLogger(__name__)

_TICK = 0.1
"""Seconds between two looks for questions that were not answered in time, at least."""


Done = Callable[["Envelope | CmbsError", bool], None]


class Sender(Protocol):
    """What of the transports is needed here."""

    def send(self, url: str, data: bytes, *, apart: bool = False, peer: str = "") -> bool:
        """See :class:`~pycmbs.transport.base.Transport`."""

    def forget(self, url: str, *, silent: float = 0.0) -> None:
        """See :class:`~pycmbs.transport.base.Transport`."""

    def refuses(self, url: str) -> bool:
        """See :class:`~pycmbs.transport.base.Transport`."""


SILENT_SECONDS = 10.0
"""How long nothing must have come over a connection before it is given up for a question without an answer: longer than it
takes to make one over a slow way."""
_LONGEST = 30.0
"""Seconds that a question may take, however slow the way is."""
NOT_KNOWN = "it does not know this member: get a line from pycmbs invite there, then run pycmbs join LINE here"
_MOST_LATE = 1000
"""Questions that were not answered in time, and whose answers still tell how long the way takes."""


@dataclass(slots=True)
class _Open:
    """A question that is not answered yet."""

    asked: Asked
    seconds: float
    since: float
    done: Done
    waited: bool = False
    """Whether it had to wait for a connection."""

    @property
    def until(self) -> float:
        return self.since + self.seconds


class Requests:
    """Matches answers to questions by the envelope's id, and takes those that count (see :mod:`pycmbs.engine.asked`)."""

    def __init__(self, transports: Sender, seals: Seals | None = None) -> None:
        """``seals``: what goes through others is sealed with it, where members have keys."""
        self._transports = transports
        self._seals = seals
        self._open: dict[str, _Open] = {}
        self._late: OrderedDict[str, _Open] = OrderedDict()
        self._slow: dict[str, float] = {}
        """Seconds that an answer took, where it took long."""
        self._lock = threading.Lock()
        self._next = math.inf
        """When the next of the open questions is overdue, as far as the thread was told."""
        self._sooner = threading.Event()
        self._closing = False
        self._thread = new_thread("requests", self._time_out, vital=True)

    def start(self) -> None:
        """Begin to notice what is not answered."""
        self._thread.start()

    def close(self) -> None:
        """Stop; what is open stays so."""
        self._closing = True
        self._sooner.set()

    def ask(self, url: str, question: Envelope, seconds: float, *, via: str = "") -> Envelope:
        """Send a question and wait for its answer, longer where the way is known to be slow. ``via`` as for :meth:`begin`.
        Raises RemoteError when there is none in time, or what the other side refused it with."""
        outcome: Future[Envelope | CmbsError] = Future()
        self.begin(url, question, seconds, lambda answer, _waited: outcome.set_result(answer), via=via)
        try:
            answer = outcome.result(self._patience(url, seconds) + 10 * _TICK)
        except FutureTimeoutError:
            answer = self._silence(url, seconds)
        if isinstance(answer, CmbsError):
            raise answer
        return answer

    def begin(
        self,
        url: str,
        question: Envelope,
        seconds: float,
        done: Done,
        *,
        via: str = "",
    ) -> None:
        """Send a question, under an id of its own. ``done`` gets the answer, or the error that stands for it, and whether the
        question had to wait for a connection: once, on any thread. ``via``: the member at ``url`` that passes it on, and
        whose silence it is not, empty where it is asked itself."""
        id = new_id()
        asked = Asked(url, question.to, relayed=bool(via))
        opened = _Open(asked, self._patience(url, seconds), time.monotonic(), done)
        with self._lock:
            self._open[id] = opened
            sooner = opened.until < self._next
            self._next = min(opened.until, self._next)
        if sooner:
            self._sooner.set()
        try:
            question = replace(question, id=id)
            if self._seals is not None and via:
                question = self._seals.closed(question)
            # Apart from messages: health must not depend on how much waits.
            opened.waited = not self._transports.send(url, encode(question), apart=True, peer=via or question.to)
        except CmbsError as exc:
            self._finish(id, exc)

    def answered(self, link: str, envelope: Envelope) -> bool:
        """Take an answer that came over the link to a URL; False when it was not asked there.

        An answer by another member than the one asked does not count: the question has failed, and the link leads astray.
        """
        with self._lock:
            found = self._open.get(envelope.id) or self._late.get(envelope.id)
        if found is None or not found.asked.over(link):
            return False
        self._measured(link, found, time.monotonic() - found.since)
        if not found.asked.of(envelope.sender) and not (found.asked.relayed and envelope.type == REFUSAL):
            if not found.asked.relayed:
                self._transports.forget(link)
            return self._finish(envelope.id, RemoteError(found.asked.stranger(envelope.sender), socket=link))
        return self._finish(
            envelope.id, from_dict(envelope.body.get("error")) if envelope.type == REFUSAL else envelope
        )

    def _finish(self, id: str, answer: Envelope | CmbsError) -> bool:
        with self._lock:
            found, late = self._open.pop(id, None), self._late.pop(id, None)
        if found is not None:
            found.done(answer, found.waited)
        return found is not None or late is not None

    def _patience(self, url: str, seconds: float) -> float:
        """How long an answer from there may take: longer than the last ones took."""
        return max(seconds, min(_LONGEST, 3 * self._slow.get(url, 0.0)))

    def _measured(self, url: str, question: _Open, seconds: float) -> None:
        """An answer came after so long, perhaps too late. Slow ways are remembered until they are not slow any more."""
        with self._lock:
            if 3 * seconds > question.seconds or url in self._slow:
                self._slow[url] = max(seconds, self._slow.get(url, 0.0) / 2)
                if self._slow[url] < _TICK or len(self._slow) > _MOST_LATE:
                    del self._slow[next(iter(self._slow)) if self._slow[url] >= _TICK else url]

    def _time_out(self) -> None:
        while not self._closing:
            try:
                self._turn()
            except Exception:
                log.exception("looking for unanswered requests failed; it goes on")
                time.sleep(_TICK)

    def _turn(self) -> None:
        """Wait until the next question is overdue, or one is asked that will be sooner; then end those that are."""
        pause = self._next - time.monotonic()
        self._sooner.wait(max(_TICK, pause) if pause < math.inf else None)
        self._sooner.clear()
        now = time.monotonic()
        with self._lock:
            late = [id for id, one in self._open.items() if one.until <= now]
            overdue = [self._open.pop(id) for id in late]
            self._late.update(zip(late, overdue, strict=True))
            while len(self._late) > _MOST_LATE:
                self._late.popitem(last=False)
            self._next = min((one.until for one in self._open.values()), default=math.inf)
        for one in overdue:
            try:
                silence = self._silence(one.asked.url, one.seconds)
                if not one.asked.relayed:  # a half-open connection would stay silent for long
                    self._transports.forget(one.asked.url, silent=SILENT_SECONDS)
                one.done(silence, one.waited)
            except Exception:
                log.exception("the caller at %s cannot be told that no answer came", one.asked.url)

    def _silence(self, url: str, seconds: float) -> RemoteError:
        """What it means that nothing was answered."""
        if self._transports.refuses(url):
            return RemoteError(NOT_KNOWN, socket=url)
        return RemoteError(f"no answer from {url} within {seconds:g} s", socket=url)
