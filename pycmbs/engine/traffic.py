"""Sends delivery rows: routes, what is in flight, retries.

What is owed comes from :class:`~pycmbs.engine.rows.Rows`, and what became of it goes back there. Its state belongs to the
thread of the outbox.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from msgspec.structs import replace

from pycmbs import clock
from pycmbs.engine.answers import acknowledged, gone, refused
from pycmbs.engine.asked import Asked, new_id
from pycmbs.engine.body_cache import BodyCache
from pycmbs.engine.probes import Probes
from pycmbs.engine.requests import SILENT_SECONDS, Sender
from pycmbs.engine.route import Flight, Route
from pycmbs.engine.rows import Rows
from pycmbs.engine.settling import Settled
from pycmbs.errors import (
    ClaimedId,
    CmbsError,
    Departed,
    ForgedSender,
    InvalidAddress,
    NoLocalMember,
    TooLarge,
    from_dict,
)
from pycmbs.metrics.table import ATTEMPTS, RETRIES
from pycmbs.seldom import Seldom
from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.federation.seals import Seals
from pycmbs.services.records.deliveries import FAILED, Delivery
from pycmbs.transport.envelope import ACK, MESSAGE, OUTCOME, REFUSAL, Envelope, encode

log = logging.getLogger(__name__)


class Traffic:
    """The rows in memory by their routes, and which of them are under way."""

    def __init__(
        self,
        rows: Rows,
        outbox: OutboxService,
        transports: Sender,
        probes: Probes,
        seals: Seals | None,
        *,
        window: int,
        retry_first: float,
        retry_most: float,
    ) -> None:
        """``window``: rows under way to one recipient. ``retry_*``: seconds."""
        self._rows = rows
        self._outbox = outbox
        self._transports = transports
        self._probes = probes
        self._seals = seals
        self._window, self._first, self._most = window, retry_first, retry_most
        self._bad = Seldom(log)
        self._body_cache = BodyCache(outbox)
        self._routes: dict[str, Route] = {}
        self._flights: dict[str, Route] = {}

    # Rows that come and go

    def admit(self, row: Delivery) -> None:
        """Take in a row that is to be sent."""
        route = self._routes.get(row.route)
        if route is None:
            route = self._routes[row.route] = Route(self._window, self._first, self._most, row.member)
        route.admit_late(row)

    def refill(self) -> None:
        """Read more of the rows of routes that have room again. Raises Unavailable."""
        for name, route in self._routes.items():
            if route.more and route.room:
                route.refill(self._rows.pending(name, route.cursor, route.room))

    def refresh(self, settled: Settled) -> None:
        """Rows were stored. Another process may have settled one, so that there is nothing to be sent."""
        for row, stored in settled:
            route = self._routes.get(row.route)
            if row.open and route is not None:
                route.refresh([stored if stored is not None and stored.open else None], {row.id})

    def expired(self, row: Delivery, now: float) -> Delivery:
        """An overdue row in its final state, with what was tried so far; it is not sent any more."""
        if not row.awaiting_outcome and (flight := self.drop(row)) is not None:
            row = flight.tried
        return self._rows.expired(row, now)

    def drop(self, row: Delivery) -> Flight | None:
        """Stop sending a row; returns its flight if it was under way, whose answer will be a late one."""
        route = self._routes.get(row.route)
        flight = route.drop(row.id) if route is not None else None
        if flight is not None:
            del self._flights[flight.id]
            self._rows.lapsed.add(flight.id, row.id, flight.asked)
        return flight

    def drop_idle(self) -> None:
        """Forget routes on which there is nothing."""
        for name in [name for name, route in self._routes.items() if route.idle]:
            del self._routes[name]

    def tried(self, row: Delivery) -> Delivery:
        """A row as it is stored, with the attempt under way."""
        route = self._routes.get(row.route)
        return row if route is None else route.tried(row)

    # When

    def resume(self, member: str) -> None:
        """A member is reached again, or in another way: what waits for it may be sent now."""
        for route in self._routes.values():
            if route.member == member and not route.flights:
                route.resume, route.url = 0.0, ""

    def give_up(self, member: str) -> None:
        """A member is no longer trusted: what is under way to it goes back, and all that waits for it is looked at now."""
        for route in self._routes.values():
            if route.member == member:
                if route.flights:
                    self._fail(route, f"{member} is no longer trusted", alive=True)
                route.resume, route.url = 0.0, ""

    def next_event(self) -> float | None:
        """When a pause is over, or an answer is overdue."""
        return min((at for route in self._routes.values() if (at := route.next_event()) is not None), default=None)

    def time_out(self) -> None:
        """Take back what was not answered in time."""
        now = time.monotonic()
        for route in list(self._routes.values()):
            oldest = route.over(now, self._probes.answering, self._probes.look)
            if oldest is not None:
                self._fail(route, f"no answer from {route.where}; does its member listen on {oldest.row.layer}?")

    # Answers

    def expects(self, envelope: str) -> bool:
        """Whether an envelope is under way."""
        return envelope in self._flights

    def answered(self, link: str, envelope: Envelope) -> Delivery | None:
        """The row that was under way and is answered over a link; None for a refusal that another try may help, and for an
        answer that does not count."""
        route = self._flights[envelope.id]
        asked = route.flights[envelope.id].asked
        if envelope.type not in (ACK, OUTCOME, REFUSAL):
            return None
        if not asked.over(link):
            self._bad("what was asked at %s was answered over the link to %s: dropped", asked.url, link)
            return None
        if not asked.of(envelope.sender):
            self._strayed(route, asked, envelope)
            return None
        if envelope.type == REFUSAL and not envelope.body.get("final"):
            self._refused(route, envelope)
            return None
        return self._landed(route, envelope)

    def _landed(self, route: Route, envelope: Envelope) -> Delivery | None:
        """The row as an answer leaves it that counts and is final."""
        del self._flights[envelope.id]
        if route.failures:
            log.info("%s answers again", route.url)
        flight = route.answered(envelope.id, time.monotonic())
        if flight is None:
            return None
        if flight.row.member and not route.via:
            self._probes.heard(flight.row.member)
        if envelope.type == REFUSAL:
            return refused(flight.tried, envelope.body, clock.now())
        row = acknowledged(flight.tried, envelope.body, clock.now())
        if row.awaiting_outcome:
            self._rows.awaiting.add(row, time.monotonic(), envelope.id, flight.asked)
        return row

    def _refused(self, route: Route, envelope: Envelope) -> None:
        """The recipient refuses for now: perhaps for what was said of the own member, so that is sent again."""
        error = from_dict(envelope.body.get("error"))
        self._outbox.refused(error)
        self._body_cache.forget(route.flights[envelope.id].row)
        self._fail(route, error.line, alive=True, vain=envelope.id)

    def _strayed(self, route: Route, asked: Asked, envelope: Envelope) -> None:
        """Another member answered: the one that was to pass it on, which cannot, or the one that has the address now."""
        if asked.relayed and envelope.type == REFUSAL:
            self._fail(route, from_dict(envelope.body.get("error")).line, alive=True, vain=envelope.id)
        else:
            self._transports.forget(asked.url)
            self._fail(route, asked.stranger(envelope.sender))

    def _fail(
        self, route: Route, reason: str, *, alive: bool = False, vain: str = "", waiting: Delivery | None = None
    ) -> None:
        """Everything under way on the route goes back, and the ledger says so; of the one that is ``waiting``, too. ``vain``:
        the envelope that is known to have come to nothing."""
        of_no_use = route.flights[vain].row.id if vain in route.flights else ""
        for id, flight in route.flights.items():
            self._flights.pop(id, None)
            self._rows.lapsed.add(id, flight.row.id, flight.asked)
        back = route.failed(time.monotonic(), reason)
        if route.failures == 1:
            log.info("deliveries to %s are paused: %s", route.url, reason)
        if not alive:
            self._probes.look(route.member)
            if route.url and not route.via:  # another layer may share the connection of one that answers
                self._transports.forget(route.url, silent=SILENT_SECONDS)
        route.url = ""
        if waiting is not None and waiting.reason != reason:
            back.append(waiting.moved(0.0, waiting.state, reason))
        for row in back:
            known = replace(row, updated=clock.now(), vain=row.vain + (row.id == of_no_use))
            route.refresh([known], {row.id})
            self._rows.put(known)

    # Sending

    def send(self) -> None:
        """Send what every route allows. Raises Unavailable."""
        for route in list(self._routes.values()):
            for _ in range(route.sendable(time.monotonic())):
                if not self._send_one(route):
                    break

    def _send_one(self, route: Route) -> bool:
        """Send the row that is first; False when the route has to pause."""
        row = route.queue[0]  # it stays there until all is read: the store may fail
        if row.deadline <= clock.now():
            self._rows.put(self.expired(row, clock.now()))
            return True
        id = new_id()
        try:
            body = self._body_cache.of(row)
            if not route.url or self._outbox.contested(row):
                self._find_way(route, row)
            data = self._datagram(route, row, body, id) if body is not None else None
        except (NoLocalMember, ClaimedId, ForgedSender) as exc:
            self._fail(route, exc.line, waiting=row)
            return False
        except Departed as exc:  # trying again cannot help
            route.queue.popleft()
            self._rows.put(gone(row, exc, clock.now()))
            return True
        route.queue.popleft()
        if data is None:
            self._rows.set_aside(row)
            return True
        asked = Asked(route.url, row.member, relayed=bool(route.via))
        life = self._probes.answering(row.member)[1]
        route.flights[id] = Flight(row, id, time.monotonic(), asked, len(data), life, clock.now(), route.via)
        self._flights[id] = route
        try:
            self._transports.send(route.url, data, peer=route.via or row.member)
        except (InvalidAddress, TooLarge) as exc:  # trying again cannot help
            del self._flights[id]
            self._rows.put(route.flights.pop(id).tried.settled(FAILED, clock.now(), exc.line))
        except CmbsError as exc:
            self._fail(route, exc.message, vain=id)
            return False
        ATTEMPTS.count(row.layer)
        if row.attempts:
            RETRIES.count(row.layer)
        return True

    def _datagram(self, route: Route, row: Delivery, body: dict[str, Any], id: str) -> bytes:
        """What goes out, sealed where others pass it on. Raises ForgedSender for a recipient that is no longer trusted."""
        # The member that the body speaks for: who it is now may not have reached the engine yet.
        sender = body["message"]["attributes"]["cmbs"]["message"]["origin"]
        body = {**body, "deadline": round(row.deadline - clock.now(), 3)}
        envelope = Envelope(MESSAGE, id, sender, body, to=row.member)
        return encode(self._seals.closed(envelope) if self._seals is not None and route.via else envelope)

    def _find_way(self, route: Route, row: Delivery) -> None:
        """Where to send what is for this route: to the member, or to one that passes it on. Raises Departed."""
        address = self._outbox.address(row)
        route.round_trip = self._probes.round_trip(row.member)
        way = self._probes.way(row.member, row.layer) if row.member else None
        route.url, route.via = (way.url, way.via) if way is not None and way.via else (address, "")
