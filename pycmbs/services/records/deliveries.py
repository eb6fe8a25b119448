"""Delivery rows, one per message and recipient, and their states. Deadlines are set in sending.py; outbound.py expires rows.

The rows are the outbox and the ledger at once.

A row is *unsettled* while it is ``pending`` or ``sent``, and *settled* once it is ``delivered``, ``executed``, ``failed``,
``expired`` or ``unknown``. One that is ``delivered`` and *awaits* the outcome of its execution is not settled yet, but keeps
no request waiting.
Rows are valid only together with their message, which is written last in the batch that makes them: one whose message is of
another round, or is not there, counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, convert, to_builtins
from msgspec.structs import replace

from pycmbs import clock
from pycmbs.ids import canonical_id
from pycmbs.metrics.table import DELIVERIES, DELIVERY_SECONDS
from pycmbs.occi.entity import Entity
from pycmbs.sentences import cut
from pycmbs.services.records.times import in_milliseconds, rfc3339, sort_key_of_time
from pycmbs.store.base import Document, Query, Store, Write

DELIVERY = "delivery"

PENDING, SENT, DELIVERED, EXECUTED, FAILED = "pending", "sent", "delivered", "executed", "failed"
EXPIRED, UNKNOWN = "expired", "unknown"
"""Given up at the deadline: what is known not to have arrived, and what may have."""
SENDING = "sending"
"""The state of a message of which a row is unsettled."""
CHANGED = "changed"
"""The private mark of a message that was changed since it was sent, while it was being executed somewhere."""
_OPEN = frozenset({PENDING, SENT})
_ARRIVED = frozenset({DELIVERED, EXECUTED})
_RISING = (PENDING, SENT, EXPIRED, UNKNOWN, FAILED, DELIVERED, EXECUTED)
"""The states in the order in which a row may go through them: what is known of a delivery only grows."""


_STORED_AS = {"recipient_count": "of", "awaiting_outcome": "awaits"}
"""Fields whose names in a store are those of versions up to 0.3."""


_MOST_STEPS = 16
"""Steps of one delivery that are told of: of more, the first and the newest."""
_STEP_REASON = 200
"""Characters of the reason of a step that is over."""

Step = tuple[float, str, str]
"""When a delivery came to a state, that, and why."""


class Delivery(Struct, frozen=True, rename=_STORED_AS, omit_defaults=True):
    """What became of a message for one recipient. Times are seconds since the epoch.

    ``message`` is the path of the message, ``round`` tells this sending from earlier and later ones, ``recipient_count`` is
    how many recipients it has. ``member`` may be empty (L1 to a stranger), ``socket`` too (an unknown provider). Of the
    ``attempts``, ``vain`` are known to have come to nothing: they were refused, or could not be sent.
    """

    message: str
    round: int
    index: int
    recipient_count: int
    member: str
    socket: str
    layer: str
    accepted: float
    deadline: float
    state: str = PENDING
    attempts: int = 0
    vain: int = 0
    updated: float = 0.0
    reason: str = ""
    why: str = ""
    answer: Any = None
    awaiting_outcome: bool = False
    history: tuple[Step, ...] = ()
    """Its steps between ``accepted`` and ``updated``."""
    via: str = ""
    """The member that passed on what was sent last."""
    outcome: dict[str, Any] | None = None
    revision: str = ""
    number: int = 0

    @property
    def id(self) -> str:
        """The row's document."""
        return _id(self.message, self.round, self.index)

    @property
    def route(self) -> str:
        """What orders it: rows of one route, a recipient's layer, are sent in the order of acceptance."""
        return route_name(self.member or self.socket, self.layer)

    @property
    def unsettled(self) -> bool:
        """Whether something may still become of it."""
        return self.awaiting_outcome or self.open

    @property
    def open(self) -> bool:
        """Whether it is still to be sent."""
        return self.state in _OPEN

    @property
    def arrived(self) -> bool:
        """Whether the recipient has the message."""
        return self.state in _ARRIVED

    @property
    def doubtful(self) -> bool:
        """Whether an attempt was left without an answer: the recipient may have the message."""
        return self.attempts > self.vain

    @property
    def rank(self) -> tuple[int, bool]:
        """How much is known of the delivery; a row is never replaced by one of a lower rank. What came of an execution is all
        there is to know, whether that worked or not; the end of waiting for it is more than waiting."""
        return _RISING.index(EXECUTED if self.outcome is not None else self.state), not self.awaiting_outcome

    def raised(self, other: Delivery) -> Delivery:
        """What the two say together, ``self`` being the row as it is stored and ``other`` as another process knows it; with the
        revision of the stored one. Of equal rank, ``other`` is the newer. A row that is settled stays settled, or a message
        that was changed since, and is sent again, would count as being sent already."""
        best = self if self.rank > other.rank else other
        return replace(
            best,
            attempts=max(self.attempts, other.attempts),
            awaiting_outcome=best.awaiting_outcome and self.unsettled,
            revision=self.revision,
            number=self.number,
        )

    def moved(self, now: float, state: str, reason: str = "") -> Delivery:
        """The row in another state, or in the same for another reason; where it was is remembered."""
        return replace(self, state=state, updated=now, reason=reason, history=self._past)

    @property
    def _past(self) -> tuple[Step, ...]:
        """The steps that are over with the next one."""
        past, reason = self.history, self.reason[:_STEP_REASON]
        if not self.updated or (past and past[-1][1:] == (self.state, reason)):
            return past
        past = (*past, (in_milliseconds(self.updated), self.state, reason))
        return past if len(past) <= _MOST_STEPS - 2 else (past[0], *past[3 - _MOST_STEPS :])

    def settled(
        self, state: str, now: float, reason: str = "", answer: Any = None, *, attempts: int | None = None
    ) -> Delivery:
        """The row in its final state; after so many ``attempts``, unless they are as they were."""
        moved = self.moved(now, state, reason)
        tries = self.attempts if attempts is None else attempts
        return replace(moved, answer=answer, awaiting_outcome=False, attempts=tries)

    def given_up(self, now: float, *, inherited: bool = False) -> Delivery:
        """The row after its deadline: ``expired`` if it is certain that the recipient has nothing, else ``unknown``.
        ``inherited``: an earlier life of this broker may have sent it, too."""
        reason = self.reason or (f"no answer from {self.socket}" if self.attempts else "not sent yet")
        tries = f"{self.attempts} attempt{'s' * (self.attempts != 1)}"
        if inherited and not self.doubtful:
            tries += " known of, since the broker was restarted"
        state = UNKNOWN if inherited or self.doubtful else EXPIRED
        return self.settled(state, now, f"{reason}: gave up after {tries}")

    def with_outcome(self, now: float, outcome: dict[str, Any]) -> Delivery:
        """The row once its message was executed: ``outcome`` holds a ``result`` or an ``error``."""
        error = outcome.get("error")
        if error is None:
            return replace(self.moved(now, EXECUTED), outcome=outcome, awaiting_outcome=False)
        reason = f"{error.get('code')}: {error.get('message')}" if isinstance(error, dict) else str(error)
        return replace(self.moved(now, FAILED, cut(reason)), outcome=outcome, awaiting_outcome=False)

    def write(self) -> Write:
        """The write that stores the row, new or changed."""
        keys: dict[str, tuple[str, ...]] = {"message": (self.message,)}
        if self.unsettled:
            keys |= {"unsettled": ("1",), "deadline": (sort_key_of_time(self.deadline),)}
        if self.open:
            keys["route"] = (self.route,)
        return Write(self.id, DELIVERY, self.body(), keys, self.revision or None)

    def body(self) -> dict[str, Any]:
        """The row as JSON, without what the store says of it; :func:`delivery_of` is the way back."""
        body: dict[str, Any] = to_builtins(self)
        body.pop("revision", None)
        body.pop("number", None)
        return body

    def entry(self) -> dict[str, Any]:
        """The row as the ledger shows it."""
        ahead = clock.ahead()
        entry: dict[str, Any] = {
            "member": self.member,
            "socket": self.socket,
            "layer": self.layer,
            "state": self.state,
            "attempts": self.attempts,
            "accepted": rfc3339(self.accepted + ahead),
            "deadline": rfc3339(self.deadline + ahead),
            "why": self.why,
        }
        if self.updated:
            entry["updated"] = rfc3339(self.updated + ahead)
            entry["history"] = self._steps(ahead)
        if self.reason:
            entry["reason"] = self.reason
        if self.via:
            entry["via"] = self.via
        return entry | (self.outcome or {})

    def _steps(self, ahead: float) -> list[dict[str, str]]:
        """What became of it, step by step, up to now."""
        steps = [(self.accepted, PENDING, ""), *self.history, (self.updated, self.state, self.reason)]
        return [
            {"at": rfc3339(at + ahead), "state": state, **({"reason": reason} if reason else {})}
            for at, state, reason in steps
        ]


