"""Entity tags and conditional requests (RFC 9110 8.8.3, 13.1).

A tag is ``"revision.digest"``: the store's revision of the entity, by which a change is refused after a concurrent one,
and a digest of the answer, which also changes with what is not stored (a ledger) and with the rendering.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from pycmbs.errors import PreconditionFailed
from pycmbs.services.entities.preconditions import Precondition

_TAG = re.compile(r'(?:W/)?"([^"]*)"')


def entity_tag(revision: str, body: bytes) -> str:
    """The tag of an answer, in its quotes. ``revision`` is empty for what is not a single entity."""
    return f'"{revision}.{zlib.crc32(body):08x}{len(body):x}"'


def tags(header: str | None) -> frozenset[str] | None:
    """The tags that a header lists, without quotes; None when it is not there; ``*`` stands for any."""
    if header is None:
        return None
    if header.strip() == "*":
        return frozenset({"*"})
    return frozenset(one.removesuffix("-gzip") for one in _TAG.findall(header))


@dataclass(frozen=True, slots=True)
class Tagged(Precondition):
    """What If-Match and If-None-Match say of the entity that a request changes."""

    match: frozenset[str] | None
    none_match: frozenset[str] | None

    @property
    def pins(self) -> bool:
        """See :class:`~pycmbs.services.entities.preconditions.Precondition`."""
        return self.match is not None and "*" not in self.match

    def check(self, path: str, revision: str | None) -> None:
        """Raises PreconditionFailed. ``revision`` is None where there is no entity."""
        if self.match is not None and not _among(self.match, revision):
            raise PreconditionFailed(
                f"{path} is not what If-Match says: it was changed meanwhile",
                hint="GET it, and send the change again with its ETag.",
                location=path,
            )
        if self.none_match is not None and _among(self.none_match, revision):
            raise PreconditionFailed(
                f"{path} is what If-None-Match excludes", hint="With * nothing may be there yet.", location=path
            )


NO_ENTITY = "collection"
"""What stands for the revision of what has none: a list, or the categories. No tag has it, so only ``*`` holds for it."""


def _among(tags: frozenset[str], revision: str | None) -> bool:
    if revision is None:
        return False
    return "*" in tags or any(tag.rpartition(".")[0] == revision for tag in tags)
