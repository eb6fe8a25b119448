"""Messages: made ready, sent on a layer, received from others. Posting one over HTTP or receiving one runs this code."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pycmbs import codec
from pycmbs.backends.base import Report
from pycmbs.errors import (
    CmbsError,
    EngineUnavailable,
    InvalidRequest,
    NoLocalMember,
    NotExecutable,
    NotSendable,
    PreconditionFailed,
    RevisionConflict,
    TooLarge,
)
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.occi.naming import LAYERS, canonical
from pycmbs.services import deliveries, routing
from pycmbs.services.bound import OutboxBound
from pycmbs.services.deliveries import FAILED, Delivery
from pycmbs.services.documents import entity_write, settle
from pycmbs.services.entities import EntityService
from pycmbs.services.execution import is_operation, record_result
from pycmbs.services.link import EngineLink
from pycmbs.services.members import MemberService
from pycmbs.services.operations import OperationService
from pycmbs.services.roster import is_local, socket_of
from pycmbs.store.base import Store, Write

_HANDLE_SECONDS = 60.0
_LAYER_OF = {cmbs.mixin(layer): layer for layer in LAYERS}


class MessageService:
    """Everything the broker does with messages on the sender's side."""

    def __init__(
        self,
        store: Store,
        entities: EntityService,
        members: MemberService,
        operations: OperationService,
        engine: EngineLink,
        check_address: Callable[[str], None],
        bound: OutboxBound,
        *,
        deadline: float,
        max_content: int,
    ) -> None:
        """``deadline``: seconds a message without one of its own is kept trying. ``max_content``: bytes of JSON."""
        self._store = store
        self._entities = entities
        self._members = members
        self._operations = operations
        self._engine = engine
        self._check_address = check_address
        self._bound = bound
        self._deadline = deadline
        self._max_content = max_content

    # What the backend asks

    def prepare(self, message: Entity) -> None:
        """See :class:`~pycmbs.backends.base.Messages`. Raises InvalidRequest, InvalidAddress, TooLarge."""
        attributes = message.attributes
        self._check_size(attributes.get(cmbs.CONTENT))
        if cmbs.ORIGIN not in attributes and (own := self._members.local_id()):
            attributes[cmbs.ORIGIN] = own
        layers = [_LAYER_OF[mixin] for mixin in message.mixins if mixin in _LAYER_OF]
        if not attributes.get(cmbs.LAYER) and len(layers) == 1:
            attributes[cmbs.LAYER] = layers[0]
        if layers and attributes.get(cmbs.LAYER) not in layers:
            raise InvalidRequest(
                f"the message says layer {attributes.get(cmbs.LAYER)!r} and has the mixin of {' and '.join(layers)}",
                attribute=cmbs.LAYER,
            )
        if receiver := attributes.get(cmbs.RECEIVER):
            try:
                self._check_address(receiver)
            except CmbsError as exc:
                exc.data["attribute"] = cmbs.RECEIVER
                raise
        for name in (cmbs.PROVIDERS, cmbs.TOPICS):
            for item in attributes.get(name) or []:
                if not isinstance(item, str) or not item:
                    raise InvalidRequest(f"{name} must hold names, not {item!r:.80}", attribute=name)
        deadline = attributes.get(cmbs.DEADLINE)
        if deadline is not None and not 0 < deadline <= 366 * 86400:
            raise InvalidRequest(f"{cmbs.DEADLINE} must be between 0 and 366 days, in seconds", attribute=cmbs.DEADLINE)

    def _check_size(self, content: Any) -> None:
        if len(codec.dumps(content)) > self._max_content:
            raise TooLarge(
                f"{cmbs.CONTENT} is larger than {self._max_content} bytes of JSON",
                hint="The setting max_content says how large it may be.",
                attribute=cmbs.CONTENT,
            )

    def ledger(self, message: Entity) -> list[dict[str, Any]]:
        """See :class:`~pycmbs.backends.base.Messages`."""
        return [row.entry() for row in self._rows_of(message)]

    def _rows_of(self, message: Entity) -> list[Delivery]:
        """Only a message that was sent has any."""
        return deliveries.of_message(self._store, message.path) if "round" in message.private else []

    def forget(self, message: Entity) -> Sequence[Write]:
        """See :class:`~pycmbs.backends.base.Messages`."""
        rows = deliveries.of_message(self._store, message.path)
        return [Write(row.id, deliveries.DELIVERY, revision=row.revision, delete=True) for row in rows]

    def execute(self, message: Entity) -> Report:
        """Perform, here, the operation in the message's content; what comes of it is its ``result``.

        Raises NotExecutable, InvalidRequest (no operation), and whatever the operation raises, which is then its result.
        """
        if message.attributes.get(cmbs.EXECUTABLE) == "false":
            raise NotExecutable(f"{message.path} is not executable", attribute=cmbs.EXECUTABLE)
        content = message.attributes.get(cmbs.CONTENT)
        try:
            if is_operation(content) and not self._operations.knows(content["operation"]):
                result = self._engine.call("handle", {"message": message.path}, seconds=_HANDLE_SECONDS)["result"]
            else:
                result = self._operations.perform(content)
        except CmbsError as exc:
            record_result(self._entities, message.path, {"error": exc.to_dict()})
            raise
        record_result(self._entities, message.path, result)
        return {"result": result}

    # Sending

    def send(self, message: Entity, layer: str, attributes: Mapping[str, Any], *, pinned: bool = False) -> Report:
        """Accept the message for delivery on a layer: durable when this returns.

        ``attributes`` may hold ``dry_run`` (tell who would get it, send nothing) and ``wait`` (seconds to wait until all
        recipients are settled). A message that is being sent is not sent twice. ``pinned``: send it as it is given only.
        Raises NotSendable, NoLocalMember, InvalidRequest, PreconditionFailed.
        """
        dry_run, wait = bool(attributes.get("dry_run")), float(attributes.get("wait", 0))
        self._check_sendable(message, layer)
        own = self._members.local()
        if own is None:
            raise NoLocalMember(
                "this broker has no member to send as",
                hint=f"POST one to {cmbs.MEMBER_LOCATION} first.",
            )
        if dry_run:
            return _plan(self.route(message, layer))
        accepted, rows = self._accept(message, layer, own, pinned=pinned)
        if wait and any(row.unsettled for row in rows):
            rows = self._settled(message.path, wait) or self._rows_of(self._entities.stored(message.path))
        else:
            self._engine.wake()
        return _report(accepted, rows)

    def _settled(self, path: str, seconds: float) -> list[Delivery]:
        """The rows of a message once all are settled, if the engine can tell them; this wakes it, too."""
        try:
            answer = self._engine.call("wait", {"message": path, "seconds": seconds}, seconds=seconds + 2)
        except EngineUnavailable:
            return []  # accepted is accepted, and the report says how far it is
        return [Delivery(**row) for row in answer.get("rows") or ()]

    def _check_sendable(self, message: Entity, layer: str) -> None:
        if message.attributes.get(cmbs.SENDABLE) == "false":
            raise NotSendable(
                f"{message.path} is not sendable", hint=f"Set {cmbs.SENDABLE} to true.", attribute=cmbs.SENDABLE
            )
        said = canonical(str(message.attributes.get(cmbs.LAYER) or layer))
        if said != layer:
            raise NotSendable(
                f"{message.path} is a message of layer {said}", hint=f"Use ?action=send_{said}.", attribute=cmbs.LAYER
            )

    def route(self, message: Entity, layer: str) -> routing.Routing:
        """Who gets the message on this layer, as of now. Raises InvalidRequest when it does not say whom it is for."""
        attributes = message.attributes
        if layer == "l1":
            socket = _needed(attributes, cmbs.RECEIVER, layer)
            return routing.unicast(socket, [_peer(member, layer) for member in self._members.now().at(layer, socket)])
        peers = [_peer(member, layer) for member in self._members.all()]
        if layer == "l2":
            return routing.broadcast(peers)
        if layer == "l31":
            return routing.multicast(_needed(attributes, cmbs.PROVIDERS, layer), peers)
        if layer == "l32":
            return routing.topical(_needed(attributes, cmbs.TOPICS, layer), peers)
        providers, topics = _needed(attributes, cmbs.PROVIDERS, layer), _needed(attributes, cmbs.TOPICS, layer)
        return routing.multicast_topical(providers, topics, peers)

    def _accept(self, message: Entity, layer: str, own: Entity, *, pinned: bool) -> tuple[Entity, list[Delivery]]:
        """One commit: a row per recipient, and the message that makes them valid; returns both. Changes made meanwhile are
        respected, or, if it is ``pinned``, forbid it."""
        for _ in range(20):
            rows = self._rows_of(message)
            if any(row.unsettled for row in rows):
                return message, rows
            writes = [Write(row.id, deliveries.DELIVERY, revision=row.revision, delete=True) for row in rows]
            sent = message.copy()
            # Grows with every sending, also when a message is deleted and made anew under its id: receivers tell them apart.
            sent.private["round"] = max(message.private.get("round", 0) + 1, int(time.time() * 1e6))
            new = self._rows(sent, layer)
            settle(sent, deliveries.settled_at(new))
            sent.attributes |= {cmbs.ORIGIN: own.id, cmbs.STATE: deliveries.summary(new), cmbs.LAYER: layer}
            try:
                self._write(
                    [*writes, *(row.write() for row in new), entity_write(sent, revision=message.revision)],
                    sum(row.unsettled for row in new),
                )
            except RevisionConflict as exc:
                if pinned:
                    raise PreconditionFailed(f"{message.path} was changed meanwhile", location=message.path) from exc
                message = self._entities.stored(message.path)
                continue
            return sent, new
        raise NotSendable(f"others keep changing {message.path}", hint="Try again.")

    def _write(self, writes: Sequence[Write], waiting: int) -> None:
        """Write what makes so many deliveries wait. Raises RevisionConflict, QueueFull."""
        self._bound.take(waiting)
        try:
            self._store.write(writes)
        except BaseException:
            self._bound.give_back(waiting)
            raise

    def _rows(self, message: Entity, layer: str) -> list[Delivery]:
        found = self.route(message, layer)
        message.private["uninterested"] = list(found.uninterested)
        now = time.time()
        blank = Delivery(
            message=message.path,
            round=message.private["round"],
            index=0,
            of=max(1, len(found.recipients) + len(found.unknown)),
            member="",
            socket="",
            layer=layer,
            accepted=now,
            deadline=now + float(message.attributes.get(cmbs.DEADLINE) or self._deadline),
        )
        rows: list[Delivery] = []
        for one in found.recipients:
            row = replace(blank, index=len(rows), member=one.member, socket=one.socket, why=one.reason)
            rows.append(row if one.socket else row.settled(FAILED, now, f"it has no {layer} socket"))
        for name in found.unknown:
            row = replace(blank, index=len(rows), member=name, why=f"it is named as {name}")
            rows.append(row.settled(FAILED, now, "no member of that name is known"))
        return rows or [blank.settled(FAILED, now, f"nobody is a recipient: {_NOBODY[layer]}")]