def _id(message: str, round: int, index: int) -> str:
    return f"{DELIVERY}:{message}:{round}:{index}"


def message_of(row: str) -> str:
    """The path of the message that the row with this document is of."""
    return row.removeprefix(f"{DELIVERY}:").rsplit(":", 2)[0]


def delivery_from(document: Document) -> Delivery:
    """The row that a document holds."""
    member = canonical_id(document.body["member"])  # up to 0.3 a UUID was kept as it came
    return delivery_of({**document.body, "member": member, "revision": document.revision, "number": document.number})


def delivery_of(body: Mapping[str, Any]) -> Delivery:
    """The row that :meth:`Delivery.body` made this of."""
    return convert(body, Delivery)


def route_name(recipient: str, layer: str) -> str:
    """The route of a recipient (a member's id, or a socket) and layer."""
    return f"{recipient}|{layer}"


def of_message(store: Store, path: str) -> list[Delivery]:
    """All rows under a message's path, those of other rounds included: what goes with it."""
    return [delivery_from(one) for one in store.find(Query(DELIVERY, {"message": path}))]


def note_rounds(message: Entity, rows: int, earlier: Iterable[Delivery]) -> None:
    """Note in a message that is sent how many rows its round has, and of which earlier rounds some may be left."""
    message.private["rows"] = rows
    message.private.pop("earlier", None)
    if left := {row.round: row.recipient_count for row in earlier}:
        message.private["earlier"] = [[round, of] for round, of in left.items()]


