"""The trust files of a home: members, invitations and certificates.

A line of ``members`` is one of these:

- ``ID IDENTITY CURVE [URL] [issuer]``: the member's id, its two public keys in base64url, where it is met first, and whether
  it vouches for others;
- ``issuer IDENTITY``: one that vouches for others, and is not met by itself;
- ``not ID``: a member that is not trusted, no matter who vouches for it.

A line of ``invitations`` is ``NUMBER KEY UNTIL USES [IDENTITY …]``: the public half of the one-time key, when it ends
(seconds since the epoch), how many may use it (with ``+`` behind it, they may invite others), and who did. A line of
``certificates`` is what an issuer signed, and the signature. ``#`` begins a comment, and any other line is ignored.
They are files, so that they can be changed before the first start, while the broker runs, and while the store is away; a broker
follows within a second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pycmbs.errors import CmbsError, Conflict, InvalidRequest
from pycmbs.occi.naming import bare_id
from pycmbs.services.access.files import changing
from pycmbs.services.access.files import text_of as file_text
from pycmbs.services.federation.keys import OwnKeys, bytes_of, fingerprint, key_of, text_of, verified
from pycmbs.services.federation.statements import MOST_CERTIFICATES, SIGNATURE, SIGNED, Certificate, certificates

log = logging.getLogger(__name__)

MEMBERS, INVITATIONS, OWN_CERTIFICATES = "members", "invitations", "certificates"
MOST_USES = 1000
"""Brokers that one invitation may be for."""
_ISSUER, _NOT, _MAY_INVITE = "issuer", "not", "+"
INVITED = "invite/"
"""How the number of an invitation begins where the id of a member stands: no id has such a character."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """A member whose keys are known. ``url``: where it is met first, empty where it comes by itself. ``issuer``: whether
    others are trusted for which it vouches."""

    id: str
    identity: bytes
    curve: bytes
    url: str = ""
    issuer: bool = False

    def line(self) -> str:
        """The line that says so."""
        words = (self.id, text_of(self.identity), text_of(self.curve), self.url, _ISSUER if self.issuer else "")
        return " ".join(filter(None, words))


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation as its own broker keeps it: ``key`` is the public half of what the invited one shows."""

    number: int
    key: bytes
    until: float
    uses: int = 1
    used: tuple[bytes, ...] = ()
    may_invite: bool = False

    def used_by(self, identity: bytes) -> Invitation:
        """The same after it was used once more."""
        return replace(self, used=(*self.used, identity))

    def line(self) -> str:
        """The line that says so."""
        uses = f"{self.uses}{_MAY_INVITE if self.may_invite else ''}"
        return " ".join(map(str, (self.number, text_of(self.key), int(self.until), uses, *map(text_of, self.used))))


@dataclass(frozen=True)
class Pinned:
    """The file ``members``, read."""

    by_curve: Mapping[bytes, str] = field(default_factory=dict)
    by_id: Mapping[str, Trusted] = field(default_factory=dict)
    by_url: Mapping[str, Trusted] = field(default_factory=dict)
    issuers: frozenset[bytes] = frozenset()
    """Identities that vouch for others."""
    refused: frozenset[str] = frozenset()
    """Members that are not trusted, no matter who vouches for them."""


def with_member(home: Path, newcomer: Trusted) -> None:
    """Trust a member, with these keys from now on. Raises Conflict for an id that stands for another identity."""
    path = home / MEMBERS
    with changing(path) as put:
        text = file_text(path)
        there = read_members(text)
        known = there.by_id.get(newcomer.id)
        if known is not None and known.identity != newcomer.identity:
            raise Conflict(
                f"{newcomer.id} is another member: its fingerprint is {fingerprint(known.identity)}",
                hint=f"If it has new keys: pycmbs member remove {newcomer.id}.",
            )
        holder = there.by_curve.get(newcomer.curve, newcomer.id)
        if holder != newcomer.id:
            raise Conflict(f"this key is that of {holder}")
        if known is not None:  # what was said of it before stays
            newcomer = replace(newcomer, url=newcomer.url or known.url, issuer=newcomer.issuer or known.issuer)
        put("".join(_others(text, newcomer.id)) + newcomer.line() + "\n")


def with_issuers(home: Path, identities: Iterable[bytes]) -> None:
    """Trust those for whom these vouch."""
    path = home / MEMBERS
    with changing(path) as put:
        text = file_text(path)
        more = [one for one in identities if one not in read_members(text).issuers]
        put("".join(_whole_lines(text)) + "".join(f"{_ISSUER} {text_of(one)}\n" for one in more))


def without_member(home: Path, id: str) -> bool:
    """Stop trusting a member, no matter who vouches for it; tells whether it was pinned."""
    path = home / MEMBERS
    with changing(path) as put:
        text = file_text(path)
        put("".join(_others(text, id)) + f"{_NOT} {id}\n")
        return id in read_members(text).by_id


def pinned(home: Path) -> Pinned:
    """Whom a home trusts by itself, in the order of its file."""
    return read_members(file_text(home / MEMBERS))


def own_certificates(home: Path) -> list[Certificate]:
    """What others vouch for of a home."""
    return read_certificates(file_text(home / OWN_CERTIFICATES))


