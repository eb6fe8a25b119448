"""Revocations: identities that are no longer trusted, in the file ``revoked`` of the home, for ever.

A line of it is ``FINGERPRINT ID SIGNED SIG``: whose identity it is, for people, and what an issuer signed, which is passed
on as it came to all that trust that issuer. What is revoked is an identity, not an id: the machine that is lost stays out,
no matter who vouches for it, and its id may be given to another one with a new invitation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycmbs.errors import CmbsError
from pycmbs.services.access.files import RARELY, Watched, changing
from pycmbs.services.access.files import text_of as file_text
from pycmbs.services.federation.keys import OwnKeys, fingerprint, key_of, text_of
from pycmbs.services.federation.statements import SIGNATURE, SIGNED, Statement, read, state

log = logging.getLogger(__name__)

REVOKED = "revoked"
REVOCATION = "revocation"
FINGERPRINTS, STATEMENTS = "revoked", "revocations"
"""What of them stands in a greeting: of all the fingerprints, and of some, what was signed."""
MOST = 10_000
"""Identities that may be revoked; it is more than there are members."""
_TOLD = 4
"""Revocations, the last ones, that every greeting has; the others are asked for."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """``issuer`` says that ``identity``, which was that of the member ``id``, is no longer trusted."""

    id: str
    identity: bytes
    issuer: bytes
    statement: Statement

    def line(self) -> str:
        """The line that says so."""
        return f"{fingerprint(self.identity)} {self.id} {self.statement.signed} {self.statement.signature}\n"


@dataclass(frozen=True)
class _Revoked:
    """The file, read."""

    by_identity: Mapping[bytes, Revocation] = field(default_factory=dict)
    ids: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()


class Revocations:
    """Those that are known to a home. For any thread."""

    def __init__(
        self, home: Path, issuers: Callable[[], Collection[bytes]], kept: Callable[[], Collection[bytes]]
    ) -> None:
        """``issuers``: who is believed. ``kept``: identities that no other one revokes, such as those of the issuers that
        people pinned here."""
        self._home = home
        self._issuers = issuers
        self._kept = kept
        self._file = Watched(home / REVOKED, _read, _Revoked(), rarely=RARELY)
        self._declined: set[str] = set()

    @property
    def version(self) -> int:
        """Changes when more are revoked, and rises."""
        return self._file.version

    @property
    def ids(self) -> Collection[str]:
        """The ids that the revoked members had: another one may have one of them now."""
        return self._file.value.ids

    def __contains__(self, identity: bytes) -> bool:
        """Whether an identity is revoked."""
        return identity in self._file.value.by_identity

    def __iter__(self) -> Iterator[Revocation]:
        """In the order in which they became known."""
        return iter(self._file.value.by_identity.values())

    def told(self) -> dict[str, Any]:
        """What a greeting says of them."""
        revoked = list(self._file.value.by_identity.values())
        if not revoked:
            return {}
        last = [one.statement.told() for one in revoked[-_TOLD:]]
        return {FINGERPRINTS: [fingerprint(one.identity) for one in revoked], STATEMENTS: last}

    def missing(self, greeting: Mapping[str, Any]) -> list[dict[str, str]]:
        """What was signed of those that another one does not say it knows."""
        theirs = set(_texts(greeting.get(FINGERPRINTS)))
        known = self._file.value.by_identity.values()
        return [one.statement.told() for one in known if fingerprint(one.identity) not in theirs]

    def lacks(self, greeting: Mapping[str, Any]) -> bool:
        """Whether another one says that it knows some that are not known here, and may be believed."""
        mine = self._file.value.fingerprints
        return any(one not in mine and one not in self._declined for one in _texts(greeting.get(FINGERPRINTS)))

    def hear(self, told: Any) -> None:
        """Others pass on what issuers signed. What is by no issuer that is trusted here is left out."""
        known = self._file.value.by_identity
        found = []
        for one in told[:MOST] if isinstance(told, list) else []:
            try:
                revocation = _revocation(read(one, REVOCATION))
            except CmbsError as exc:
                log.debug("a revocation is left out: %s", exc)
                continue
            if revocation.identity in known:
                continue
            believed = revocation.issuer in self._issuers() and revocation.identity not in self._kept()
            if believed and revocation.statement.by(revocation.issuer):
                found.append(revocation)
            elif len(self._declined) < MOST:
                self._declined.add(fingerprint(revocation.identity))
        if found:
            with_revocations(self._home, found)
            for revocation in found:
                log.warning(
                    "%s is revoked: the fingerprint %s is no longer trusted, says %s",
                    revocation.id,
                    fingerprint(revocation.identity),
                    fingerprint(revocation.issuer),
                )


def revoke(home: Path, keys: OwnKeys, id: str, identity: bytes) -> None:
    """Stop trusting an identity, which is that of the member ``id``, and sign that for others."""
    said = {"identity": text_of(identity), "issuer": text_of(keys.identity.public)}
    with_revocations(home, [_revocation(read(state(keys, REVOCATION, id, said), REVOCATION))])


def with_revocations(home: Path, more: Iterable[Revocation]) -> None:
    """Keep these, too."""
    path = home / REVOKED
    with changing(path) as put:
        text = file_text(path)
        known = _read(text).by_identity
        new = [one for one in more if one.identity not in known]
        if new:
            put((text if not text or text.endswith("\n") else f"{text}\n") + "".join(one.line() for one in new))


def revoked(home: Path) -> Iterable[Revocation]:
    """Those that are known to a home, in the order in which it heard of them."""
    return _read(file_text(home / REVOKED)).by_identity.values()


def _revocation(statement: Statement) -> Revocation:
    """Raises InvalidRequest for one that says no issuer."""
    return Revocation(statement.id, statement.identity, key_of(statement.said.get("issuer")), statement)


def _texts(told: Any) -> Iterable[str]:
    return (one for one in told[:MOST] if isinstance(one, str)) if isinstance(told, list) else ()


def _read(text: str) -> _Revoked:
    found: dict[bytes, Revocation] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            signed, signature = words[2], words[3]
            one = _revocation(read({SIGNED: signed, SIGNATURE: signature}, REVOCATION, stored=True))
        except (CmbsError, IndexError):
            log.error("line %d of the file %s revokes nobody", number, REVOKED)  # noqa: TRY400 - one line says it
            continue
        if len(found) < MOST:
            found[one.identity] = one
    return _Revoked(found, frozenset(one.id for one in found.values()), frozenset(map(fingerprint, found)))
