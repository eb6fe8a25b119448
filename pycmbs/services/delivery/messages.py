"""Messages: validated, shown with their ledger, executed, deleted. For sending: :mod:`pycmbs.services.delivery.sending`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from pycmbs import codec, tracing
from pycmbs.backends.base import Begun, Report
from pycmbs.errors import (
    BeingSent,
    CmbsError,
    InvalidRequest,
    NotExecutable,
    TooLarge,
)
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.occi.topics import check_topic
from pycmbs.services.access.access import Access, asking
from pycmbs.services.access.principal import MESSAGE, Principal
from pycmbs.services.delivery.letter import differ
from pycmbs.services.delivery.recipients import provider_id
from pycmbs.services.delivery.sending import SendingService
from pycmbs.services.engine_link import EngineLink
from pycmbs.services.entities.service import EntityService
from pycmbs.services.execution.operations import OperationService
from pycmbs.services.execution.service import is_operation, record_result
from pycmbs.services.federation.members import MemberService
from pycmbs.services.records import deliveries
from pycmbs.store.base import Store, Write

_HANDLE_SECONDS = 60.0


class MessageService:
    """Everything the broker does with messages on the sender's side."""

    def __init__(
        self,
        store: Store,
        entities: EntityService,
        members: MemberService,
        operations: OperationService,
        access: Access,
        engine: EngineLink,
        check_address: Callable[[str], None],
        sending: SendingService,
        *,
        max_content: int,
    ) -> None:
        """``max_content``: bytes of JSON."""
        self._store = store
        self._entities = entities
        self._members = members
        self._operations = operations
        self._access = access
        self._engine = engine
        self._check_address = check_address
        self._sending = sending
        self._max_content = max_content

    # What the backend asks

    def prepare(self, message: Entity) -> None:
        """Complete and check a new or changed message; may change it. Raises InvalidRequest, InvalidAddress, TooLarge."""
        attributes = message.attributes
        tracing.note(message.private)
        self._check_size(attributes.get(cmbs.CONTENT))
        if cmbs.ORIGIN not in attributes and (own := self._members.local_id()):
            attributes[cmbs.ORIGIN] = own
        layers = [cmbs.LAYER_OF[mixin] for mixin in message.mixins if mixin in cmbs.LAYER_OF]
        if not attributes.get(cmbs.LAYER) and len(layers) == 1:
            attributes[cmbs.LAYER] = layers[0]
        if layers and attributes.get(cmbs.LAYER) not in layers:
            raise InvalidRequest(
                f"the message says layer {attributes.get(cmbs.LAYER)!r} and has the mixin of {' and '.join(layers)}",
                attribute=cmbs.LAYER,
            )
        self._check_addressing(attributes)
        deadline = attributes.get(cmbs.DEADLINE)
        if deadline is not None and not 0 < deadline <= 366 * 86400:
            raise InvalidRequest(f"{cmbs.DEADLINE} must be between 0 and 366 days, in seconds", attribute=cmbs.DEADLINE)

    def _check_addressing(self, attributes: Mapping[str, Any]) -> None:
        """Raises InvalidRequest, InvalidAddress."""
        if receiver := attributes.get(cmbs.RECEIVER):
            if not isinstance(receiver, str):
                raise InvalidRequest(f"{cmbs.RECEIVER} must be a socket URL, or a name", attribute=cmbs.RECEIVER)
            if self._members.by_id(provider_id(receiver)) is None:
                self._check_receiver(receiver)
        for item in cmbs.items(attributes, cmbs.PROVIDERS):
            if not isinstance(item, str) or not item:
                raise InvalidRequest(f"{cmbs.PROVIDERS} must hold names, not {item!r:.80}", attribute=cmbs.PROVIDERS)
        for item in cmbs.items(attributes, cmbs.TOPICS):
            check_topic(item, cmbs.TOPICS)

    def _check_receiver(self, url: str) -> None:
        """Raises InvalidAddress for what is no member's name, and no socket."""
        try:
            self._check_address(url)
        except CmbsError as exc:
            exc.data["attribute"] = cmbs.RECEIVER
            exc.hint = f"{exc.hint} The name of a member that is known here will do, too.".lstrip()
            raise

    def note_change(self, old: Entity, new: Entity) -> None:
        """Note in the new one that it is not what is being executed. Raises BeingSent while it is still to be sent."""
        if old.attributes.get(cmbs.STATE) != deliveries.SENDING or not differ(old, new):
            return
        new.private[deliveries.CHANGED] = True
        if any(row.open for row in deliveries.of_sent(self._store, old)):
            raise BeingSent(
                f"{old.path} is being sent: it cannot be changed until it is settled",
                hint="Change it when its state is no longer sending (a send with wait tells), or make another message.",
                location=old.path,
            )

    def _check_size(self, content: Any) -> None:
        if len(codec.dumps(content)) > self._max_content:
            raise TooLarge(
                f"{cmbs.CONTENT} is larger than {self._max_content} bytes of JSON",
                hint="The setting max_content says how large it may be.",
                attribute=cmbs.CONTENT,
            )

    def ledger(self, message: Entity) -> list[dict[str, Any]]:
        """Per recipient: what became of the message."""
        said = tracing.carried(message.private)
        asked = {"request_id": said[tracing.REQUEST_ID]} if tracing.REQUEST_ID in said else {}
        return [row.entry() | asked for row in deliveries.of_sent(self._store, message)]

    def forget(self, messages: Sequence[Entity]) -> list[Sequence[Write]]:
        """For each of the messages, which are about to be deleted, the writes that remove what belongs to it."""
        # What a send that failed half-way left, the engine removes.
        left = deliveries.leftovers(self._store, {one.path: deliveries.ids_of(one) for one in messages})
        return [
            [Write(row.id, deliveries.DELIVERY, revision=row.revision, delete=True) for row in left[one.path]]
            for one in messages
        ]

    def execute(self, message: Entity) -> Report:
        """Perform, here, the operation in the message's content; what comes of it is its ``result``. The principal must be
        allowed what the content says; and if it was received, so must its sender.

        Raises NotExecutable, InvalidRequest (no operation), and whatever the operation raises, which is then its result.
        """
        if message.attributes.get(cmbs.EXECUTABLE) == "false":
            raise NotExecutable(f"{message.path} is not executable", attribute=cmbs.EXECUTABLE)
        content = message.attributes.get(cmbs.CONTENT)
        try:
            with self._asking(message):
                result = self._executed(message, content)
        except CmbsError as exc:
            record_result(self._entities, message.path, {"error": exc.to_dict()})
            raise
        record_result(self._entities, message.path, result)
        return {"result": result}

    def _asking(self, message: Entity) -> AbstractContextManager[None]:
        if not self._access.asked or message.attributes.get(cmbs.STATE) != cmbs.RECEIVED:
            return contextlib.nullcontext()
        return asking(Principal(str(message.attributes.get(cmbs.ORIGIN, "")), via=MESSAGE))

    def _executed(self, message: Entity, content: Any) -> Any:
        if not is_operation(content) or self._operations.knows(content["operation"]):
            return self._operations.perform(content)
        target = content.get("target")
        self._access.check_handler(content["operation"], target if isinstance(target, str) else "")
        return self._engine.call("handle", {"message": message.path}, seconds=_HANDLE_SECONDS)["result"]

    def send(
        self, messages: Sequence[Entity], layer: str, attributes: Mapping[str, Any], *, pinned: bool = False
    ) -> list[Report]:
        """See :meth:`pycmbs.services.delivery.sending.SendingService.send`."""
        return self._sending.send(messages, layer, attributes, pinned=pinned)

    def begin(self, messages: Sequence[Entity], layer: str, attributes: Mapping[str, Any]) -> Begun:
        """See :meth:`pycmbs.services.delivery.sending.SendingService.begin`."""
        return self._sending.begin(messages, layer, attributes)

    def reports(self, messages: Sequence[Entity], attributes: Mapping[str, Any]) -> list[Report]:
        """See :meth:`pycmbs.services.delivery.sending.SendingService.reports`."""
        return self._sending.reports(messages, attributes)
