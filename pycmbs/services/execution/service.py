"""Execution: decides which senders may have an operation or handler run here, and runs it once in effect.

What is to be executed stands in the receipt of its message from the commit on that took it in, as an *execution*::

    {"operation": {…}, "sender": "…", "path": "…", "message": "…", "layer": "l1", "state": "waiting", "outcome": null}

``waiting`` → ``started`` (a handler was called, or an effect is about to be written: its ``intent``) or ``effected`` (the
effect is in the store) → ``done``, with an ``outcome``: ``{"result": …}`` or ``{"error": …}``.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeGuard

from pycmbs import clock
from pycmbs.errors import (
    CmbsError,
    EngineUnavailable,
    Forbidden,
    HandlerFailed,
    NotFound,
    RevisionConflict,
    StoreUnavailable,
    UnknownEntity,
)
from pycmbs.handlers import Call, Handler
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.services.access.access import Access, asking
from pycmbs.services.access.principal import MESSAGE, Principal
from pycmbs.services.access.rules import LISTING
from pycmbs.services.entities.service import EntityService
from pycmbs.services.execution.noted import Noted
from pycmbs.services.execution.once import AlreadyApplied, Intent, OnceStore
from pycmbs.services.execution.operations import OperationService
from pycmbs.services.records.entities import ENTITY, entity_write, note_settled, path_of
from pycmbs.services.records.fitting import fitting_outcome
from pycmbs.services.records.receipts import RECEIPT, receipt_id
from pycmbs.services.records.times import sort_key_of_time
from pycmbs.store.base import Document, Query, Write
from pycmbs.tracing import TRACEPARENT

log = logging.getLogger(__name__)

WAITING, STARTED, EFFECTED, DONE = "waiting", "started", "effected", "done"
_FAILED = HandlerFailed("the broker failed to execute it")
_INTERRUPTED = HandlerFailed("it was interrupted by a restart of the receiver, and is not known to be repeatable")


class Handlers(Protocol):
    """What calls handlers."""

    def get(self, name: str) -> Handler | None:
        """The handler of this name, or None."""

    def known(self) -> Mapping[str, Handler]:
        """All of them, by name."""

    def call(self, handler: Handler, call: Call) -> Any:
        """What the handler returns. Raises HandlerFailed."""

    def close(self) -> None:
        """Stop, and kill what runs."""


class Lane(NamedTuple):
    """What is executed one after the other: the operations of one sender, or its calls of one handler."""

    sender: str
    handler: str


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution, as its receipt has it."""

    operation: dict[str, Any]
    sender: str
    path: str
    message: str
    layer: str
    state: str = WAITING
    outcome: dict[str, Any] | None = None
    wrote: list[str] | None = None
    intent: dict[str, Any] | None = None
    traceparent: str = ""

    def body(self) -> dict[str, Any]:
        """As the receipt keeps it. Of one that is done only the outcome is of use."""
        names = ("state", "outcome") if self.state == DONE else self.__slots__
        body = {name: getattr(self, name) for name in names}
        if not self.traceparent:  # a receipt of most is as it was before there was one
            body.pop("traceparent", None)
        return body

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """The receipt's keys by which one that is not done is found after a restart."""
        return {} if self.state == DONE else {"open": ("1",)}

    def call(self) -> Call:
        """As a handler gets it."""
        parts = {name: one for name in ("target", "action") if isinstance(one := self.operation.get(name), str)}
        attributes = self.operation.get("attributes")
        given = attributes if isinstance(attributes, dict) else {}
        name = self.operation["operation"]
        return Call(
            name,
            **parts,
            attributes=given,
            sender=self.sender,
            message=self.message,
            layer=self.layer,
            traceparent=self.traceparent,
        )