def ids_of(message: Entity) -> list[str] | None:
    """The ids that rows under a message's path may have; None if it does not say, having been sent by an earlier version."""
    if "round" not in message.private:
        return []
    number = message.private.get("rows")
    if number is None:
        return None
    rounds = [(message.private["round"], number), *message.private.get("earlier", ())]
    return [_id(message.path, round, index) for round, of in rounds for index in range(of)]


def siblings(rows: Iterable[Delivery]) -> list[str]:
    """The ids of all rows of the same rounds."""
    rounds = {(row.message, row.round): row.recipient_count for row in rows}
    return [_id(message, round, index) for (message, round), of in rounds.items() for index in range(of)]


def leftovers(store: Store, messages: Mapping[str, list[str] | None]) -> dict[str, list[Document]]:
    """The documents of all rows that go with messages, by path: those with these ids, or, where they are not known, all under
    the path. Costs one question for all that are known."""
    found = store.get_many([id for ids in messages.values() for id in ids or ()])
    return {
        path: [found[id] for id in ids if id in found]
        if ids is not None
        else store.find(Query(DELIVERY, {"message": path}))
        for path, ids in messages.items()
    }


def of_sent(store: Store, message: Entity) -> list[Delivery]:
    """The ledger of a message, in the order of its recipients: the rows of its round. Asks the store for nothing of a message
    that was never sent."""
    if "round" not in message.private:
        return []
    number = message.private.get("rows")
    if number is None:  # it was sent by an earlier version
        return [row for row in of_message(store, message.path) if belongs(row, message)]
    # By their ids: a store on a server tells those at once, and may have to bring an index up to date for any question.
    ids = [_id(message.path, message.private["round"], index) for index in range(number)]
    found = store.get_many(ids)
    return [delivery_from(found[id]) for id in ids if id in found]


def count_settled(row: Delivery) -> None:
    """Count a row of which nothing more is to come."""
    DELIVERIES.count(row.layer, row.state)
    DELIVERY_SECONDS.observe(max(0.0, row.updated - row.accepted), row.layer)


def belongs(row: Delivery, message: Entity | None) -> bool:
    """Whether this is a row of the message as it was sent last."""
    return message is not None and message.private.get("round") == row.round


def settled_at(rows: Iterable[Delivery]) -> float | None:
    """When the last of a message's rows was settled; None while one is not."""
    every = list(rows)
    return None if any(row.unsettled for row in every) else max(row.updated for row in every)


def summary(rows: Iterable[Delivery]) -> str:
    """The state of a message, from its rows: the least settled one decides, then the worst.

    ``sending`` while a row is unsettled; ``executed`` when all are, ``delivered`` when all are at least that; ``partial`` when
    some are; else ``unknown`` when one may be there, and ``failed`` or ``expired``, whichever is there (``failed`` first; also
    when there is no recipient at all).
    """
    every = list(rows)
    states = {row.state for row in every}
    if any(row.unsettled for row in every):
        return SENDING
    if states & _ARRIVED:
        return EXECUTED if states == {EXECUTED} else DELIVERED if states <= _ARRIVED else "partial"
    return UNKNOWN if UNKNOWN in states else EXPIRED if states == {EXPIRED} else FAILED