def with_certificates(home: Path, given: Iterable[Certificate]) -> None:
    """Show these from now on, and of others those by issuers that did not sign any of them."""
    path = home / OWN_CERTIFICATES
    with changing(path) as put:
        kept = list(given)
        kept += [
            one
            for one in read_certificates(file_text(path))
            if not any((one.issuer, one.id) == (new.issuer, new.id) for new in kept)
        ]
        put("".join(f"{one.statement.signed} {one.statement.signature}\n" for one in kept[:MOST_CERTIFICATES]))


def with_invitation(home: Path, key: bytes, until: float, uses: int, *, may_invite: bool = False) -> Invitation:
    """A new invitation; the key in it lets its bearer in. Those that have ended are forgotten a day later."""
    path = home / INVITATIONS
    with changing(path) as put:
        kept = list(read_invitations(file_text(path)).values())
        number = max((one.number for one in kept), default=0) + 1
        made = Invitation(number, key, until, uses, (), may_invite)
        fresh = [one for one in kept if one.until > time.time() - 86400]
        put("".join(f"{one.line()}\n" for one in (*fresh, made)))
        return made


def joining(keys: OwnKeys, id: str, invitation: bytes) -> dict[str, str]:
    """What a guest that comes by an invitation says: who it is, signed by that identity, for this invitation only."""
    words = (id, text_of(keys.identity.public), text_of(keys.curve.public), text_of(invitation))
    return {"signed": " ".join(words), "signature": text_of(keys.sign(_said(" ".join(words))))}


def numbered(text: str, number: int) -> Invitation:
    """The invitation with this number. Raises Conflict for one that is not there any more."""
    for one in read_invitations(text).values():
        if one.number == number:
            return one
    raise Conflict("this invitation was withdrawn")


def _said(words: str) -> bytes:
    return b"pycmbs joins: " + words.encode()


def introduced(says: object, invitation: bytes) -> Trusted:
    """The member that joins by the invitation with this key. Raises InvalidRequest."""
    told = says if isinstance(says, dict) else {}
    words = str(told.get("signed", ""))[:1000]
    parts = words.split(" ")
    if len(parts) != 4:
        raise InvalidRequest("a guest with an invitation may introduce itself, and nothing else")
    id, identity, curve = bare_id(parts[0]), key_of(parts[1]), key_of(parts[2])
    if key_of(parts[3]) != invitation or not verified(identity, _said(words), bytes_of(told.get("signature"))):
        raise InvalidRequest("a guest with an invitation must sign its introduction")
    return Trusted(id, identity, curve)


def _words(line: str) -> list[str]:
    """Those of a line before its comment."""
    return line.partition("#")[0].split()


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if words := _words(line):
            yield number, words


def _whole_lines(text: str) -> Iterator[str]:
    for line in text.splitlines(keepends=True):
        yield line if line.endswith("\n") else f"{line}\n"


def _others(text: str, id: str) -> Iterator[str]:
    """The lines of ``members`` that say nothing of a member with this id, as they are."""
    for line in _whole_lines(text):
        words = _words(line)
        word = words[1] if len(words) == 2 and words[0] == _NOT else words[0] if words else ""
        if _id_of(word) != id:
            yield line


def _id_of(word: str) -> str:
    try:
        return bare_id(word)
    except InvalidRequest:
        return ""


def read_members(text: str) -> Pinned:
    """What the file ``members`` says."""
    found: dict[str, Trusted] = {}
    issuers: set[bytes] = set()
    refused: set[str] = set()
    for number, words in _lines(text):
        try:
            if len(words) == 2 and words[0] == _NOT:
                refused.add(bare_id(words[1]))
            elif len(words) == 2 and words[0] == _ISSUER:
                issuers.add(key_of(words[1]))
            else:
                one = _trusted(words)
                found[one.id] = one
        except CmbsError as exc:
            log.warning("line %d of the file %s is ignored: %s", number, MEMBERS, exc.message)
    found = {id: one for id, one in found.items() if id not in refused}
    issuers |= {one.identity for one in found.values() if one.issuer}
    by_url = {one.url: one for one in found.values() if one.url}
    return Pinned({one.curve: one.id for one in found.values()}, found, by_url, frozenset(issuers), frozenset(refused))


def _trusted(words: list[str]) -> Trusted:
    """Raises InvalidRequest."""
    *plain, last = words
    issuer = last == _ISSUER
    plain = plain if issuer else words
    if len(plain) not in (3, 4):
        raise InvalidRequest("it is not ID IDENTITY CURVE [URL] [issuer]")
    url = plain[3] if len(plain) == 4 else ""
    return Trusted(bare_id(plain[0]), key_of(plain[1]), key_of(plain[2]), url, issuer)


def read_invitations(text: str) -> Mapping[bytes, Invitation]:
    """What the file ``invitations`` says, by the public half of their keys."""
    found = {}
    for number, words in _lines(text):
        try:
            used = tuple(map(key_of, words[4:]))
            uses, may_invite = words[3].removesuffix(_MAY_INVITE), words[3].endswith(_MAY_INVITE)
            one = Invitation(int(words[0]), key_of(words[1]), float(words[2]), int(uses), used, may_invite)
        except (CmbsError, ValueError, IndexError):
            log.warning("line %d of the file %s is ignored: it is not an invitation", number, INVITATIONS)
            continue
        found[one.key] = one
    return found


def read_certificates(text: str) -> list[Certificate]:
    """What the file ``certificates`` says."""
    lines = [{SIGNED: words[0], SIGNATURE: words[1]} for _, words in _lines(text) if len(words) == 2]
    return certificates(lines)
