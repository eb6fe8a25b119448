"""Whom this broker trusts, in the file ``members`` of its home, and whom it has invited, in the file ``invitations``.

A line of ``members`` is ``ID IDENTITY CURVE [URL]``: the member's id, its two public keys in base64url, and where it is met
first. A line of ``invitations`` is ``NUMBER KEY UNTIL USES [IDENTITY …]``: the public half of the one-time key, when it ends
(seconds since the epoch), how many may use it, and who did. ``#`` begins a comment, and what is no such line trusts nobody.
They are files, so that they can be changed before the first start, while the broker runs, and while the store is away; a broker
follows within a second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pycmbs.errors import CmbsError, Conflict, InvalidRequest, UnknownKey
from pycmbs.occi.naming import bare_id
from pycmbs.services.access.files import Watched, changing
from pycmbs.services.access.files import text_of as file_text
from pycmbs.services.federation.keys import OwnKeys, bytes_of, fingerprint, key_of, text_of, verified

log = logging.getLogger(__name__)

MEMBERS, INVITATIONS = "members", "invitations"
MOST_USES = 1000
"""Brokers that one invitation may be for."""
INVITED = "invite/"
"""How the number of an invitation begins where the id of a member stands: no id has such a character."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """A member whose keys are known. ``url``: where it is met first, empty where it comes by itself."""

    id: str
    identity: bytes
    curve: bytes
    url: str = ""

    def line(self) -> str:
        """The line that says so."""
        return " ".join(filter(None, (self.id, text_of(self.identity), text_of(self.curve), self.url)))


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation as its own broker keeps it: ``key`` is the public half of what the invited one shows."""

    number: int
    key: bytes
    until: float
    uses: int = 1
    used: tuple[bytes, ...] = ()

    def used_by(self, identity: bytes) -> Invitation:
        """The same after it was used once more."""
        return replace(self, used=(*self.used, identity))

    def line(self) -> str:
        """The line that says so."""
        return " ".join(
            map(str, (self.number, text_of(self.key), int(self.until), self.uses, *map(text_of, self.used)))
        )


@dataclass(frozen=True)
class _Known:
    """The file ``members``, read."""

    by_curve: Mapping[bytes, str] = field(default_factory=dict)
    by_id: Mapping[str, Trusted] = field(default_factory=dict)
    by_url: Mapping[str, Trusted] = field(default_factory=dict)


class MemberIds(Protocol):
    """What of the members is needed here: see :class:`~pycmbs.services.federation.members.MemberService`."""

    def local_id(self) -> str:
        """The id of the own member, empty while there is none."""

    def met_at(self, url: str) -> str:
        """The id of the member with this L1 socket, empty when there is none."""


class Trust:
    """The ring of keys (:class:`~pycmbs.transport.base.Keyring`) of a broker that asks members for theirs."""

    def __init__(self, home: Path, keys: OwnKeys, members: Callable[[], MemberIds]) -> None:
        """``members``: who knows which ids there are."""
        self._home = home
        self.keys = keys
        """The own ones."""
        self._ids = members
        self._members = Watched(home / MEMBERS, _read_members, _Known())
        none: Mapping[bytes, Invitation] = {}
        self._invitations = Watched(home / INVITATIONS, _read_invitations, none)

    @property
    def public(self) -> bytes:
        """See :class:`~pycmbs.transport.base.Keyring`."""
        return self.keys.curve.public

    @property
    def secret(self) -> bytes:
        """See :class:`~pycmbs.transport.base.Keyring`."""
        return self.keys.curve.secret

    def who(self, key: bytes) -> str | None:
        """See :class:`~pycmbs.transport.base.Keyring`. Who comes by an invitation is called by its number."""
        if (found := self._members.value.by_curve.get(key)) is not None:
            return found
        if key == self.public:
            return self._ids().local_id()
        invitation = self._invitations.value.get(key)
        return f"{INVITED}{invitation.number}" if invitation is not None and invitation.until > time.time() else None

    def key_at(self, url: str, member: str) -> bytes:
        """See :class:`~pycmbs.transport.base.Keyring`."""
        known = self._members.value
        if not member and url in known.by_url:
            return known.by_url[url].curve
        id = member or self._ids().met_at(url)
        if id in known.by_id:
            return known.by_id[id].curve
        if id and id == self._ids().local_id():
            return self.public
        raise UnknownKey(
            f"the key of {f'{id} at' if id else 'whoever is at'} {url} is not known here",
            hint="Get a line from pycmbs invite there, then run pycmbs join LINE here.",
            socket=url,
        )

    def identity(self, member: str) -> bytes | None:
        """The identity of a member that is trusted now, or of the own one; None of another."""
        known = self._members.value.by_id.get(member)
        if known is not None:
            return known.identity
        return self.keys.identity.public if member == self._ids().local_id() else None

    def sockets(self) -> list[str]:
        """Where trusted members are met first."""
        return list(self._members.value.by_url)

    def admit(self, guest: str, says: object) -> dict[str, str]:
        """Let in a guest that comes by an invitation and says who it is; what that is answered. ``guest``: by :meth:`who`.

        Raises InvalidRequest for what says nothing of the kind, Conflict for an invitation that was used, or an id that is
        another member's."""
        number = int(guest.removeprefix(INVITED))
        own = self._ids().local_id()
        if not own:
            raise Conflict("this broker has no member of its own yet, whom others could know")
        path = self._home / INVITATIONS
        invitation = _numbered(file_text(path), number)
        newcomer = _introduced(says, invitation.key)
        again = newcomer.identity in invitation.used
        if not again and len(invitation.used) >= invitation.uses:
            raise Conflict("this invitation was used")
        if newcomer.id == own:
            raise Conflict(f"{own} is the member of this broker itself", hint="Give the new one another id.")
        with_member(self._home, newcomer)
        if not again:
            with changing(path) as put:  # what was added meanwhile stays
                text = file_text(path)
                used = _numbered(text, number).used_by(newcomer.identity)
                kept = _read_invitations(text).values()
                put("".join(f"{(used if one.number == number else one).line()}\n" for one in kept))
            log.info(
                "%s has joined by invitation %d; its fingerprint is %s",
                newcomer.id,
                number,
                fingerprint(newcomer.identity),
            )
        return {"id": own, "identity": text_of(self.keys.identity.public)}


