"""The outbox at work: rows are sent, sent again, settled by answers, and expire.

One thread owns all the state here. It is woken by answers, by wake-ups of the fronts, and by the clock; a turn reads what is
new, stores what was settled with one commit, and sends what may be sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from pycmbs import clock
from pycmbs.engine.accepted import AcceptedRows
from pycmbs.engine.answers import acknowledged, bounded, gone, refused
from pycmbs.engine.asked import Asked, new_id
from pycmbs.engine.awaiting import Awaiting
from pycmbs.engine.bodies import Bodies
from pycmbs.engine.events import Events
from pycmbs.engine.inquiry import SILENT_SECONDS, Sender
from pycmbs.engine.lapsed import Lapsed
from pycmbs.engine.orphans import Orphans
from pycmbs.engine.outcomes import Outcomes
from pycmbs.engine.probes import Probes
from pycmbs.engine.route import Flight, Route
from pycmbs.engine.settling import Settling
from pycmbs.engine.waiters import Waiter, Waiters
from pycmbs.errors import (
    BadEnvelope,
    ClaimedId,
    CmbsError,
    Departed,
    InvalidAddress,
    NoLocalMember,
    TooLarge,
    Unavailable,
    from_dict,
)
from pycmbs.runtime import in_turn, new_thread
from pycmbs.seldom import Seldom
from pycmbs.services.delivery.outbox import OutboxService
from pycmbs.services.records.deliveries import FAILED, Delivery
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import ACK, MESSAGE, OUTCOME, REFUSAL, Envelope, decode, encode

log = logging.getLogger(__name__)

_PAGE = 500


class Outbound:
    """What the engine owes to other members."""

    def __init__(
        self,
        outbox: OutboxService,
        transports: Sender,
        answers: Sequence[Callable[[str, Envelope], bool]],
        probes: Probes,
        *,
        window: int,
        retry_first: float,
        retry_most: float,
        poll: float,
        most: int,
    ) -> None:
        """``answers``: those who may have asked for an answer that comes in over a link; each tells whether it had.
        ``window``: rows under way to one recipient. ``retry_*``, ``poll``: seconds. ``most``: bytes of an outcome."""
        self._outbox = outbox
        self._transports = transports
        self._askers = answers
        self._probes = probes
        self._make_route: Callable[[str], Route] = lambda member: Route(window, retry_first, retry_most, member)
        self._poll = poll
        self._most = most
        self._events = Events()
        self._bad = Seldom(log)
        self._thread = new_thread("outbound", self._run, vital=True)
        self._closing = False
        self._routes: dict[str, Route] = {}
        self._flights: dict[str, Route] = {}
        self._accepted = AcceptedRows(outbox)
        self._orphans = Orphans(outbox)
        self._swept = 0.0
        self._awaiting = Awaiting()
        self._lapsed = Lapsed(outbox, self._awaiting)
        self._outcomes = Outcomes(self._awaiting, outbox, transports, probes)
        self._bodies = Bodies(outbox)
        self._waiters = Waiters()
        self._settling = Settling(outbox, self._awaiting, self._waiters)

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

    def wait(self, path: str, seconds: float) -> Waiter:
        """A future that is done when no recipient of the message is unsettled, or when the seconds are over."""
        future = self._waiters.add(path, seconds)
        self.wake()
        return future

    # The thread

    def _run(self) -> None:
        while not self._closing:
            try:
                self._turn(self._events.take(self._pause(), self._resumed))
            except Unavailable as exc:
                log.warning("the outbox rests: %s", exc)
                time.sleep(self._poll)
            except Exception:
                log.exception("a turn of the outbox failed; it goes on")
                time.sleep(self._poll)

    def _resumed(self, member: str) -> None:
        for route in self._routes.values():
            if route.member == member and not route.flights:
                route.resume, route.url = 0.0, ""

    def _pause(self) -> float:
        now = time.monotonic()
        times = [at for route in self._routes.values() if (at := route.next_event()) is not None]
        times += [at for one in (self._waiters, self._awaiting) if (at := one.next_event()) is not None]
        return max(0.0, min([self._poll, *(at - now for at in times)]))

    def _turn(self, answers: list[Arrival]) -> None:
        for arrival in answers:
            row = self._safely_answered(arrival)
            if row is not None:
                self._settling.put(row)
        self._time_out()
        self._store()
        self._sweep()
        self._load()
        with in_turn():  # not before: what was loaded just now was accepted by what was true then
            self._send()
            self._outcomes.ask(time.monotonic())
        if self._settling:  # what could not be sent at all
            self.wake()
        self._waiters.release_late()

    def _safely_answered(self, arrival: Arrival) -> Delivery | None:
        """As :meth:`_answered`; None also for an answer that breaks something, so that the others of its turn count. One
        that needs a store that is away is taken once more."""
        try:
            return self._answered(arrival)
        except Unavailable:
            self._events.answer(arrival)
        except Exception:
            log.exception("an answer from %s cannot be taken in", arrival.address)
        return None

    def _store(self) -> None:
        """Have the ledger say what is known. What is to be sent again is not sent before that."""
        for row, stored in self._settling.store():
            route = self._routes.get(row.route)
            if row.open and route is not None:
                # Somebody else may know more of a row, and that there is nothing to be sent.
                route.refresh([stored if stored is not None and stored.open else None], {row.id})

    def _answered(self, arrival: Arrival) -> Delivery | None:
        """The row that an answer changes, as it is then; None for an answer that changes none."""
        try:
            envelope = decode(arrival.data)
        except BadEnvelope as exc:
            self._bad("an answer from %s is dropped: %s", arrival.address, exc)
            return None
        if (body := bounded(envelope.body, arrival.data, self._most)) is not envelope.body:
            envelope = replace(envelope, body=body)
        route = self._flights.get(envelope.id)  # first: most are to what is under way
        if route is not None:
            return self._landed(route, arrival.address, envelope) if envelope.type in (ACK, OUTCOME, REFUSAL) else None
        if self._awaiting.expects(envelope.id):
            return self._awaiting.answered(arrival.address, envelope, clock.now())
        if self._lapsed.expects(envelope.id):
            if (corrected := self._lapsed.answered(arrival.address, envelope, self._tried)) is not None:
                self._drop(corrected)
            return None
        for answered in self._askers:
            if answered(arrival.address, envelope):
                break
        return None  # it changes no row: if nobody asked for it, it is a second one, or for an earlier engine

    def _tried(self, row: Delivery) -> Delivery:
        """A row as it is stored, with the attempt under way."""
        route = self._routes.get(row.route)
        return row if route is None else route.tried(row)

    def _drop(self, row: Delivery) -> Flight | None:
        """Send a row no more; returns its flight if it was under way, whose answer will be a late one."""
        route = self._routes.get(row.route)
        flight = route.drop(row.id) if route is not None else None
        if flight is not None:
            del self._flights[flight.id]
            self._lapsed.add(flight.id, row.id, flight.asked)
        return flight

    def _landed(self, route: Route, link: str, envelope: Envelope) -> Delivery | None:
        """The row that was under way on a route and is answered over a link; None for a refusal that another try may help, and
        for an answer that does not count."""
        asked = route.flights[envelope.id].asked
        if not asked.over(link):
            self._bad("what was asked at %s was answered over the link to %s: dropped", asked.url, link)
            return None
        if not asked.of(envelope.sender):
            self._strayed(route, asked, envelope)
            return None
        if envelope.type == REFUSAL and not envelope.body.get("final"):
            self._refused(route, envelope)
            return None
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
        if row.awaits:
            self._awaiting.add(row, time.monotonic(), envelope.id, flight.asked)
        return row

    def _refused(self, route: Route, envelope: Envelope) -> None:
        """The recipient refuses for now: perhaps for what was said of the own member, so that is said anew."""
        error = from_dict(envelope.body.get("error"))
        self._outbox.refused(error)
        self._bodies.forget(route.flights[envelope.id].row)
        self._fail(route, error.line, alive=True, vain=envelope.id)

    def _strayed(self, route: Route, asked: Asked, envelope: Envelope) -> None:
        """Somebody answered who is not meant: the one that was to pass it on, which cannot, or whoever has the address now."""
        if asked.relayed and envelope.type == REFUSAL:
            self._fail(route, from_dict(envelope.body.get("error")).line, alive=True, vain=envelope.id)
        else:
            self._transports.forget(asked.url)
            self._fail(route, asked.stranger(envelope.sender))

    def _time_out(self) -> None:
        now = time.monotonic()
        for route in list(self._routes.values()):
            oldest = route.over(now, self._probes.answering, self._probes.look)
            if oldest is None:
                continue
            self._fail(route, f"no answer from {route.where}; does its member listen on {oldest.row.layer}?")

    def _fail(
        self, route: Route, reason: str, *, alive: bool = False, vain: str = "", waiting: Delivery | None = None
    ) -> None:
        """Everything under way on the route goes back, and the ledger says so; of the one that is ``waiting``, too. ``vain``:
        the envelope that is known to have come to nothing."""
        of_no_use = route.flights[vain].row.id if vain in route.flights else ""
        for id, flight in route.flights.items():
            self._flights.pop(id, None)
            self._lapsed.add(id, flight.row.id, flight.asked)
        back = route.failed(time.monotonic(), reason)
        if route.failures == 1:
            log.info("what is for %s waits: %s", route.url, reason)
        if not alive:
            self._probes.look(route.member)
            if route.url and not route.via:  # another layer may share the connection of one that answers
                self._transports.forget(route.url, silent=SILENT_SECONDS)
        route.url = ""
        if waiting is not None and waiting.reason != reason:
            back.append(replace(waiting, reason=reason))
        for row in back:
            known = replace(row, updated=clock.now(), vain=row.vain + (row.id == of_no_use))
            route.refresh([known], {row.id})
            self._settling.put(known)

    def _sweep(self) -> None:
        """Settle what is overdue, in memory or not. Once a poll: deadlines are kept to about a second."""
        if time.monotonic() - self._swept < self._poll:
            return
        self._swept, now = time.monotonic(), clock.now()
        while overdue := self._outbox.overdue(now, _PAGE):
            settled, concluded = self._outbox.settle([self._expired(row, now) for row in overdue])
            self._waiters.release(concluded)
            self._orphans.note_among([row for row in settled if row is not None], time.monotonic())
        for name in [name for name, route in self._routes.items() if route.idle]:
            del self._routes[name]

    def _expired(self, row: Delivery, now: float) -> Delivery:
        """An overdue row in its final state, with what was tried so far; it is not sent any more."""
        if row.awaits:
            for id, asked in self._awaiting.drop(row.id).items():
                self._lapsed.add(id, row.id, asked)
            return replace(row, awaits=False, updated=now, reason="no outcome came before the deadline")
        flight = self._drop(row)
        row = row if flight is None else flight.tried
        return row.given_up(now, inherited=row.number <= self._accepted.inherited)

    def _admit(self, row: Delivery) -> None:
        if row.awaits:
            self._awaiting.add(row, time.monotonic())
            return
        self._routes.setdefault(row.route, self._make_route(row.member)).admit_late(row)

    def _load(self) -> None:
        """Read the rows accepted since the last turn, and refill routes that have room again."""
        if self._events.woken:
            self._events.woken = False  # before reading: what comes after that wakes again
            try:
                self._load_new()
                for row in self._orphans.look(time.monotonic()):
                    if row.unsettled:
                        self._admit(row)
            except BaseException:
                self._events.woken = True
                raise
        for name, route in self._routes.items():
            if route.more and route.room:
                route.refill(self._outbox.pending(after=route.cursor, limit=route.room, route=name))

    def _load_new(self) -> None:
        loaded: set[str] = set()
        for rows in self._accepted.pages():
            for row in rows:
                self._admit(row)
            loaded.update(row.message for row in rows)
        self._waiters.begin(loaded, self._outbox.unsettled)

    def _send(self) -> None:
        for route in list(self._routes.values()):
            for _ in range(route.sendable(time.monotonic())):
                if not self._send_one(route):
                    break

    def _send_one(self, route: Route) -> bool:
        """Send the row that is first; False when the route has to pause."""
        row = route.queue[0]  # it stays there until all is read: the store may fail
        if row.deadline <= clock.now():
            self._settling.put(self._expired(row, clock.now()))
            return True
        try:
            body = self._bodies.of(row)
            if not route.url or self._outbox.claimed(row):
                self._find_way(route, row)
        except (NoLocalMember, ClaimedId) as exc:
            self._fail(route, exc.line, waiting=row)
            return False
        except Departed as exc:  # trying again cannot help
            route.queue.popleft()
            self._settling.put(gone(row, exc.line, clock.now()))
            return True
        route.queue.popleft()
        if body is None:
            self._orphans.note(row, time.monotonic())
            return True
        id, asked = new_id(), Asked(route.url, row.member, relayed=bool(route.via))
        # The member that the body speaks for: who it is now may not have reached the engine yet.
        sender = body["description"]["id"]
        body = {**body, "deadline": round(row.deadline - clock.now(), 3)}
        data = encode(Envelope(MESSAGE, id, sender, body, to=row.member))
        life = self._probes.answering(row.member)[1]
        route.flights[id] = Flight(row, id, time.monotonic(), asked, len(data), life)
        self._flights[id] = route
        try:
            self._transports.send(route.url, data)
        except (InvalidAddress, TooLarge) as exc:  # trying again cannot help
            del self._flights[id]
            self._settling.put(route.flights.pop(id).tried.settled(FAILED, clock.now(), exc.line))
        except CmbsError as exc:
            self._fail(route, exc.message, vain=id)
            return False
        return True

    def _find_way(self, route: Route, row: Delivery) -> None:
        """Where to send what is for this route: to the member, or to one that passes it on. Raises Departed."""
        address = self._outbox.address(row)
        route.round_trip = self._probes.round_trip(row.member)
        way = self._probes.way(row.member, row.layer) if row.member else None
        route.url, route.via = (way.url, way.via) if way is not None and way.via else (address, "")
