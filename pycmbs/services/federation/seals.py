"""End-to-end encryption of message bodies that go through relays: only sender and recipient can read or forge them.

The body of an envelope that goes through a relay is ``{"sealed": "…"}``, of a message with its ``layer`` beside it, by which a
relay finds the way. The seal is a NaCl box between the identities of sender and recipient, in base64. It holds ``body``
(with its ``layer``), the fields of the envelope outside (``type``, ``id``, ``from``, ``to``), and ``at``, the wall-clock time
of sealing.
Relays give each datagram an id of their own; so a question keeps its own id inside, its answer has that id inside, and the
member that asked compares them. A seal that is opened so late that its message's receipt may be gone is refused, since the
message may be a repeated one.
"""

from __future__ import annotations

import binascii
import os
import time
from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from pycmbs import codec
from pycmbs.depth import deeper
from pycmbs.errors import ForgedSender
from pycmbs.occi.naming import plain_id
from pycmbs.services.federation.keys import OwnKeys
from pycmbs.services.federation.versions import AHEAD_SECONDS
from pycmbs.services.records.numbers import MOST_SECONDS
from pycmbs.services.records.receipts import KEEP_SECONDS
from pycmbs.transport.envelope import MAX_DEPTH, MESSAGE, Envelope

SEALED: Final = "sealed"
_NONCE = 24
_MOST_SECRETS = 4096
"""Members whose shared secrets are kept; beyond that, all are computed again when they are needed."""


def is_sealed(envelope: Envelope) -> bool:
    """Whether the body of an envelope is sealed."""
    return isinstance(envelope.body.get(SEALED), str)


class Seals:
    """Seals what this broker sends through others, and opens what comes to it through them. For any thread."""

    def __init__(
        self,
        keys: OwnKeys,
        identity_of: Callable[[str], bytes | None],
        own: Callable[[], str],
        wall_clock: Callable[[], float] = time.time,
        *,
        knows: Callable[[str], bool] | None = None,
    ) -> None:
        """``knows``: whether a member has keys, where some have none; None where all must.
        ``identity_of``: the identity of a member that is trusted now. ``own``: the id of the own member."""
        from nacl.bindings import crypto_box_easy_afternm, crypto_box_open_easy_afternm
        from nacl.exceptions import CryptoError

        self._seal, self._open, self._bad_seal = crypto_box_easy_afternm, crypto_box_open_easy_afternm, CryptoError
        self._keys = keys
        self._identity_of = identity_of
        self._own = own
        self._wall_clock = wall_clock
        self._knows = knows
        self._secrets: dict[bytes, bytes] = {}

    def is_for_me(self, envelope: Envelope) -> bool:
        """Whether the own member is the one that may open it."""
        return bool(envelope.to) and plain_id(envelope.to) == self._own()

    def must_prove(self, member: str) -> bool:
        """Whether a member is believed only if it speaks by its key."""
        return self._knows is None or self._knows(plain_id(member))

    def closed(self, envelope: Envelope) -> Envelope:
        """The envelope with its body sealed for its recipient. An answer has inside the id that it answers (``sealed_as``).
        An envelope for a member without keys stays as it is. Raises ForgedSender for a recipient of unknown identity."""
        if not self.must_prove(envelope.to):
            return envelope
        said = {
            "type": envelope.type,
            "from": envelope.sender,
            "to": envelope.to,
            "id": envelope.sealed_as or envelope.id,
            "at": self._wall_clock(),
        }
        shared = self._shared(envelope.to)
        # NaCl's functions are used, not its classes: this runs for each message.
        nonce = os.urandom(_NONCE)
        sealed = self._seal(codec.dumps({**said, "body": envelope.body}), nonce, shared)
        text = binascii.b2a_base64(nonce + sealed, newline=False).decode()
        shown = {"layer": envelope.body.get("layer")} if envelope.type == MESSAGE else {}
        return replace(envelope, body={**shown, SEALED: text})

    def opened(self, envelope: Envelope) -> Envelope:
        """The envelope as its sender sealed it, with ``sealed_as``, the id that it had there. Raises ForgedSender for what that
        sender did not seal, sealed differently, or sealed too long ago."""
        inside = self._inside(envelope)
        body, at, id = inside.get("body"), _number(inside.get("at")), inside.get("id")
        if not isinstance(body, dict) or at is None or not isinstance(id, str) or not id:
            raise ForgedSender(f"what {envelope.sender} sealed is not an envelope", id=envelope.sender)
        same = envelope.type != MESSAGE or envelope.body.get("layer") == body.get("layer")
        same = same and inside.get("type") == envelope.type and inside.get("from") == envelope.sender
        if not same or inside.get("to") != envelope.to or not self.is_for_me(envelope):
            raise ForgedSender(f"what {envelope.sender} sealed does not match its envelope", id=envelope.sender)
        self._check_time(envelope.sender, at, body)
        return replace(envelope, body=body, sealed_as=id)

    def _inside(self, envelope: Envelope) -> dict[str, Any]:
        try:
            sealed = binascii.a2b_base64(envelope.body[SEALED])
            data = self._open(sealed[_NONCE:], sealed[:_NONCE], self._shared(envelope.sender))
            inside = codec.received(data)
        except (self._bad_seal, ValueError, TypeError, binascii.Error, codec.DecodeError):
            raise ForgedSender(f"this was not sealed by {envelope.sender}", id=envelope.sender) from None
        if not isinstance(inside, dict) or deeper(inside, MAX_DEPTH, data):
            raise ForgedSender(f"what {envelope.sender} sealed is not an envelope", id=envelope.sender)
        return inside

    def _check_time(self, sender: str, at: float, body: dict[str, Any]) -> None:
        """Raises ForgedSender for what may have come before, so long ago that its receipt may be gone."""
        now = self._wall_clock()
        left = min(max(_number(body.get("deadline")) or 0.0, 0.0), MOST_SECONDS)
        if at > now + AHEAD_SECONDS or now > at + left + KEEP_SECONDS - AHEAD_SECONDS:
            raise ForgedSender(
                f"{sender} sealed this {now - at:.0f} s ago: the clocks differ, or it is a replay", id=sender
            )

    def _shared(self, member: str) -> bytes:
        """The secret that the own identity shares with a member's. Raises ForgedSender."""
        identity = self._identity_of(plain_id(member) or member)
        if identity is None:
            raise ForgedSender(f"the identity of {member} is not known here", id=member)
        shared = self._secrets.get(identity)
        if shared is None:
            from nacl.public import Box
            from nacl.signing import SigningKey, VerifyKey

            secret = SigningKey(self._keys.identity.secret).to_curve25519_private_key()
            shared = Box(secret, VerifyKey(identity).to_curve25519_public_key()).shared_key()
            if len(self._secrets) >= _MOST_SECRETS:
                self._secrets.clear()
            self._secrets[identity] = shared
        return shared


def _number(value: Any) -> float | None:
    return float(value) if type(value) is int or type(value) is float else None
