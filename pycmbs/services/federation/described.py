"""What is known of a member by what it signed, and who vouches for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pycmbs.occi.entity import Entity
from pycmbs.services.federation.statements import (
    CERTIFICATES,
    DESCRIPTION,
    SIGNED,
    Certificate,
    certificates,
    curves_of,
    read,
    retired_of,
)


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a member by what it signed, and ``texts``, by which that is known again."""

    texts: tuple[str, ...]
    identity: bytes
    curves: tuple[bytes, ...]
    retired: frozenset[bytes]
    certificates: tuple[Certificate, ...]


def vouching(
    shown: Iterable[Certificate], id: str, identity: bytes, issuers: Collection[bytes], refused: Collection[str] = ()
) -> Certificate | None:
    """The certificate by which a member is trusted: by one of the issuers, or by a member that one of them lets invite.

    That these are signed by whom they say is not looked at."""
    shown = [one for one in shown if one.stands()]
    deputies = {one.identity for one in shown if one.may_invite and one.issuer in issuers and one.id not in refused}
    for one in shown:
        if (one.id, one.identity) == (id, identity) and (one.issuer in issuers or one.issuer in deputies - {identity}):
            return one
    return None


def texts_of(member: Entity) -> tuple[str, ...]:
    """What is signed of a member, by which it is known again."""
    told = (member.private[SIGNED], *member.private.get(CERTIFICATES, ()))
    return tuple(str(one.get(SIGNED)) for one in told)


def described_by(member: Entity, texts: tuple[str, ...]) -> Described:
    """What a member signed, with these texts. Raises InvalidRequest."""
    statement = read(member.private[SIGNED], DESCRIPTION, stored=True)
    shown = certificates(member.private.get(CERTIFICATES))
    return Described(texts, statement.identity, curves_of(statement), retired_of(statement), tuple(shown))
