"""What other members send: taken from the transport, stored with one commit a turn, and only then acknowledged."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Hashable
from typing import Any

from pycmbs.errors import BadEnvelope, CmbsError, RemoteError, RevisionConflict, Unavailable
from pycmbs.runtime import drain
from pycmbs.services.inbox import InboxService, Incoming
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import ACK, HELLO, MESSAGE, REFUSAL, WELCOME, Envelope, decode, encode, reply_to

log = logging.getLogger(__name__)

_TURN = 256
_BOUND = 10_000


class Inbound:
    """A queue and a thread between the transport and the inbox."""

    def __init__(
        self,
        inbox: InboxService,
        layers_at: Callable[[str], tuple[str, ...]],
        reply: Callable[[Hashable, bytes], None],
        introduced: Callable[[list[str]], None],
    ) -> None:
        """``layers_at``: the layers that listen at a URL. ``introduced``: told the sockets that a newcomer knows of."""
        self._inbox = inbox
        self._layers_at = layers_at
        self._reply = reply
        self._introduced = introduced
        self._queue: queue.Queue[Arrival | None] = queue.Queue(_BOUND)
        self._thread = threading.Thread(target=self._run, name="inbound", daemon=True)
        self.identity: Callable[[], str] = lambda: ""

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Finish what was taken, then stop."""
        self._queue.put(None)
        self._thread.join(2)

    def put(self, arrival: Arrival) -> None:
        """Hand over an arrival. When the queue is at its bound it is dropped: the sender tries again."""
        try:
            self._queue.put_nowait(arrival)
        except queue.Full:
            log.warning("the inbound queue is full: a message from %s is left to be sent again", arrival.address)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            turn = drain(self._queue, first, _TURN)
            try:
                self._take([one for one in turn if one is not None])
            except Exception:
                log.exception("a turn of %d arrivals failed; their senders will try again", len(turn))
            if None in turn:
                return

    def _take(self, turn: list[Arrival]) -> None:
        messages: list[tuple[Arrival, Envelope]] = []
        for arrival in turn:
            try:
                envelope = decode(arrival.data)
            except BadEnvelope as exc:
                log.warning("what arrived at %s is dropped: %s", arrival.address, exc)
                continue
            if envelope.type == MESSAGE:
                messages.append((arrival, envelope))
            elif envelope.type == HELLO:
                self._greet(arrival, envelope)
            else:
                error = BadEnvelope(f"an envelope of type {envelope.type!r} is not understood here")
                self._answer(arrival, envelope, REFUSAL, {"error": error.to_dict(), "final": True})
        if messages:
            self._receive(messages)

    def _receive(self, messages: list[tuple[Arrival, Envelope]]) -> None:
        incoming = [Incoming(one.sender, one.body, self._layers_at(arrival.address)) for arrival, one in messages]
        try:
            answers = self._inbox.receive(incoming)
        except (Unavailable, RevisionConflict) as exc:
            log.warning("%d messages are left to be sent again: %s", len(messages), exc)
            return
        except Exception:
            log.exception("%d messages cannot be taken in together", len(messages))
            self._receive_singly(messages)
            return
        for (arrival, envelope), answer in zip(messages, answers, strict=True):
            if answer.error is None:
                self._answer(arrival, envelope, ACK, answer.body)
            else:
                self._answer(arrival, envelope, REFUSAL, {"error": answer.error.to_dict(), "final": answer.final})

    def _receive_singly(self, messages: list[tuple[Arrival, Envelope]]) -> None:
        """One of them breaks something that should not break: it must not take the others with it."""
        if len(messages) > 1:
            for message in messages:
                self._receive([message])
        else:
            ((arrival, envelope),) = messages
            error = RemoteError("the receiver failed to take it in")
            self._answer(arrival, envelope, REFUSAL, {"error": error.to_dict(), "final": True})

    def _greet(self, arrival: Arrival, envelope: Envelope) -> None:
        try:
            answer = self._inbox.greet(envelope.body)
        except CmbsError as exc:
            self._answer(arrival, envelope, REFUSAL, {"error": exc.to_dict(), "final": False})
            return
        except Exception:  # the others of this turn must not suffer for it
            log.exception("an introduction from %s cannot be taken in", envelope.sender)
            return
        self._answer(arrival, envelope, WELCOME, answer)
        sockets = envelope.body.get("sockets_l1")
        if isinstance(sockets, list):
            self._introduced([url for url in sockets if isinstance(url, str)])

    def _answer(self, arrival: Arrival, envelope: Envelope, type: str, body: dict[str, Any]) -> None:
        self._reply(arrival.peer, encode(reply_to(envelope, type, self.identity(), body)))
