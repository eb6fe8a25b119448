"""Probes: every known member is asked, over the path that messages take, whether it is there.

Health is measured, never inferred from a connection. One thread owns the state; it is woken by answers and by the clock. A
member that does not answer by itself is probed through others, and a member that relays probes relays messages, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from pycmbs import clock
from pycmbs.engine.detours import Detours
from pycmbs.engine.pacing import Pace
from pycmbs.engine.requests import NOT_KNOWN, Requests
from pycmbs.engine.vitals import KEYED_PAUSE_SECONDS, Result, Vitals
from pycmbs.errors import ClaimedId, CmbsError, Unavailable
from pycmbs.occi.entity import Entity
from pycmbs.occi.layers import LAYERS
from pycmbs.queues import BoundedQueue
from pycmbs.services.federation.health import ALIVE, DEAD, Health, HealthService
from pycmbs.services.federation.lives import LIFE, Lives
from pycmbs.services.federation.members import MemberService
from pycmbs.services.federation.roster import Roster, socket_of, version_of
from pycmbs.transport.envelope import ALIVE as ALIVE_ANSWER
from pycmbs.transport.envelope import PROBE, Envelope
from pycmbs.workers import new_thread

log = logging.getLogger(__name__)

_RELOAD_SECONDS = 1.0
_AGAIN_SECONDS = 0.2
_STORE_SECONDS = 5.0
"""How often what changes all the time, such as when a member was last seen, is stored."""
_NEWS_A_SECOND = 50.0
"""Of so many members, one is asked each second for what it knows of others."""
_LIFE_INTERVALS = 12
"""Intervals after which a member that was not heard is not there: longer than from one probe of a dead member to the next."""
_LEAST_LIFE_SECONDS = 10.0
_BOUND = 10_000
"""Events that may wait, of what others may cause without being asked; what is beyond is noticed by the next probe."""
_EVENTS = 1000
"""Most answers, and other news, taken up before it is looked again whom to probe."""


class Way(NamedTuple):
    """How a member is reached: the URL to send to, and through whom (empty: directly)."""

    url: str
    via: str


class Probes:
    """The health of all known members, and how each is reached."""

    def __init__(
        self,
        members: MemberService,
        health: HealthService,
        requests: Requests,
        lives: Lives,
        *,
        on_alive: Callable[[str], None],
        on_news: Callable[[str], None],
        seconds: float,
        interval: float,
        keyed: bool = False,
    ) -> None:
        """``on_alive`` is called, on the thread of the probes, when a member is alive again, or is reached in another way;
        ``on_news`` with the URL of a member that knows, or should know, something else. ``seconds``: how long an answer may
        take. ``interval``: seconds between two probes of a member that is alive. ``keyed``: only who is known gets in."""
        self._pause = KEYED_PAUSE_SECONDS if keyed else 0.0
        self._members = members
        self._health = health
        self._requests = requests
        self._lives = lives
        self._seconds = seconds
        self._events: BoundedQueue[Callable[[], None] | None] = BoundedQueue(_BOUND, _BOUND)
        self._thread = new_thread("probes", self._run, vital=True)
        self._closing = False
        self._vitals: dict[str, Vitals] = {}
        self._pace = Pace(interval)
        self._detours = Detours()
        self._changed: dict[str, Health] = {}
        self._loaded = self._stored = 0.0
        self._roster: Roster | None = None
        self._own = ("", 0, "")
        self._gossip = 0.0
        """When to ask the next one who knows, or does not know, of others."""
        self._on_alive, self._on_news = on_alive, on_news

    # From other threads

    def start(self) -> None:
        """Begin to probe."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closing = True
        self._events.put(None)
        self._thread.join(2)

    def answer(self, asking: str) -> dict[str, Any]:
        """What a probe of the member ``asking`` is answered with. Reads no store: the answering thread must not wait."""
        vitals = self._vitals.get(asking)
        knows = vitals.version if vitals else 0
        return {"version": self._own[1], "knows": knows, "digest": self._own[2], LIFE: self._lives.own}

    def heard(self, member: str) -> None:
        """A member acknowledged a message that was sent to it directly."""
        vitals = self._vitals.get(member)
        if vitals is not None:
            vitals.heard = time.monotonic()
            if not vitals.reachable_directly:
                self.look(member)

    def look(self, member: str) -> None:
        """Probe a member now: something was heard of it, or not heard."""
        self._events.offer(lambda: self._hurry(member), 1)

    def told(self, members: list[str], by: str) -> None:
        """A member knows others, and may be able to reach them."""
        self._events.offer(lambda: self._note(members, by), 1)

    def reload(self) -> None:
        """The known members changed."""
        self._events.offer(self._load, 1)

    def way(self, member: str, layer: str = "") -> Way | None:
        """How to reach a member, on one of its layers where it is reached directly; None when it is not known how."""
        vitals = self._vitals.get(member)
        if vitals is None or (vitals.state == DEAD and not vitals.via):
            return None
        if vitals.via:
            relay = self._vitals.get(vitals.via)
            return (
                Way(relay.socket, relay.id) if relay is not None and relay.reachable_directly and relay.socket else None
            )
        url = vitals.sockets.get(layer) or vitals.socket
        return Way(url, "") if url else None

    def round_trip(self, member: str) -> float:
        """Seconds that a member takes to answer, as far as it was measured; 0 when it was not."""
        vitals = self._vitals.get(member)
        return vitals.health.round_trip if vitals is not None and vitals.health is not None else 0.0

    def answering(self, member: str) -> tuple[bool, str]:
        """Whether a member answers probes, as far as is known, and the number of the process that does: see
        :mod:`pycmbs.services.federation.lives`."""
        vitals = self._vitals.get(member)
        return vitals is not None and vitals.state == ALIVE and not vitals.failures, self._lives.last(member)

    def measured(self) -> dict[str, tuple[str, float]]:
        """The state of each known member, empty before it was measured, and its round trip in seconds, 0 while not known."""
        return {id: (one.state, self.round_trip(id)) for id, one in self._vitals.copy().items()}

    def told_of_own(self, member: str, greeting: Mapping[str, Any]) -> None:
        """What a member knows, as it says in a greeting: in which version the own one, too."""
        if (vitals := self._vitals.get(member)) is not None and isinstance(known := greeting.get("known"), dict):
            vitals.note_knows(known.get(self._own[0]))

    def all_know(self, version: int) -> bool:
        """Whether every other member has said that it knows the own one in this version, or a newer one."""
        return all(one.knows >= version for one in list(self._vitals.values()))

    def via(self, member: str) -> str:
        """Through whom a member is reached, empty for directly or not known."""
        vitals = self._vitals.get(member)
        return vitals.via if vitals is not None else ""

    # The thread

    def _run(self) -> None:
        while not self._closing:
            try:
                self._turn()
            except Unavailable as exc:
                log.warning("probing is paused: %s", exc)
                time.sleep(_RELOAD_SECONDS)
            except Exception:
                log.exception("probing failed; it goes on")
                time.sleep(_RELOAD_SECONDS)

    def _turn(self) -> None:
        now = time.monotonic()
        if now - self._loaded >= _RELOAD_SECONDS:
            self._load()
        self._begin_due(now)
        if self._changed and now - self._stored >= _STORE_SECONDS:
            self._store()
        next_due = min((one.due for one in self._vitals.values() if not one.open), default=now + _RELOAD_SECONDS)
        seconds = min(max(self._pace.pause, next_due - now), _RELOAD_SECONDS)
        for event in self._events.turn(_EVENTS, _BOUND, seconds):
            if event is not None:
                self._take_up(event)

    def _take_up(self, event: Callable[[], None]) -> None:
        """One event; whatever comes of it, the others are taken up, too."""
        try:
            event()
        except Unavailable as exc:
            log.warning("probing is paused: %s", exc)
        except Exception:
            log.exception("an answer to a probe, or other news, cannot be processed")

    def _begin_due(self, now: float) -> None:
        """Probe who is due, those that wait for longest first, as many as are allowed."""
        due = [one for one in self._vitals.values() if one.due <= now and not one.open]
        due.sort(key=lambda one: one.due)
        for vitals in due[: self._pace.allowed(now)]:
            self._pace.began(1)
            self._begin(vitals)

    def _load(self) -> None:
        """Bring the vitals in line with the members in the store."""
        self._loaded = time.monotonic()
        roster = self._members.now()
        if roster is self._roster:
            return  # none changed
        others = {one.id: one for one in roster.others}
        for id in self._vitals.keys() - others.keys():
            del self._vitals[id]
            self._changed.pop(id, None)
            self._detours.forget(id)
            self._health.forget(id)
        for id, member in others.items():
            self._update(id, member)
        self._lives.keep(set(others))
        self._lives.patience = max(_LEAST_LIFE_SECONDS, _LIFE_INTERVALS * self._interval)
        own = roster.own
        self._own = (own.id, version_of(own), roster.digest) if own is not None else ("", 0, "")
        self._roster = roster

    def _update(self, id: str, member: Entity) -> None:
        sockets = {layer: url for layer in LAYERS if (url := socket_of(member, layer))}
        vitals = self._vitals.get(id)
        if vitals is None:
            self._vitals[id] = Vitals(id, sockets, version_of(member), self._health.of(id), self._loaded + self._pause)
        else:
            if sockets != vitals.sockets:
                vitals.sockets, vitals.failures, vitals.due = sockets, 0, 0.0
            vitals.version = version_of(member)

    @property
    def _interval(self) -> float:
        return self._pace.between(len(self._vitals))

    def _begin(self, vitals: Vitals) -> None:
        if not self._own[0]:
            vitals.due = time.monotonic() + _RELOAD_SECONDS
            return
        if vitals.reachable_directly and not vitals.blind and time.monotonic() - vitals.heard < self._interval:
            vitals.due = vitals.heard + self._interval  # what it acknowledged says as much
            if vitals.health is not None:
                self._note_change(vitals, replace(vitals.health, last_seen=clock.now()))
            return
        vitals.begin()
        if vitals.socket:
            self._probe(vitals, vitals.socket, "")
        relay = self._vitals.get(vitals.via)
        if relay is not None and relay.socket:
            self._probe(vitals, relay.socket, relay.id)
        if not vitals.open:
            self._ended(vitals, "it has no socket")

    def _probe(self, vitals: Vitals, url: str, via: str) -> None:
        vitals.open += 1
        sent = time.monotonic()

        def done(answer: Envelope | CmbsError, waited: bool) -> None:
            at = time.monotonic()
            reason = ""
            if not isinstance(answer, Envelope):
                reason = answer.line if isinstance(answer, ClaimedId) else answer.message
                self._lives.refused(self._own[0], answer)
            result = Result(vitals.id, via, sent, at, answer if isinstance(answer, Envelope) else None, reason, waited)
            self._events.put(lambda: self._take(result))

        question = Envelope(PROBE, "", self._own[0], {LIFE: self._lives.own}, to=vitals.id)
        self._requests.begin(url, question, self._seconds, done, via=via)

    def _take(self, result: Result) -> None:
        vitals = self._vitals.get(result.member)
        if vitals is None:
            return
        vitals.open = max(0, vitals.open - 1)
        answer, reason = result.answer, result.reason
        if answer is not None and (answer.type != ALIVE_ANSWER or answer.sender != vitals.id):
            reason, answer = f"the member {answer.sender or 'without an id'} answers there", None
        if answer is not None:
            self._lives.heard(vitals.id, answer.body.get(LIFE))
            try:
                self._lives.check(vitals.id)
            except ClaimedId as exc:
                reason, answer = exc.line, None
        result.count(answered=answer is not None)
        if answer is None:
            if not vitals.open and not vitals.reached:
                self._ended(vitals, reason)
            return
        blind = vitals.blind
        taken = None if result.waited else result.at - result.sent
        changed = vitals.answered(time.monotonic(), clock.now(), self._interval, taken, result.via)
        if changed:
            log.info("%s is alive%s", vitals.id, f", through {result.via}" if result.via else "")
            self._on_alive(vitals.id)
        if vitals.blind:  # now there is a connection: the next probe measures the way, and then that is told with it
            vitals.due = min(vitals.due, time.monotonic() + _AGAIN_SECONDS)
        else:
            self._note_change(vitals, vitals.health)
            if changed or blind:
                self._store()
        self._compare(vitals, answer.body)

    def _ended(self, vitals: Vitals, reason: str) -> None:
        """Nothing was answered: ask others to pass a probe on, and if they were asked, believe it."""
        if not vitals.asked_others and reason != NOT_KNOWN:  # then it knows no key to open what others pass on
            vitals.asked_others = True
            for relay in self._detours.relays(vitals, self._vitals.values()):
                self._probe(vitals, relay.socket, relay.id)
            if vitals.open:
                return
        retry = self._pace.until_retry(sum(one.failures > 0 for one in self._vitals.values()))
        if vitals.missed(time.monotonic(), clock.now(), self._interval, reason, retry):
            log.info("%s is %s: %s", vitals.id, vitals.state, reason)
            self._note_change(vitals, vitals.health)
            self._store()
        self._note_change(vitals, vitals.health)

    def _compare(self, vitals: Vitals, body: dict[str, Any]) -> None:
        """Whether one of the two has news for the other."""
        digest = body.get("digest")
        vitals.note_knows(body.get("knows"))
        older = body.get("version") != vitals.version or body.get("knows") != self._own[1]
        other = isinstance(digest, str) and digest not in (self._own[2], vitals.digest)
        now = time.monotonic()
        if older or (other and now >= self._gossip):
            vitals.digest = str(digest)
            if vitals.reachable_directly:
                # What others know of others goes round: if all were asked at once, a hundred members would ask each other
                # ten thousand times. In turn, they all know it after a few rounds.
                self._gossip = now + len(self._vitals) / _NEWS_A_SECOND
                self._on_news(vitals.socket)

    def _hurry(self, member: str) -> None:
        vitals = self._vitals.get(member)
        if vitals is None:
            self._load()
        elif not vitals.open:
            vitals.due = vitals.heard = 0.0

    def _note(self, members: list[str], by: str) -> None:
        if any(member not in self._vitals for member in members if member != self._own[0]):
            self._load()
        for member in members:
            if member in self._vitals and by in self._vitals:  # who is not known is kept nowhere
                self._detours.note(member, by)

    def _note_change(self, vitals: Vitals, health: Health | None) -> None:
        if health is not None:
            vitals.health = health
            self._changed[vitals.id] = health

    def _store(self) -> None:
        self._stored = time.monotonic()
        changed, self._changed = self._changed, {}
        try:
            self._health.record(changed)
        except Unavailable:
            self._changed = changed | self._changed
            raise
