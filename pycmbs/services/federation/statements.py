"""Format of signed statements (descriptions, departures, certificates): encoding, parsing, signature check.

A statement is ``{"signed": …, "sig": …}``: the bytes of a JSON object in base64url without padding, and the signature of an
identity over them. The bytes are never made again from what was read of them, so a signature holds over brokers that do not
understand all of it. There are three: a *description* of a member and a *departure*, which it signs itself, and a
*certificate*, by which an issuer vouches for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pycmbs import codec
from pycmbs.depth import deeper
from pycmbs.errors import CmbsError, InvalidRequest
from pycmbs.occi.naming import bare_id
from pycmbs.services.federation import versions
from pycmbs.services.federation.keys import MOST_RETIRED, OwnKeys, bytes_of, key_of, text_of, verified

DESCRIPTION, DEPARTURE, CERTIFICATE = "description", "departure", "certificate"
SIGNED, SIGNATURE, CERTIFICATES = "signed", "sig", "certificates"
MOST_BYTES = 65536
"""The most bytes of a statement."""
MOST_CURVES = 2
"""Keys for connections that a member has at a time: it needs a second one only while it changes its key."""
MOST_CERTIFICATES = 4
"""The most certificates that a member shows."""
_MOST_DEPTH = 32
_PREFIX = b"pycmbs says: "


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that was read. It proves nothing until :meth:`by` has told who signed it."""

    said: Mapping[str, Any]
    signed: str
    signature: str

    @property
    def id(self) -> str:
        """The member that it is about."""
        return str(self.said["id"])

    @property
    def identity(self) -> bytes:
        """That member's identity."""
        return key_of(self.said["identity"])

    def by(self, identity: bytes) -> bool:
        """Whether this identity signed it."""
        return verified(identity, _PREFIX + bytes_of(self.signed), bytes_of(self.signature))

    def told(self) -> dict[str, str]:
        """The statement as it came."""
        return {SIGNED: self.signed, SIGNATURE: self.signature}


@dataclass(frozen=True, slots=True)
class Certificate:
    """``issuer`` certifies that the member ``id`` has this identity, until when (seconds since the epoch), and whether it may
    invite others."""

    id: str
    identity: bytes
    issuer: bytes
    until: float
    may_invite: bool
    statement: Statement

    def stands(self) -> bool:
        """Whether it has not expired."""
        return self.until > time.time()


def state(keys: OwnKeys, kind: str, id: str, said: Mapping[str, Any]) -> dict[str, str]:
    """Sign a statement about a member: the own one, or, in a certificate, another."""
    identity = {"identity": text_of(keys.identity.public)}
    data = codec.dumps({"type": kind, "id": id, **identity, **said, "at": int(time.time())})
    return {SIGNED: text_of(data), SIGNATURE: text_of(keys.sign(_PREFIX + data))}


def certify(keys: OwnKeys, id: str, identity: bytes, until: float, *, may_invite: bool) -> dict[str, str]:
    """A certificate by this issuer."""
    said = {
        "identity": text_of(identity),
        "issuer": text_of(keys.identity.public),
        "until": int(until),
        "may_invite": may_invite,
    }
    return state(keys, CERTIFICATE, id, said)


def read(told: Any, kind: str, *, stored: bool = False) -> Statement:
    """Read a statement without checking who signed it. ``stored``: it was checked before. Raises InvalidRequest."""
    signed, signature = (told.get(name) if isinstance(told, dict) else None for name in (SIGNED, SIGNATURE))
    if not isinstance(signed, str) or not isinstance(signature, str):
        raise InvalidRequest(f"this {kind} is not signed")
    if len(signed) > MOST_BYTES * 4 // 3:
        raise InvalidRequest(f"this {kind} has over {MOST_BYTES} bytes")
    data = bytes_of(signed)
    try:
        said = codec.received(data)
    except codec.DecodeError:
        said = None
    if not isinstance(said, dict) or deeper(said, _MOST_DEPTH, data) or said.get("type") != kind:
        raise InvalidRequest(f"what is signed is not a {kind}")
    key_of(said.get("identity"))
    if not stored:
        _check_time(said.get("at"), kind)
    return Statement({**said, "id": bare_id(said.get("id"))}, signed, signature)


def read_certificate(told: Any) -> Certificate:
    """Read a certificate without checking who signed it. Raises InvalidRequest."""
    one = read(told, CERTIFICATE, stored=True)  # when it ends is what counts
    until = one.said.get("until")
    if type(until) is not int:
        raise InvalidRequest("this certificate has no expiry")
    may_invite = one.said.get("may_invite") is True
    return Certificate(one.id, one.identity, key_of(one.said.get("issuer")), until, may_invite, one)


def certificates(told: Any) -> list[Certificate]:
    """The certificates that a member shows; anything else is ignored, and so are those beyond the limit."""
    found = []
    for one in told[:MOST_CERTIFICATES] if isinstance(told, list) else ():
        try:
            found.append(read_certificate(one))
        except CmbsError:
            continue
    return found


def curves_of(description: Statement) -> tuple[bytes, ...]:
    """The keys for connections that a description lists, the one in use first. Raises InvalidRequest."""
    told = description.said.get("curve")
    if not isinstance(told, list) or not 0 < len(told) <= MOST_CURVES:
        raise InvalidRequest(f"a description says 1 to {MOST_CURVES} keys for connections")
    return tuple(map(key_of, told))


def retired_of(description: Statement) -> frozenset[bytes]:
    """The keys for connections that a description lists as retired. Raises InvalidRequest."""
    told = description.said.get("retired")
    return frozenset(map(key_of, told[:MOST_RETIRED])) if isinstance(told, list) else frozenset()


def _check_time(at: Any, kind: str) -> None:
    if type(at) is not int or not 0 <= at <= time.time() + versions.AHEAD_SECONDS:
        raise InvalidRequest(
            f"this {kind} was signed over {versions.AHEAD_SECONDS:g} s ahead of the clock here, or has no time",
            hint="Set the clocks of both machines.",
        )