def is_operation(content: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a message's content asks for something to be done."""
    return isinstance(content, dict) and isinstance(content.get("operation"), str)


def execution_from(receipt: Document) -> Execution | None:
    """The execution in a receipt, None when its message asked for none."""
    body = receipt.body.get("execution")
    if not body:
        return None
    return Execution(**{"operation": {}, "sender": "", "path": "", "message": "", "layer": ""} | body)


class ExecutionService:
    """Decides what is executed, and executes it."""

    def __init__(
        self,
        store: OnceStore,
        entities: EntityService,
        operations: OperationService,
        handlers: Handlers,
        access: Access,
        noted: Noted,
        *,
        most: int,
    ) -> None:
        """``entities`` and ``operations`` must write to ``store``. ``most``: bytes of JSON in an outcome."""
        self._store = store
        self._entities = entities
        self._operations = operations
        self._handlers = handlers
        self._access = access
        self._noted = noted
        self._most = most
        self._unstored: dict[str, dict[str, Any]] = {}
        self._closing = False

    def close(self) -> None:
        """Kill the handlers that run; what they were called for is not done."""
        self._closing = True
        self._handlers.close()

    def planned(self, message: Entity, sender: str) -> Execution | None:
        """What a message that just came asks to be executed here; already done when it is refused. None: nothing."""
        content = message.attributes.get(cmbs.CONTENT)
        if not is_operation(content) or message.attributes.get(cmbs.EXECUTABLE) == "false":
            return None
        layer = str(message.attributes.get(cmbs.LAYER, ""))
        kept = message.path if message.attributes.get(cmbs.STORABLE) != "false" else ""
        traceparent = message.private.get(TRACEPARENT, "")
        execution = Execution(content, sender, kept, message.id, layer, traceparent=traceparent)
        refusal = self._refusal(execution)
        if refusal is None:
            return execution
        self._noted.refused(execution, self._what(execution), refusal)
        return replace(execution, state=DONE, outcome=refusal)

    def _refusal(self, execution: Execution) -> dict[str, Any] | None:
        """The outcome of what no rule allows; None for what one does."""
        if execution.operation["operation"] == LISTING and self._listed(execution.sender):
            return None
        touched = self._touched(execution.operation)
        target = execution.call().target if self._handlers.get(touched[0][0]) is not None else None
        with asking(_sender(execution.sender)):
            if all(self._access.may(operation, kinds, target) for operation, kinds in touched):
                return None
        operation = touched[0][0]
        refusal = Forbidden(
            f"{execution.sender} may not have {operation[:100]!r} executed here",
            hint="The setting allow of this broker and its rules decide that.",
            operation=operation[:100],
        )
        return {"error": refusal.to_dict()}

    def _listed(self, sender: str) -> dict[str, Any]:
        """The handlers that a member may call, with some target at least: what there is besides, it is not told."""
        with asking(_sender(sender)):
            return {name: one.shown() for name, one in self._handlers.known().items() if self._access.may(name, ())}

    def _touched(self, operation: dict[str, Any]) -> list[tuple[str, list[str]]]:
        """The operation as rules name it, and the names of its target's kind; and so for what else it touches, each of which
        needs a rule. What is not known has a name that only ``*`` matches: refusals do not tell what is there."""
        verb = operation["operation"]
        if self._handlers.get(verb) is not None:
            return [(verb, [])]
        return self._operations.subjects(operation)

    def waiting(self, after: int = 0, limit: int = 500) -> list[Document]:
        """Receipts whose executions are not done, in the order in which they came."""
        return self._store.find(Query(RECEIPT, {"open": "1"}, after=after, limit=limit))

    def outcome(self, origin: str, message: str, round: int) -> Execution:
        """How far the execution of a message is. Raises NotFound when there is none."""
        receipt = self._store.get(receipt_id(origin, message, round))
        execution = execution_from(receipt) if receipt is not None else None
        if execution is None:
            raise NotFound(f"nothing of the message {message} is executed here", id=message)
        return execution

    def lane(self, execution: Execution) -> Lane:
        """What this execution must not overtake."""
        verb = str(execution.operation.get("operation"))
        return Lane(execution.sender, verb if self._handlers.get(verb) is not None else "")

    def run(self, id: str) -> Execution | None:
        """Execute what a receipt says, if that is not done yet; returns it with its outcome. None: there is nothing to do.

        Raises StoreUnavailable, and EngineUnavailable when this broker stops: then it is to be run again.
        """
        receipt = self._store.get(id)
        execution = execution_from(receipt) if receipt is not None else None
        if receipt is None or execution is None or execution.state == DONE:
            return execution
        if id not in self._unstored:  # else it was run, and the store was away when that was to be noted
            begun = time.monotonic()
            outcome = self._outcome(receipt, execution)
            self._noted.done(execution, self._what(execution), outcome, time.monotonic() - begun)
            self._unstored[id] = fitting_outcome(outcome, self._most, where="receiver")
        done = self._finish(id, replace(execution, state=DONE, outcome=self._unstored[id]))
        del self._unstored[id]
        return done

    def _what(self, execution: Execution) -> str:
        return "handler" if self.lane(execution).handler else "operation"

    def _outcome(self, receipt: Document, execution: Execution) -> dict[str, Any]:
        verb = str(execution.operation.get("operation"))
        handler = self._handlers.get(verb)
        if verb == LISTING and (found := self._listed(execution.sender)):
            return {"result": found}
        if handler is None and self._has_effect(receipt, execution):
            return {"result": self._again(execution)}
        # Once more: what was there when it came, and what is allowed, may have changed while it waited.
        refusal = None if handler and execution.state == STARTED else self._refusal(execution)
        if refusal is not None:
            return refusal
        return self._call(receipt, execution, handler) if handler else self._perform(receipt, execution)

    def _has_effect(self, receipt: Document, execution: Execution) -> bool:
        """Whether the operation was performed before a kill."""
        if execution.intent is None:
            return execution.state == EFFECTED
        return self._store.has_effect(receipt.id, Intent(**execution.intent))

    def _call(self, receipt: Document, execution: Execution, handler: Handler) -> dict[str, Any]:
        if execution.state == STARTED and not handler.idempotent:
            return {"error": _INTERRUPTED.to_dict()}
        if execution.state == WAITING:
            self._store.write([_write(receipt, replace(execution, state=STARTED))])
        try:
            return {"result": self._handlers.call(handler, execution.call())}
        except CmbsError as exc:
            if self._closing:  # it was killed by the broker, and not by what it did
                raise EngineUnavailable("the broker stops") from exc
            return {"error": exc.to_dict()}

    def _perform(self, receipt: Document, execution: Execution) -> dict[str, Any]:
        def mark(document: Document, ids: list[str], intent: Intent | None) -> Write:
            paths = [path_of(one) for one in ids if one.startswith(f"{ENTITY}:")]
            state, plan = (EFFECTED, None) if intent is None else (STARTED, intent.body())
            return _write(document, replace(execution, state=state, wrote=paths, intent=plan))

        try:
            with self._store.marking(receipt, mark), asking(_sender(execution.sender)):
                return {"result": self._operations.perform(execution.operation)}
        except AlreadyApplied:
            return {"result": self._again(self._now(receipt.id) or execution)}
        except StoreUnavailable:
            raise
        except CmbsError as exc:
            return {"error": exc.told()}
        except Exception:
            log.exception("executing %s failed", receipt.id)
            return {"error": _FAILED.to_dict()}

    def handle(self, path: str) -> Any:
        """Call the handler that the content of a message here asks for, for a client of this broker: whatever the rules say, if
        the message is the broker's own. One that was received asks for what its sender wants, and that needs a rule.

        Raises UnknownEntity, Forbidden, InvalidRequest (there is no such handler), HandlerFailed.
        """
        message = self._entities.stored(path)
        execution = Execution(
            message.attributes[cmbs.CONTENT],
            "",
            path,
            message.id,
            message.attributes.get(cmbs.LAYER, ""),
            traceparent=message.private.get(TRACEPARENT, ""),
        )
        origin = str(message.attributes.get(cmbs.ORIGIN, ""))
        received = message.attributes.get(cmbs.STATE) == cmbs.RECEIVED
        if execution.operation["operation"] == LISTING:
            every = {name: one.shown() for name, one in self._handlers.known().items()}
            return self._listed(origin) if received else every
        handler = self._handlers.get(execution.operation["operation"])
        if handler is None:
            return self._operations.perform(execution.operation)  # raises: it says what there is
        if received:
            with asking(_sender(origin)):
                allowed = self._access.may(handler.name, (), execution.call().target)
            if not allowed:
                raise Forbidden(
                    f"{origin} may not have {handler.name!r} executed here, and the message is from there",
                    hint="The setting allow decides that; a message of this broker's own needs no rule.",
                    operation=handler.name,
                )
        return self._handlers.call(handler, execution.call())

    def _now(self, id: str) -> Execution | None:
        receipt = self._store.get(id)
        return execution_from(receipt) if receipt is not None else None

    def _again(self, execution: Execution) -> Any:
        """The result of what had its effect before a kill: it must not be done again, only told."""
        verb, target = execution.operation.get("operation"), str(execution.operation.get("target"))
        if verb == "create" and execution.wrote:
            return {"location": execution.wrote[-1]}
        if verb in ("replace", "update"):
            with contextlib.suppress(CmbsError), asking(_sender(execution.sender)):
                return self._operations.perform({"operation": "read", "target": target})
        return {}

    def _finish(self, id: str, execution: Execution) -> Execution:
        """Store the outcome, in one commit, with the message if that was kept and with the receipt; returns what is stored
        then: of two that executed it, the first is believed."""
        while (receipt := self._store.get(id)) is not None:
            before = execution_from(receipt)
            if before is not None and before.state == DONE:
                return before
            writes = [_write(receipt, execution)]
            message = self._entities.stored_many([execution.path]).get(execution.path) if execution.path else None
            if message is not None:
                message.attributes[cmbs.RESULT] = result_of(execution)
                if "round" not in message.private:  # else it is being sent on here, and that decides
                    note_settled(message, clock.now())
                writes.insert(0, entity_write(message, revision=message.revision))
            try:
                self._store.write(writes)
            except RevisionConflict:
                continue
            break
        return execution


def _sender(member: str) -> Principal:
    return Principal(member, via=MESSAGE)


def result_of(execution: Execution) -> Any:
    """What the ``result`` of the message says at the receiver."""
    outcome = execution.outcome or {}
    return outcome.get("result", outcome)


def record_result(entities: EntityService, path: str, result: Any) -> None:
    """Show with a message what came of executing it."""

    def change(message: Entity) -> bool:
        message.attributes[cmbs.RESULT] = result
        return True

    with contextlib.suppress(UnknownEntity):  # the operation may have deleted its own message
        entities.modify(path, change)


def _write(receipt: Document, execution: Execution) -> Write:
    body = {**receipt.body, "execution": execution.body()}
    return Write(receipt.id, RECEIPT, body, {**_expiry(receipt), **execution.keys}, receipt.revision)


def _expiry(receipt: Document) -> Mapping[str, tuple[str, ...]]:
    return {"expires": receipt.keys.get("expires", (sort_key_of_time(0),))}