_NOBODY = {
    "l2": "no other member is known",
    "l32": "no other member is interested in one of its topics",
    "l4": "no member that it names is interested in one of its topics",
}


def _peer(member: Entity, layer: str) -> routing.Peer:
    topics = tuple(member.attributes.get(cmbs.MEMBER_TOPICS) or ())
    return routing.Peer(member.id, socket_of(member, layer), topics, is_local(member))


def _needed(attributes: Mapping[str, Any], name: str, layer: str) -> Any:
    value = attributes.get(name)
    if not value:
        raise InvalidRequest(f"a message of layer {layer} must say {name}", attribute=name)
    return value


def _report(message: Entity, rows: Sequence[Delivery]) -> Report:
    report: Report = {
        "state": deliveries.summary(rows),
        "recipients": sum(bool(row.member or row.socket) for row in rows),
        "delivered": sum(row.there for row in rows),
        "deliveries": [row.entry() for row in rows],
    }
    if rows and not report["recipients"]:
        report["reason"] = rows[0].reason
    if uninterested := message.private.get("uninterested"):
        report["uninterested"] = uninterested
    return report


def _plan(found: routing.Routing) -> Report:
    return {
        "recipients": [{"member": one.member, "socket": one.socket, "why": one.reason} for one in found.recipients],
        "unknown": list(found.unknown),
        **({"uninterested": list(found.uninterested)} if found.uninterested else {}),
        "dry_run": True,
    }
