"""Receives datagrams, stores each batch in one commit, then acknowledges."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from typing import Any

from msgspec.structs import replace

from pycmbs.engine.executor import Executor
from pycmbs.engine.quotas import Quotas, Verdict, over_quota
from pycmbs.engine.relay import Relay
from pycmbs.engine.speaker import check_plain, said
from pycmbs.errors import (
    BadEnvelope,
    ClaimedId,
    CmbsError,
    ForgedSender,
    InvalidRequest,
    NotFound,
    RemoteError,
    RevisionConflict,
    Unavailable,
)
from pycmbs.metrics.table import RECEIVED, layer_label
from pycmbs.occi import naming
from pycmbs.queues import BoundedQueue
from pycmbs.runtime import in_turn
from pycmbs.seldom import Seldom
from pycmbs.services.delivery.inbox import InboxService, Incoming
from pycmbs.services.execution.service import DONE, ExecutionService
from pycmbs.services.federation.lives import LIFE, Lives
from pycmbs.services.federation.seals import Seals
from pycmbs.services.federation.trust import INVITED
from pycmbs.services.records import numbers
from pycmbs.services.records.deliveries import DELIVERED
from pycmbs.services.records.receipts import receipt_id
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import (
    ACK,
    ALIVE,
    HELLO,
    INQUIRY,
    LEAVE,
    MESSAGE,
    OUTCOME,
    PROBE,
    REFUSAL,
    WELCOME,
    Envelope,
    decode,
    encode,
    reply_to,
)
from pycmbs.workers import new_thread

log = logging.getLogger(__name__)

_FOR_GOOD = (BadEnvelope, NotFound, InvalidRequest, ForgedSender)
"""What is refused so would be refused again."""
_TURN = 256
_TURN_BYTES = 4 * 1024 * 1024
_BOUND = 10_000
_BOUND_BYTES = 32 * 1024 * 1024


class Inbound:
    """A queue and a thread between the transport and the inbox."""

    def __init__(
        self,
        inbox: InboxService,
        identity: Callable[[], str],
        layers_at: Callable[[str], tuple[str, ...]],
        reply: Callable[[Hashable, bytes], None],
        introduced: Callable[[Envelope], None],
        alive: Callable[[str], dict[str, Any]],
        relay: Relay,
        execution: ExecutionService,
        executor: Executor,
        lives: Lives,
        admit: Callable[[str, Any], dict[str, str]],
        seals: Seals | None = None,
    ) -> None:
        """``identity``: the id of the own member, empty while there is none. ``layers_at``: the layers that listen at a URL.
        ``introduced``: told of every hello that was taken in. ``alive``: what a probe by this member is answered with.
        ``admit``: lets in a guest that comes by an invitation. ``seals``: opens what comes through others, where members
        have keys."""
        self._seals = seals
        self._inbox = inbox
        self._identity = identity
        self._layers_at = layers_at
        self._reply = reply
        self._introduced = introduced
        self._alive = alive
        self._relay = relay
        self._execution = execution
        self._executor = executor
        self._lives = lives
        self._admit = admit
        self._quotas = Quotas()
        self._queue: BoundedQueue[tuple[Arrival, Verdict] | None] = BoundedQueue(_BOUND, _BOUND_BYTES)
        self._full, self._over, self._bad, self._forged = Seldom(log), Seldom(log), Seldom(log), Seldom(log)
        self._thread = new_thread("inbound", self._run, vital=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Finish what was taken, then stop."""
        self._queue.put(None)
        self._thread.join(2)

    def put(self, arrival: Arrival) -> None:
        """Hand over an arrival. When the queue is at its bound, or its member far over its quota, it is dropped: the sender
        tries again."""
        size = len(arrival.data)
        verdict = self._quotas.asked(arrival.who, size)
        if verdict is not Verdict.TAKEN:
            self._over("%s sends more than one member may: it is told to try again later", arrival.who)
        if verdict is not Verdict.DROPPED and not self._queue.offer((arrival, verdict), size):
            self._full("the inbound queue is full: a message at %s is left to be sent again", arrival.address)

    def _run(self) -> None:
        while True:
            turn = self._queue.turn(_TURN, _TURN_BYTES)
            try:
                with in_turn():
                    self._take([one for one in turn if one is not None])
            except Exception:
                log.exception("a turn of %d arrivals failed; their senders will try again", len(turn))
            if None in turn:
                return

    def _take(self, turn: list[tuple[Arrival, Verdict]]) -> None:
        messages: list[tuple[Arrival, Envelope]] = []
        for arrival, verdict in turn:
            try:
                envelope = decode(arrival.data)
            except BadEnvelope as exc:
                self._bad("what arrived at %s is dropped: %s", arrival.address, exc)
                continue
            if verdict is Verdict.REFUSED and envelope.type != PROBE:  # it is alive, whatever it sends
                self._refuse(arrival, envelope, over_quota(arrival.who or ""), final=False)
                continue
            try:
                heard = self._heard(arrival, envelope)
            except ForgedSender as exc:
                self._forged("refused at %s: %s", arrival.address, exc)
                self._refuse(arrival, envelope, exc, final=True)
                continue
            if heard is None or self._twice(arrival, heard):
                continue
            if heard.type == MESSAGE:
                messages.append((arrival, heard))
            else:
                self._reply_to(arrival, heard)
        if messages:
            self._receive(messages)

    def _heard(self, arrival: Arrival, envelope: Envelope) -> Envelope | None:
        """What is for the own member, opened if it was sealed; None of a guest's, and of what is passed on. Raises ForgedSender
        for what its sender did not say."""
        if arrival.who is not None and arrival.who.startswith(INVITED):
            self._admit_guest(arrival, envelope)
            return None
        own = self._identity()
        if envelope.to and own and envelope.to != own:
            check_plain(arrival.who, envelope, self._seals)
            self._pass_on(own, arrival, envelope)
            return None
        return said(arrival.who, envelope, self._seals)

    def _admit_guest(self, arrival: Arrival, envelope: Envelope) -> None:
        """A guest comes by an invitation. Raises ForgedSender for whatever else it says than who it is."""
        if envelope.type != HELLO or "joins" not in envelope.body:
            raise ForgedSender("a guest with an invitation may introduce itself, and nothing else")
        try:
            self._answer(arrival, envelope, WELCOME, {"joined": self._admit(arrival.who or "", envelope.body["joins"])})
        except CmbsError as exc:
            self._refuse(arrival, envelope, exc, final=True)
        except Exception:
            log.exception("a guest with an invitation at %s cannot be let in", arrival.address)

    def _twice(self, arrival: Arrival, envelope: Envelope) -> bool:
        """Whether its sender exists twice; if so, it is told that."""
        if LIFE in envelope.body:
            self._lives.heard(envelope.sender, envelope.body[LIFE])
        if not self._lives.contested(envelope.sender):
            return False
        try:
            self._lives.check(envelope.sender)
        except ClaimedId as exc:
            self._refuse(arrival, envelope, exc, final=False)
        return True

    def _reply_to(self, arrival: Arrival, envelope: Envelope) -> None:
        """Answer what is not a message. An exception here must not reach the others of this turn."""
        try:
            if envelope.type == HELLO:
                self._answer(arrival, envelope, WELCOME, self._inbox.greet(envelope.body, envelope.sender))
                self._introduced(envelope)
            elif envelope.type == PROBE and self._identity():
                self._answer(arrival, envelope, ALIVE, self._alive(envelope.sender))
            elif envelope.type == LEAVE:
                self._inbox.leave(envelope.sender, envelope.body)
                self._answer(arrival, envelope, ACK, {"status": DELIVERED})
            elif envelope.type == INQUIRY:
                self._inform(arrival, envelope)
            elif envelope.type != PROBE:
                raise BadEnvelope(f"an envelope of type {envelope.type!r} is not understood here")
        except CmbsError as exc:
            self._refuse(arrival, envelope, exc, final=isinstance(exc, _FOR_GOOD))
        except Exception:
            log.exception("a %s from %s cannot be processed", envelope.type, envelope.sender)

    def _inform(self, arrival: Arrival, envelope: Envelope) -> None:
        """The sender of a message asks what came of it. Raises NotFound, InvalidRequest."""
        message, round_ = naming.bare_id(envelope.body.get("message")), envelope.body.get("round")
        round_ = numbers.whole(round_, "round")
        sender = naming.bare_id(envelope.sender)
        execution = self._execution.outcome(sender, message, round_)
        if execution.state == DONE:
            self._answer(arrival, envelope, OUTCOME, {"outcome": execution.outcome or {}})
        else:
            self._answer(arrival, envelope, OUTCOME, {})
            self._executor.submit(receipt_id(sender, message, round_), execution, self._teller(arrival, envelope))

    def _teller(self, arrival: Arrival, envelope: Envelope) -> Callable[[dict[str, Any]], None]:
        """Tells the outcome of what an envelope asked for. It may wait for long, so it keeps no more than it needs."""
        arrival, envelope = replace(arrival, data=b""), replace(envelope, body={})
        return lambda outcome: self._answer(arrival, envelope, OUTCOME, {"outcome": outcome})

    def _pass_on(self, own: str, arrival: Arrival, envelope: Envelope) -> None:
        """Raises ForgedSender."""
        try:
            self._relay.forward(own, arrival, envelope)
        except ForgedSender:
            raise
        except CmbsError as exc:
            self._refuse(arrival, envelope, exc, final=False)
        except Exception:
            log.exception("a %s from %s cannot be passed on", envelope.type, envelope.sender)

    def _receive(self, messages: list[tuple[Arrival, Envelope]]) -> None:
        now = time.monotonic()
        incoming = [
            Incoming(
                one.sender, one.body, self._layers_at(arrival.address), one.path, len(arrival.data), now - arrival.at
            )
            for arrival, one in messages
        ]
        try:
            answers = self._inbox.receive(incoming)
        except (Unavailable, RevisionConflict) as exc:
            log.warning("%d messages are left to be sent again: %s", len(messages), exc)
            return
        except Exception:
            log.exception("%d messages cannot be stored together", len(messages))
            self._receive_singly(messages)
            return
        for (arrival, envelope), answer in zip(messages, answers, strict=True):
            stored = "stored" if answer.body.get("status") == DELIVERED else "duplicate"
            RECEIVED.count(layer_label(envelope.body.get("layer")), stored if answer.error is None else "refused")
            if answer.error is None:
                self._answer(arrival, envelope, ACK, answer.body)
                if answer.waits is not None:
                    self._executor.submit(answer.receipt, answer.waits, self._teller(arrival, envelope))
            else:
                self._refuse(arrival, envelope, answer.error, final=answer.final)

    def _receive_singly(self, messages: list[tuple[Arrival, Envelope]]) -> None:
        """One of them breaks something that should not break: it must not take the others with it."""
        if len(messages) > 1:
            for message in messages:
                self._receive([message])
        else:
            ((arrival, envelope),) = messages
            self._refuse(arrival, envelope, RemoteError("the receiver failed to store it"), final=True)

    def _refuse(self, arrival: Arrival, envelope: Envelope, error: CmbsError, *, final: bool) -> None:
        self._answer(arrival, envelope, REFUSAL, {"error": error.told(), "final": final})

    def _answer(self, arrival: Arrival, envelope: Envelope, type: str, body: dict[str, Any]) -> None:
        answer = reply_to(envelope, type, self._identity(), body)
        if self._seals is not None and envelope.sealed_as:
            try:
                answer = self._seals.closed(replace(answer, to=envelope.sender, sealed_as=envelope.sealed_as))
            except ForgedSender as exc:  # it is no longer trusted
                log.info("%s is not answered: %s", envelope.sender, exc)
                return
        self._reply(arrival.peer, encode(answer))
