"""Idempotency-Key: derives entity ids from the key, and recognizes a repeated creation."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pycmbs.ids import canonical_id, is_uuid
from pycmbs.occi.entity import Draft, Entity
from pycmbs.services.records.entities import REQUEST

_NAMES = uuid.UUID("6a3f0b52-7b2e-5c7d-9a51-3f1d0c6b2e48")
"""The name space of ids that are made of keys (RFC 9562, version 5)."""
_DIGITS = 3
"""Hexadecimal digits of a key's digest that say which guard it has: 4096 of them, so that few requests wait for one another."""


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What a client calls a request that creates entities. ``request``: all that has to be the same in a repeated one."""

    text: str
    request: bytes

    def named(self, location: str, subject: str, drafts: Sequence[Draft]) -> list[Draft]:
        """The drafts with ids that follow from the key, where they have none of their own: the key itself if it is a UUID and
        there is one draft; else one made of the key, the location and the principal."""
        found = list(drafts)
        if len(found) == 1 and is_uuid(canonical_id(self.text)):
            ids = [canonical_id(self.text)]
        else:
            ids = [
                str(uuid.uuid5(_NAMES, f"{subject}\n{location}\n{index}\n{self.text}")) for index in range(len(found))
            ]
        return [
            one if one.id is not None or one.location is not None else replace(one, id=id)
            for one, id in zip(found, ids, strict=True)
        ]

    def name(self, subject: str) -> str:
        """What entities that it makes for someone are found by."""
        return _digest(f"{subject}\n{self.text}".encode())

    def guard(self, subject: str) -> str:
        """The document that requests of this key change in turn. Others share it; so there is a bounded number of them."""
        return f"guard:request:{self.name(subject)[:_DIGITS]}"

    def note(self, entity: Entity, subject: str) -> None:
        """Note on a new entity which request makes it."""
        entity.private[REQUEST] = [self.name(subject), _digest(self.request)]

    def made(self, entity: Entity) -> bool:
        """Whether an entity that is found by the key's name was made by the same request."""
        return bool(entity.private[REQUEST][1] == _digest(self.request))


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
