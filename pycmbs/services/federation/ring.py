"""Trust decisions and the keyring: verifies members' signed descriptions and certificates, signs the broker's own.

A member is trusted if the file ``members`` says its identity, or if an issuer that is trusted signed a certificate for it, or
allowed the signer of its certificate to invite. Its keys for connections are those that it signed itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pycmbs.errors import ClaimedId, CmbsError, ConfigurationError, Conflict, ForgedSender, UnknownKey
from pycmbs.occi.entity import Entity
from pycmbs.services.access.files import RARELY, Watched, changing
from pycmbs.services.access.files import text_of as file_text
from pycmbs.services.federation import trust
from pycmbs.services.federation.described import Described, described_by, texts_of, vouching
from pycmbs.services.federation.keys import CURVE, KEYS, OwnKeys, fingerprint, own_keys, text_of
from pycmbs.services.federation.revocations import Revocations
from pycmbs.services.federation.roster import INSTANCE, Roster, describe, version_of
from pycmbs.services.federation.statements import (
    CERTIFICATES,
    DEPARTURE,
    DESCRIPTION,
    SIGNED,
    Certificate,
    Statement,
    certify,
    curves_of,
    read,
    state,
)
from pycmbs.services.federation.trust import INVITED, Invitation, Pinned
from pycmbs.transport.base import Keyring

log = logging.getLogger(__name__)

CERTIFICATE_SECONDS = 10 * 365 * 86400
"""How long a certificate is valid: longer than machines last. It should end by being revoked, not unnoticed."""


_SILENT_SECONDS = 10.0
"""Seconds of silence from a member that has two keys, after which its other key is tried."""


class MemberIds(Protocol):
    """What is needed here of the members: see :class:`~pycmbs.services.federation.members.MemberService`."""

    def local_id(self) -> str:
        """The id of the own member, empty while there is none."""

    def met_at(self, url: str) -> str:
        """The id of the member with this L1 socket, or with this address for members with keys; empty if there is none."""

    def curve_sockets(self, id: str) -> Sequence[str]:
        """The address of a member for those that know its key, if it differs from the one for others."""


class Trust(Keyring):
    """The :class:`~pycmbs.transport.base.Keyring` of this broker. May be asked by any thread."""

    def __init__(self, home: Path, keys: OwnKeys, members: Callable[[], MemberIds], *, mixed: bool = False) -> None:
        """``members``: knows which ids there are. ``mixed``: whether members without keys are believed, too."""
        self.mixed = mixed
        self._home = home
        self._keys = keys
        self._curve_file = Watched(home / KEYS / CURVE, self._reread, keys, rarely=RARELY)
        self._ids = members
        self._pinned = Watched(home / trust.MEMBERS, trust.read_members, Pinned(), rarely=RARELY)
        none: Mapping[bytes, Invitation] = {}
        self._invitations = Watched(home / trust.INVITATIONS, trust.read_invitations, none, rarely=RARELY)
        nothing: list[Certificate] = []
        self.revocations = Revocations(home, self.inviters, lambda: self._pinned.value.issuers - {keys.identity.public})
        """The members whose identities are no longer trusted."""
        self._certificates = Watched(home / trust.OWN_CERTIFICATES, trust.read_certificates, nothing, rarely=RARELY)
        self._described: Mapping[str, Described] = {}
        self._by_curve: Mapping[bytes, str] = {}
        self._changing: Mapping[bytes, str] = {}
        """The keys of members that have two."""
        self._proven: dict[str, tuple[bytes, float]] = {}
        """Which key each of these proved last, and when."""
        self._learned: Roster | None = None
        self._introduced: tuple[Entity | None, int, dict[str, Any]] = None, 0, {}
        self._for_itself: dict[str, dict[str, str]] = {}

    @property
    def keys(self) -> OwnKeys:
        """The own keys, as they are now: the one for connections may change."""
        return self._curve_file.value

    def _reread(self, _text: str) -> OwnKeys:
        try:
            self._keys = own_keys(self._home)
        except ConfigurationError as exc:
            log.error("the keys count as they were: %s", exc.message)  # noqa: TRY400 - one line says it
        return self._keys

    @property
    def keys_version(self) -> int:
        """Rises with every change of them."""
        return self._curve_file.version

    @property
    def pinned(self) -> Pinned:
        """Whom the file ``members`` names."""
        return self._pinned.value

    @property
    def version(self) -> tuple[int, int]:
        """Changes when files say something else of whom to trust."""
        return self._pinned.version, self.revocations.version

    # The keyring

    @property
    def public(self) -> bytes:
        """See :class:`~pycmbs.transport.base.Keyring`."""
        return self.keys.curve.public

    @property
    def secret(self) -> bytes:
        """See :class:`~pycmbs.transport.base.Keyring`."""
        return self.keys.curve.secret

    def who(self, key: bytes) -> str | None:
        """See :class:`~pycmbs.transport.base.Keyring`. A guest is named by the number of its invitation."""
        if key in self._changing:
            self._proven[self._changing[key]] = key, time.monotonic()
        if (found := self._holder(key)) is not None:
            return found
        if key in self.keys.curves:
            return self._ids().local_id()
        invitation = self._invitations.value.get(key)
        return f"{INVITED}{invitation.number}" if invitation is not None and invitation.until > time.time() else None

    def _holder(self, key: bytes) -> str | None:
        """The trusted member with this key for connections."""
        pinned = self._pinned.value
        if (found := pinned.by_curve.get(key)) is not None:
            return found if self._stands(found, pinned.by_id[found].identity, key) else None
        id = self._by_curve.get(key, "")
        described = self._described.get(id)
        return id if described is not None and self.identity(id) == described.identity else None

    def _stands(self, id: str, identity: bytes, key: bytes) -> bool:
        """Whether a pinned key still counts: its member may have changed it since, or be revoked."""
        described = self._described.get(id)
        retired = described is not None and described.identity == identity and key in described.retired
        return not retired and identity not in self.revocations

    def key_at(self, url: str, member: str) -> bytes:
        """See :class:`~pycmbs.transport.base.Keyring`."""
        pinned = self._pinned.value
        if not member and url in pinned.by_url:
            member = pinned.by_url[url].id
        id = member or self._ids().met_at(url)
        described, identity = self._described.get(id), self.identity(id)
        if described is not None and described.identity == identity:
            return self._met_with(id, described.curves)
        if id in pinned.by_id and identity is not None:
            return pinned.by_id[id].curve
        if id and id == self._ids().local_id():
            return self.public
        if self.mixed and not self.knows(id):
            return b""
        raise UnknownKey(
            f"the key of {f'{id} at' if id else 'whoever is at'} {url} is not known here",
            hint="Get a line from pycmbs invite there, then run pycmbs join LINE here.",
            socket=url,
        )

    def _met_with(self, id: str, curves: tuple[bytes, ...]) -> bytes:
        """The key to expect of a member: the one that it says is in use, or that it proved last. If it is silent for a while,
        both keys are tried in turn: it may have changed its key, and be unable to say so."""
        if len(curves) == 1:
            return curves[0]
        key, at = self._proven.setdefault(id, (curves[0], time.monotonic()))
        now = time.monotonic()
        if now - at < _SILENT_SECONDS and key in curves:
            return key
        return curves[int(now / _SILENT_SECONDS) % len(curves)]

    def sockets(self) -> list[str]:
        """The addresses at which trusted members are reached at first."""
        return list(self._pinned.value.by_url)

    def plain_at(self, url: str) -> bool:
        """See :class:`~pycmbs.transport.base.Keyring`."""
        return self.mixed and url not in self._ids().curve_sockets(self._ids().local_id())

    def socket_at(self, url: str, key: bytes) -> str:
        """See :class:`~pycmbs.transport.base.Keyring`."""
        sockets = self._ids().curve_sockets(self.who(key) or "")
        return sockets[0] if sockets and url not in sockets else url

    # Which members are trusted

    def knows(self, id: str) -> bool:
        """Whether a member has keys here, or had some: then nothing is believed about it without them."""
        pinned = self._pinned.value
        return id in pinned.refused or id in self.revocations.ids or self.identity(id) is not None

    def identity(self, id: str) -> bytes | None:
        """The identity for which a member's id stands, the own one's too; None for one that is not trusted."""
        pinned = self._pinned.value
        if id in pinned.refused:
            return None
        if id in pinned.by_id:
            identity = pinned.by_id[id].identity
            return identity if identity not in self.revocations else None
        if (certificate := self.vouched(id)) is not None:
            return certificate.identity
        return self.keys.identity.public if id and id == self._ids().local_id() else None

    def vouched(self, id: str) -> Certificate | None:
        """The certificate by which a member is trusted that the file does not name."""
        pinned, found = self._pinned.value, self._described.get(id)
        if found is None or id in pinned.by_id or id in pinned.refused:
            return None
        return vouching(self._unrevoked(found.certificates), id, found.identity, self._issuers(), pinned.refused)

    def learned(self, roster: Roster) -> None:
        """Take note that these members are known now, with what they signed."""
        if roster is self._learned:
            return
        before, found = self._described, {}
        for one in roster.others:
            if SIGNED not in one.private:
                continue
            texts = texts_of(one)
            known = before.get(one.id)
            try:
                found[one.id] = known if known is not None and known.texts == texts else described_by(one, texts)
            except CmbsError as exc:
                log.warning("the stored description of %s is not what it signed: %s", one.id, exc)
        by_curve: dict[bytes, str] = {}
        for id, described in found.items():
            for key in described.curves:
                by_curve.setdefault(key, id)
        self._described, self._by_curve, self._learned = found, by_curve, roster
        changing = {id: one for id, one in found.items() if len(one.curves) > 1}
        self._changing = {key: id for id, one in changing.items() for key in one.curves}
        # A new description decides which key comes first.
        same = {id for id, one in changing.items() if id in before and before[id].curves == one.curves}
        self._proven = {id: proven for id, proven in self._proven.items() if id in same}

    def is_current(self, member: Entity) -> bool:
        """Whether what is stored of a member was signed by the identity that its id stands for now."""
        described = self._described.get(member.id)
        return described is not None and described.identity == self.identity(member.id)

    def check(self, description: Statement, shown: Iterable[Certificate]) -> list[Certificate]:
        """Check that a description is signed by the identity that its id stands for, with keys that no one else has; returns
        the valid certificates. Raises UnknownKey, ForgedSender, ClaimedId."""
        id, identity, pinned = description.id, description.identity, self._pinned.value
        given = [one for one in self._unrevoked(shown) if one.statement.by(one.issuer)]
        if id in pinned.refused:
            raise UnknownKey(f"{id} is not trusted here: the file {trust.MEMBERS} says so")
        if identity in self.revocations:
            raise UnknownKey(f"{id} is revoked")
        vouched = vouching(given, id, identity, self._issuers(), pinned.refused) is not None
        stands_for = self.identity(id)
        if stands_for is None and not vouched:
            raise UnknownKey(f"no one who is trusted here vouches for {id}")
        if (stands_for or identity) != identity:
            raise ClaimedId(f"{id} is another member: its fingerprint is {fingerprint(stands_for or b'')}", id=id)
        for key in curves_of(description):
            if self.who(key) not in (None, id):
                raise ClaimedId(f"{id} shows a key that is not its own", id=id)
        if not description.by(identity):
            raise ForgedSender(f"the description of {id} was not signed by it", id=id)
        return given

    def is_revoked(self, id: str) -> bool:
        """Whether a member was revoked, and no other has its id now."""
        return id in self.revocations.ids and self.identity(id) is None

    def inviters(self) -> Collection[bytes]:
        """The identities of those who let members in, and may revoke them: issuers, and members that these let invite."""
        issuers = self._issuers()
        shown = (one for found in self._described.values() for one in self._unrevoked(found.certificates))
        return {*issuers, *(one.identity for one in shown if one.may_invite and one.issuer in issuers and one.stands())}

    def _unrevoked(self, shown: Iterable[Certificate]) -> Iterator[Certificate]:
        return (one for one in shown if one.identity not in self.revocations and one.issuer not in self.revocations)

    def _issuers(self) -> Collection[bytes]:
        return self._pinned.value.issuers | {self.keys.identity.public}

    # What the own member says

    def is_own(self, statement: Statement) -> bool:
        """Whether this broker signed it."""
        return statement.identity == self.keys.identity.public and statement.by(self.keys.identity.public)

    def introduction(self, own: Entity) -> dict[str, Any]:
        """The own member as it introduces itself, signed, with its certificates. Signed once for each change."""
        as_of = self._certificates.version + self.keys_version
        before = self._introduced[0]
        if before is None or (before.id, before.revision) != (own.id, own.revision) or self._introduced[1] != as_of:
            said = {
                "version": version_of(own),
                "instance": str(own.private.get(INSTANCE, "")),
                "description": describe(own),
                "curve": [text_of(one) for one in self.keys.curves],
                "retired": [text_of(one) for one in self.keys.retired],
            }
            shown = [one.statement.told() for one in self._certificates.value] or [self._own_certificate(own.id)]
            told = {**state(self.keys, DESCRIPTION, own.id, said), CERTIFICATES: shown}
            self._introduced = own, as_of, told
        return self._introduced[2]

    def farewell(self, id: str, version: int, instance: str) -> dict[str, str]:
        """The signed statement that the own member was deleted."""
        return state(self.keys, DEPARTURE, id, {"version": version, "instance": instance})

    def departed(self, told: Any) -> Statement:
        """A member's farewell. Raises InvalidRequest, UnknownKey for one that is not trusted here, ForgedSender."""
        statement = read(told, DEPARTURE)
        identity = self.identity(statement.id)
        if identity is None:
            raise UnknownKey(f"{statement.id} is not trusted here")
        if not statement.by(identity):
            raise ForgedSender(f"the farewell of {statement.id} was not signed by it", id=statement.id)
        return statement

    def _own_certificate(self, id: str) -> dict[str, str]:
        """What an issuer says about itself, so that members which others invited in its name know it."""
        if id not in self._for_itself:
            self._for_itself = {id: self._certificate(id, self.keys.identity.public, may_invite=True)}
        return self._for_itself[id]

    def _certificate(self, id: str, identity: bytes, *, may_invite: bool) -> dict[str, str]:
        return certify(self.keys, id, identity, time.time() + CERTIFICATE_SECONDS, may_invite=may_invite)

    # Joining

    def admit(self, guest: str, says: object) -> dict[str, Any]:
        """Let in a guest that comes by an invitation and introduces itself; returns the answer, with certificates.
        ``guest``: as :meth:`who` names it.

        Raises InvalidRequest for what says nothing of the kind, Conflict for an invitation that was used, or an id that is
        another member's."""
        number = int(guest.removeprefix(INVITED))
        own = self._ids().local_id()
        if not own:
            raise Conflict("this broker has no member of its own yet")
        path = self._home / trust.INVITATIONS
        invitation = trust.numbered(file_text(path), number)
        newcomer = trust.introduced(says, invitation.key)
        again = newcomer.identity in invitation.used
        if not again and len(invitation.used) >= invitation.uses:
            raise Conflict("this invitation was used already")
        if newcomer.id == own:
            raise Conflict(f"{own} is the member of this broker itself", hint="Give the new one another id.")
        self._check_free(newcomer)
        trust.with_member(self._home, newcomer)
        if not again:
            with changing(path) as put:  # what was added in the meantime stays
                text = file_text(path)
                used = trust.numbered(text, number).used_by(newcomer.identity)
                kept = trust.read_invitations(text).values()
                put("".join(f"{(used if one.number == number else one).line()}\n" for one in kept))
            mark = fingerprint(newcomer.identity)
            log.info("%s has joined by invitation %d; its fingerprint is %s", newcomer.id, number, mark)
        given = self._certificate(newcomer.id, newcomer.identity, may_invite=invitation.may_invite)
        shown = [one.statement.told() for one in self._certificates.value if one.may_invite]
        return {"id": own, "identity": text_of(self.keys.identity.public), CERTIFICATES: [given, *shown]}

    def _check_free(self, newcomer: trust.Trusted) -> None:
        """Raises Conflict for an id or a key that belongs to another member, for an id that only others vouch for, and for
        a revoked identity."""
        if newcomer.identity in self.revocations:
            raise Conflict(f"the fingerprint {fingerprint(newcomer.identity)} is revoked")
        if self.identity(newcomer.id) not in (None, newcomer.identity):
            raise Conflict(f"{newcomer.id} is another member")
        if self._holder(newcomer.curve) not in (None, newcomer.id) or newcomer.curve == self.public:
            raise Conflict("this key is another member's")


def nobody(guest: str, _says: object) -> dict[str, Any]:
    """The other :meth:`Trust.admit`, of a broker that does not ask members for keys. Raises Conflict."""
    raise Conflict(f"nobody is invited here, and {guest} is not either")
