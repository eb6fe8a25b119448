"""The inbox: messages and introductions of other members, stored durably and exactly once in effect."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycmbs import clock, codec, tracing
from pycmbs.errors import (
    ClaimedId,
    CmbsError,
    Departed,
    InvalidRequest,
    NoLocalMember,
    NotFound,
    Overdue,
    RevisionConflict,
    TooLarge,
    Unavailable,
)
from pycmbs.occi import cmbs, naming
from pycmbs.occi.category import Mixin
from pycmbs.occi.entity import Entity
from pycmbs.occi.layers import INTRODUCTORY
from pycmbs.occi.rendering.json_reader import draft
from pycmbs.services.delivery.rounds import TAKEN, Rounds
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.execution.service import DONE, Execution, ExecutionService, execution_from, result_of
from pycmbs.services.federation.gossip import FederationService
from pycmbs.services.federation.members import MemberService
from pycmbs.services.records import numbers, receipts
from pycmbs.services.records.deliveries import DELIVERED
from pycmbs.services.records.entities import RECEIVED, document_id, entity_write, note_settled, take_place
from pycmbs.services.records.receipts import RECEIPT, receipt_id
from pycmbs.services.records.times import in_milliseconds
from pycmbs.store.base import Document, Store, Write

log = logging.getLogger(__name__)

DUPLICATE = "duplicate"
_DESCRIBING = ("kind", "id", "mixins", "attributes", "title", "summary")
_PASSING = (NoLocalMember, NotFound, ClaimedId, Departed)
"""What could still be put right (no member, no such kind yet, two members of one id, one that left and is back) is worth
another try."""
_OVERDUE = Overdue("the deadline of the message has passed")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as another member sent it: the body of its envelope, the layers of the socket it came in at, the ids of
    the members that passed it on, the ``size`` of its datagram in bytes, and the seconds that it ``waited`` here."""

    sender: str
    body: dict[str, Any]
    layers: tuple[str, ...]
    path: tuple[str, ...] = ()
    size: int = 0
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What to tell the sender. A refusal is ``final`` when trying again cannot help. ``waits`` is what is still to be executed,
    and ``receipt`` the document it stands in."""

    body: dict[str, Any]
    error: CmbsError | None = None
    final: bool = False
    receipt: str = ""
    waits: Execution | None = None


@dataclass(slots=True)
class _Taken:
    """One message on its way into the store."""

    origin: str
    id: str
    round: int
    layer: str
    document: dict[str, Any]
    left: float | None
    """Seconds until its deadline; None if it has none."""
    path: tuple[str, ...]
    size: int
    traced: Mapping[str, str]
    """What a client called the request that made it: see :mod:`pycmbs.tracing`."""
    writes: list[Write] = field(default_factory=list)
    execution: Execution | None = None
    superseded: int = 0
    """The newer round that is here already."""
    before: Document | None = None
    """Its receipt, if that is known to be there."""

    @property
    def overdue(self) -> bool:
        return self.left is not None and self.left <= 0

    @property
    def receipt(self) -> str:
        return receipt_id(self.origin, self.id, self.round)

    def receipt_write(self) -> Write:
        """The write that makes a second arrival a duplicate, and says what is to be executed."""
        body: dict[str, Any] = {"layer": self.layer}
        keys: dict[str, tuple[str, ...]] = receipts.expiry(self.left)
        if self.execution is not None:
            body["execution"], keys = self.execution.body(), keys | self.execution.keys
        return Write(self.receipt, RECEIPT, body, keys)


class InboxService:
    """The receiver's side of delivery."""

    def __init__(
        self,
        store: Store,
        categories: CategoryService,
        members: MemberService,
        federation: FederationService,
        execution: ExecutionService,
        *,
        most: int,
    ) -> None:
        """``most``: bytes of JSON in the content of a message."""
        self._most = most
        self._rounds = Rounds()
        self._execution = execution
        self._store = store
        self._categories = categories
        self._members = members
        self._federation = federation

    def greet(self, body: dict[str, Any], sender: str | None = None) -> dict[str, Any]:
        """Another member introduces itself; the answer introduces the own one and whom it knows. ``sender``: who says so.

        Raises NoLocalMember, InvalidRequest, ClaimedId (another member has its id), Departed, ForgedSender.
        """
        if self._members.local() is None:
            raise NoLocalMember("this broker has no member of its own yet")
        if self._federation.introduces(body):
            self._federation.learn(body, by=sender)
        return self._federation.welcome(body)

    def leave(self, sender: str, body: dict[str, Any]) -> None:
        """Another member was deleted. Raises InvalidRequest for what names no member, ClaimedId when another one is
        known, Conflict."""
        self._federation.leave(naming.bare_id(sender), body)

    def _handshake(self) -> dict[str, Any]:
        """What L1 answers, since 2012."""
        roster = self._members.now()
        return {"member_description": roster.introduction["description"], "sockets_l1": roster.sockets_l1}

    def receive(self, incoming: Sequence[Incoming]) -> list[Answer]:
        """Take in what one turn of the loop brought, with one commit; every answer is true once this returns.

        A message that was taken in before (same origin, id and round) is acknowledged again and changes nothing; so is one of
        which a newer round was. One that is overdue is refused for good.
        Raises StoreUnavailable: then none was taken in, and none may be answered.
        """
        answers: list[Answer | None] = [None] * len(incoming)
        taken: dict[int, _Taken] = {}
        refused: dict[int, CmbsError] = {}
        for index, one in enumerate(incoming):
            try:
                taken[index] = self._opened(one)
            except Unavailable:
                raise
            except CmbsError as exc:
                refused[index] = exc
        refused |= {index: _OVERDUE for index, one in taken.items() if one.overdue}
        final = {index for index, error in refused.items() if not isinstance(error, _PASSING)}
        there = self._there({index: incoming[index] for index in final})
        for index, error in refused.items():
            taken.pop(index, None)
            if index in there:
                taken[index] = there[index]
            else:
                answers[index] = Answer({}, error, final=index in final)
        handshake = self._handshake() if any(one.layer == INTRODUCTORY for one in taken.values()) else {}
        statuses = self._store_all(list(taken.values()))
        for (index, item), status in zip(taken.items(), statuses, strict=True):
            body: dict[str, Any] = {"status": status, "reply": handshake if item.layer == INTRODUCTORY else {}}
            execution = item.execution
            waits = execution if execution is not None and execution.state != DONE else None
            if item.superseded:
                body["superseded"] = item.superseded
            if execution is not None:
                body |= {"executing": True} if waits else {"outcome": execution.outcome}
            answers[index] = Answer(body, receipt=item.receipt, waits=waits)
            if item.traced:
                _log_taken(item, status)
        return [answer for answer in answers if answer is not None]

    def _opened(self, one: Incoming) -> _Taken:
        own = self._members.local()
        if own is None:
            raise NoLocalMember("this broker has no member of its own yet")
        if one.body.get("layer") not in one.layers:
            raise NotFound(f"no member listens on {one.body.get('layer')!r:.20} here")
        taken = self._addressed(one)
        self._federation.meet(one.sender, one.body)
        if (newest := self._rounds.newest(taken.origin, taken.id)) > taken.round:
            taken.superseded = newest
        else:
            self._plan(taken, kept=one.sender != own.id)  # what a member sends itself it has already
        return taken

    def _addressed(self, one: Incoming) -> _Taken:
        """The message, as far as its envelope tells of it. Raises InvalidRequest."""
        layer, round_, document = (one.body.get(name) for name in ("layer", "round", "message"))
        if not isinstance(document, dict):
            raise InvalidRequest("the envelope holds no message")
        left = numbers.seconds(one.body.get("deadline"))
        left = None if left is None else left - one.waited
        origin, id = naming.bare_id(one.sender), naming.bare_id(document.get("id"))
        number, traced = numbers.whole(round_, "round"), tracing.carried(one.body)
        return _Taken(origin, id, number, str(layer), document, left, one.path, one.size, traced)

    def _there(self, refused: Mapping[int, Incoming]) -> dict[int, _Taken]:
        """Those of the refused that were taken in before: they are duplicates all the same."""
        found: dict[int, _Taken] = {}
        for index, one in refused.items():
            with contextlib.suppress(CmbsError):
                found[index] = self._addressed(one)
        self._look_for_receipts(found.values())
        return {index: one for index, one in found.items() if one.before is not None}

    def _look_for_receipts(self, taken: Collection[_Taken]) -> None:
        known = self._store.get_many([one.receipt for one in taken]) if taken else {}
        for one in taken:
            one.before = known.get(one.receipt)
            if one.before is not None:
                one.execution = execution_from(one.before)

    def _plan(self, taken: _Taken, *, kept: bool, again: bool = False) -> None:
        """What is to be executed, and the message as an entity here, to be written with its receipt; none if it is not
        ``kept`` or not storable. ``again``: there is something in its place."""
        entity = self._entity(taken)
        kept = kept and entity.attributes.get(cmbs.STORABLE) != "false"
        present = self._placed(taken, entity) if kept and again else None
        if present is not None and present.body["private"].get(TAKEN, 0) > taken.round:
            taken.superseded = present.body["private"][TAKEN]
            taken.execution = None
            return
        taken.execution = self._execution.planned(entity, taken.origin)
        if not kept:
            return
        if present is not None:
            take_place(entity, present.body["private"])
        if taken.execution is not None and taken.execution.state == DONE:
            entity.attributes[cmbs.RESULT] = result_of(taken.execution)
        if taken.execution is None or taken.execution.state == DONE:
            note_settled(entity, clock.now())
        taken.writes.append(entity_write(entity, revision=present.revision if present else None))

    def _placed(self, taken: _Taken, entity: Entity) -> Document | None:
        """Give it a path; what is there already, from another round."""
        present = self._store.get(document_id(entity.path))
        if present is not None and present.body["attributes"].get(cmbs.ORIGIN) != taken.origin:
            # Ids are chosen by clients of either broker: another's message must not overwrite this one's.
            entity.id = f"{taken.id}.{taken.origin}"
            entity.path = cmbs.MESSAGE_LOCATION + entity.id
            present = self._store.get(document_id(entity.path))
        return present

    def _entity(self, taken: _Taken) -> Entity:
        """The message as its sender described it. Raises InvalidRequest for what cannot be an entity here."""
        described = draft({name: taken.document[name] for name in _DESCRIBING if name in taken.document})
        registry = self._categories.registry()
        kind = registry.kind(cmbs.MESSAGE)
        mixins = tuple(name for name in described.mixins or () if isinstance(registry.get(name), Mixin))
        registry.check_applies(kind, mixins)
        schema = registry.schema(kind, mixins)
        given = schema.flatten(described.attributes or {})
        attributes = schema.created({name: one for name, one in given.items() if not schema.definitions[name].internal})
        history = attributes.get(cmbs.PATH_HISTORY) or []
        attributes[cmbs.PATH_HISTORY] = [*history, *map(cmbs.urn, taken.path)]
        attributes |= {cmbs.ORIGIN: taken.origin, cmbs.STATE: cmbs.RECEIVED}
        if taken.size > self._most and len(codec.dumps(attributes.get(cmbs.CONTENT))) > self._most:
            raise TooLarge(
                f"{cmbs.CONTENT} is larger than {self._most} bytes of JSON",
                hint="The setting max_content of the receiver says how large it may be.",
                attribute=cmbs.CONTENT,
            )
        entity = Entity(taken.id, cmbs.MESSAGE, cmbs.MESSAGE_LOCATION + taken.id, mixins, attributes)
        entity.private |= {TAKEN: taken.round, RECEIVED: in_milliseconds(clock.now()), **taken.traced}
        entity.title, entity.summary = described.title or "", described.summary or ""
        return entity

    def _store_all(self, taken: Sequence[_Taken]) -> list[str]:
        if not self._store.atomic:  # it would have the message for a moment before it finds the receipt
            self._look_for_receipts(taken)
        self._make_way(one for one in taken if one.before is None and not one.superseded)
        fresh = [one for one in taken if one.before is None and not one.superseded]
        # The receipt is last: a store that is not atomic has the message by then.
        batches = [[*one.writes, one.receipt_write()] for one in fresh]
        results = iter(self._store.write_batches(batches) if batches else [])
        return [DUPLICATE if one.before or one.superseded else self._status(one, next(results)) for one in taken]

    def _make_way(self, taken: Iterable[_Taken]) -> None:
        """Plan again what has something in its place, such as its earlier round: found only when it is written, it would be
        written again after what was sent after it."""
        placed = {one.writes[0].id: one for one in taken if one.writes}
        for id in self._store.get_many(list(placed)):
            placed[id].writes.clear()
            self._plan(placed[id], kept=True, again=True)

    def _status(self, one: _Taken, result: list[Document] | RevisionConflict) -> str:
        if isinstance(result, RevisionConflict):
            receipt = self._store.get(one.receipt)
            if receipt is not None:  # it came twice in one turn, or through two processes
                one.execution = execution_from(receipt)
                return DUPLICATE
            # Its place was taken meanwhile: by another round, or another member's message. Once more, alone.
            one.writes.clear()
            self._plan(one, kept=True, again=True)  # what is not kept cannot conflict
            if one.superseded:
                return DUPLICATE
            self._store.write([*one.writes, one.receipt_write()])
        self._rounds.note(one.origin, one.id, one.round)
        return DELIVERED

    def forget_receipts(self, most: int = 500) -> int:
        """Delete receipts of messages that cannot be sent again, their deadline being long past; returns how many."""
        return receipts.forget(self._store, most)


def _log_taken(taken: _Taken, status: str) -> None:
    """A log line for finding the client's request id; others have none, since each costs as much as a commit."""
    fields = tracing.log_fields(taken.traced)
    named = {"message_id": taken.id, "member": taken.origin, "layer": taken.layer, **fields}
    asked = fields.get("request_id", "-")
    log.info("%s of %s came on %s: %s (request %s)", taken.id, taken.origin, taken.layer, status, asked, extra=named)
