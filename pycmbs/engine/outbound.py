"""The outbox thread: sends rows, retries them, applies answers, and sweeps for rows past their deadline.

It is woken by answers, by wake-ups of the fronts, and by the clock; a turn reads what is new, stores what was settled with one
commit, and sends what may be sent. It owns all the state: what is owed is in :mod:`pycmbs.engine.rows`, what is on its way in
:mod:`pycmbs.engine.traffic`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from pycmbs import clock, codec
from pycmbs.engine.answers import bounded
from pycmbs.engine.awaiting import Outcomes
from pycmbs.engine.events import Events
from pycmbs.engine.probes import Probes
from pycmbs.engine.requests import Sender
from pycmbs.engine.rows import Rows
from pycmbs.engine.speaker import said
from pycmbs.engine.traffic import Traffic
from pycmbs.engine.waiters import Waiter
from pycmbs.errors import BadEnvelope, ForgedSender, Unavailable
from pycmbs.runtime import in_turn
from pycmbs.seldom import Seldom
from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.federation.seals import Seals, is_sealed
from pycmbs.services.records.deliveries import Delivery
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import Envelope, decode
from pycmbs.workers import new_thread

log = logging.getLogger(__name__)


class Outbound:
    """What the engine owes to other members."""

    def __init__(
        self,
        outbox: OutboxService,
        transports: Sender,
        answers: Sequence[Callable[[str, Envelope], bool]],
        passed_back: Callable[[str, Envelope], bool],
        probes: Probes,
        *,
        window: int,
        retry_first: float,
        retry_most: float,
        poll: float,
        most: int,
        seals: Seals | None = None,
    ) -> None:
        """``answers``: those who may have asked for an answer that comes in over a link; each tells whether it had.
        ``passed_back``: the one of them that asked for others.
        ``window``: rows under way to one recipient. ``retry_*``, ``poll``: seconds. ``most``: bytes of an outcome.
        ``seals``: what goes through others is sealed with it, where members have keys."""
        self._seals = seals
        self._askers = answers
        self._asked_by_others = passed_back
        self._poll = poll
        self._most = most
        self._events = Events()
        self._bad = Seldom(log)
        self._thread = new_thread("outbound", self._run, vital=True)
        self._closing = False
        self._swept = 0.0
        self._rows = Rows(outbox)
        self._traffic = Traffic(
            self._rows,
            outbox,
            transports,
            probes,
            seals,
            window=window,
            retry_first=retry_first,
            retry_most=retry_most,
        )
        self._outcomes = Outcomes(self._rows.awaiting, outbox, transports, probes, seals)

    # From other threads

    def start(self) -> None:
        """Begin to work; what an earlier engine left unsettled is taken up."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the turn under way. What is unsettled stays in the outbox."""
        self._closing = True
        self.wake()
        self._thread.join(2)

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._events.wake()

    def answer(self, arrival: Arrival) -> None:
        """An answer arrived."""
        self._events.answer(arrival)

    def resume(self, member: str) -> None:
        """A member is reached again, or in another way: what waits for it goes out now."""
        self._events.resume(member)

    def give_up(self, member: str) -> None:
        """A member is no longer trusted: what waits for it has failed."""
        self._events.revoked(member)

    def wait(self, path: str, seconds: float) -> Waiter:
        """A future that is done when no recipient of the message is unsettled, or when the seconds are over."""
        future = self._rows.waiters.add(path, seconds)
        self.wake()
        return future

    # The thread

    def _run(self) -> None:
        while not self._closing:
            try:
                self._turn(self._events.take(self._pause(), self._traffic.resume, self._traffic.give_up))
            except Unavailable as exc:
                log.warning("the outbox is paused: %s", exc)
                time.sleep(self._poll)
            except Exception:
                log.exception("a turn of the outbox failed; it goes on")
                time.sleep(self._poll)

    def _pause(self) -> float:
        now = time.monotonic()
        times = [at - now for one in (self._traffic, self._rows) if (at := one.next_event()) is not None]
        return max(0.0, min([self._poll, *times]))

    def _turn(self, answers: list[Arrival]) -> None:
        for arrival in answers:
            row = self._safely_answered(arrival)
            if row is not None:
                self._rows.put(row)
        self._traffic.time_out()
        self._traffic.refresh(self._rows.store())  # what is to be sent again is not sent before that
        self._sweep()
        self._load()
        with in_turn():  # not before: what was loaded just now was accepted by what was true then
            self._traffic.send()
            self._outcomes.ask(time.monotonic())
        if self._rows.unstored:  # what could not be sent at all
            self.wake()
        self._rows.waiters.release_late()

    def _safely_answered(self, arrival: Arrival) -> Delivery | None:
        """As :meth:`_answered`; None also for an answer that breaks something, so that the others of its turn count. One
        that needs a store that is away is taken once more."""
        try:
            return self._answered(arrival)
        except Unavailable:
            self._events.answer(arrival)
        except Exception:
            log.exception("an answer from %s cannot be processed", arrival.address)
        return None

    def _answered(self, arrival: Arrival) -> Delivery | None:
        """The row that an answer changes, as it is then; None for an answer that changes none."""
        try:
            envelope = decode(arrival.data)
            if self._seals is not None and is_sealed(envelope):
                return self._sealed_answer(arrival, envelope, self._seals)
            envelope = said(arrival.who, envelope, self._seals)
        except (BadEnvelope, ForgedSender) as exc:
            self._bad("an answer from %s is dropped: %s", arrival.address, exc)
            return None
        return self._counted(arrival.address, arrival.data, envelope)

    def _sealed_answer(self, arrival: Arrival, envelope: Envelope, seals: Seals) -> Delivery | None:
        """The same for an answer that came through others: it is passed on to whom it is for, or opened here. Raises
        ForgedSender."""
        if not seals.is_for_me(envelope):
            self._asked_by_others(arrival.address, envelope)
            return None
        opened = seals.opened(envelope)
        if opened.sealed_as != envelope.id:
            raise ForgedSender(f"what {envelope.sender} sealed is an answer to something else", id=envelope.sender)
        return self._counted(arrival.address, codec.dumps(opened.body), opened)

    def _counted(self, link: str, data: bytes, envelope: Envelope) -> Delivery | None:
        """The row that an answer changes, which is of the member that it says it is of."""
        if (body := bounded(envelope.body, data, self._most)) is not envelope.body:
            envelope = replace(envelope, body=body)
        traffic, rows = self._traffic, self._rows
        if traffic.expects(envelope.id):  # first: most are to what is under way
            return traffic.answered(link, envelope)
        if rows.awaiting.expects(envelope.id):
            return rows.awaiting.answered(link, envelope, clock.now())
        if rows.lapsed.expects(envelope.id):
            if (corrected := rows.lapsed.answered(link, envelope, traffic.tried)) is not None:
                traffic.drop(corrected)
            return None
        for answered in self._askers:
            if answered(link, envelope):
                break
        return None  # it changes no row: it was not asked for, is a second one, or for an earlier engine

    def _sweep(self) -> None:
        """Settle what is overdue, in memory or not. Once a poll: deadlines are kept to about a second."""
        if time.monotonic() - self._swept < self._poll:
            return
        self._swept, now = time.monotonic(), clock.now()
        while overdue := self._rows.overdue(now):
            self._rows.conclude([self._traffic.expired(row, now) for row in overdue])
        self._traffic.drop_idle()

    def _load(self) -> None:
        """Read the rows accepted since the last turn, and refill routes that have room again."""
        if self._events.woken:
            self._events.woken = False  # before reading: what comes after that wakes again
            try:
                self._rows.load(self._traffic.admit)
            except BaseException:
                self._events.woken = True
                raise
        self._traffic.refill()