def nobody(guest: str, _says: object) -> dict[str, str]:
    """The other :meth:`Trust.admit`, of a broker that does not ask members for keys. Raises Conflict."""
    raise Conflict(f"nobody is invited here, and {guest} is not either")


def with_member(home: Path, newcomer: Trusted) -> None:
    """Trust a member, with these keys from now on. Raises Conflict for an id that stands for another identity."""
    path = home / MEMBERS
    with changing(path) as put:
        text = file_text(path)
        there = _read_members(text)
        known = there.by_id.get(newcomer.id)
        if known is not None and known.identity != newcomer.identity:
            raise Conflict(
                f"{newcomer.id} is another member: its fingerprint is {fingerprint(known.identity)}",
                hint=f"If it has new keys: pycmbs member remove {newcomer.id}.",
            )
        holder = there.by_curve.get(newcomer.curve, newcomer.id)
        if holder != newcomer.id:
            raise Conflict(f"this key is that of {holder}")
        put("".join(_others(text, newcomer.id)) + newcomer.line() + "\n")


def without_member(home: Path, id: str) -> bool:
    """Trust a member no more; tells whether it was trusted."""
    path = home / MEMBERS
    with changing(path) as put:
        text = file_text(path)
        put("".join(_others(text, id)))
        return id in _read_members(text).by_id


def trusted_members(home: Path) -> Iterable[Trusted]:
    """Whom a home trusts, in the order of its file."""
    return _read_members(file_text(home / MEMBERS)).by_id.values()


def with_invitation(home: Path, key: bytes, until: float, uses: int) -> Invitation:
    """A new invitation for whoever shows this key. Those that have ended are forgotten a day later."""
    path = home / INVITATIONS
    with changing(path) as put:
        kept = list(_read_invitations(file_text(path)).values())
        number = max((one.number for one in kept), default=0) + 1
        made = Invitation(number, key, until, uses)
        fresh = [one for one in kept if one.until > time.time() - 86400]
        put("".join(f"{one.line()}\n" for one in (*fresh, made)))
        return made


def joining(keys: OwnKeys, id: str, invitation: bytes) -> dict[str, str]:
    """What a guest that comes by an invitation says: who it is, signed by that identity, for this invitation only."""
    words = (id, text_of(keys.identity.public), text_of(keys.curve.public), text_of(invitation))
    return {"signed": " ".join(words), "signature": text_of(keys.sign(_said(" ".join(words))))}


def _numbered(text: str, number: int) -> Invitation:
    """Raises Conflict for one that is not there any more."""
    for one in _read_invitations(text).values():
        if one.number == number:
            return one
    raise Conflict("this invitation was withdrawn")


def _said(words: str) -> bytes:
    return b"pycmbs joins: " + words.encode()


def _introduced(says: object, invitation: bytes) -> Trusted:
    """Who joins. Raises InvalidRequest."""
    told = says if isinstance(says, dict) else {}
    words = str(told.get("signed", ""))[:1000]
    parts = words.split(" ")
    if len(parts) != 4:
        raise InvalidRequest("who comes by an invitation says who it is, and nothing else")
    id, identity, curve = bare_id(parts[0]), key_of(parts[1]), key_of(parts[2])
    if key_of(parts[3]) != invitation or not verified(identity, _said(words), bytes_of(told.get("signature"))):
        raise InvalidRequest("who comes by an invitation must sign who it is")
    return Trusted(id, identity, curve)


def _words(line: str) -> list[str]:
    """Those of a line before its comment."""
    return line.partition("#")[0].split()


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if words := _words(line):
            yield number, words


def _others(text: str, id: str) -> Iterator[str]:
    """The lines of ``members`` that are of no member with this id, as they are."""
    for line in text.splitlines(keepends=True):
        words = _words(line)
        if not words or _id_of(words[0]) != id:
            yield line if line.endswith("\n") else f"{line}\n"


def _id_of(word: str) -> str:
    try:
        return bare_id(word)
    except InvalidRequest:
        return ""


def _read_members(text: str) -> _Known:
    found: dict[str, Trusted] = {}
    for number, words in _lines(text):
        try:
            if len(words) not in (3, 4):
                raise InvalidRequest("it is not ID IDENTITY CURVE [URL]")
            one = Trusted(bare_id(words[0]), key_of(words[1]), key_of(words[2]), words[3] if len(words) == 4 else "")
        except CmbsError as exc:
            log.warning("line %d of the file %s trusts nobody: %s", number, MEMBERS, exc.message)
            continue
        found[one.id] = one
    return _Known(
        {one.curve: one.id for one in found.values()}, found, {one.url: one for one in found.values() if one.url}
    )


def _read_invitations(text: str) -> Mapping[bytes, Invitation]:
    found = {}
    for number, words in _lines(text):
        try:
            used = tuple(map(key_of, words[4:]))
            one = Invitation(int(words[0]), key_of(words[1]), float(words[2]), int(words[3]), used)
        except (CmbsError, ValueError, IndexError):
            log.warning("line %d of the file %s invites nobody", number, INVITATIONS)
            continue
        found[one.key] = one
    return found
