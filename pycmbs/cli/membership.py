"""``invite``, ``join``, ``key``, ``member``: manage trusted members and keys."""

from __future__ import annotations

import contextlib
import json
import queue
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from pycmbs.cli.home import command, done, group, reported
from pycmbs.cli.users import span_of, utc
from pycmbs.config import Settings
from pycmbs.errors import CmbsError, Conflict, InvalidRequest, NotFound, RemoteError, Unavailable, from_dict
from pycmbs.occi import cmbs
from pycmbs.occi.naming import bare_id
from pycmbs.processes.locks import make_private
from pycmbs.runtime import ThreadRuntime
from pycmbs.services.federation import revocations, trust
from pycmbs.services.federation.credentials import PLAIN, VOUCHED, credentials
from pycmbs.services.federation.keys import (
    NEXT,
    KeyPair,
    bytes_of,
    curve_of,
    fingerprint,
    key_of,
    new_curve,
    own_keys,
    rotate,
    text_of,
)
from pycmbs.services.federation.ring import Trust
from pycmbs.services.federation.roster import Roster, Rosters, socket_of
from pycmbs.services.federation.statements import CERTIFICATES, certificates
from pycmbs.services.federation.trust import Trusted
from pycmbs.store import open_store
from pycmbs.transport import SEAM
from pycmbs.transport.address import check_networked
from pycmbs.transport.base import Arrival
from pycmbs.transport.envelope import HELLO, REFUSAL, Envelope, decode, encode

_EXAMPLE = """\
pycmbs invite               at one broker, started with --members closed: prints a line
pycmbs join cmbs1.eyJ1…     at the other
pycmbs member list          at both, and pycmbs key show to compare fingerprints"""
_FLAGS = ("home", "store", "store_password_file", "members")
_MARK = "cmbs1."
_ANSWER_SECONDS = 10.0


class _Line(NamedTuple):
    """What a line of ``pycmbs invite`` contains."""

    url: str
    curve: bytes
    fingerprint: str
    secret: bytes
    until: float

    def text(self) -> str:
        """The line."""
        said = {"u": self.url, "k": text_of(self.curve), "f": self.fingerprint, "s": text_of(self.secret)}
        document = json.dumps({**said, "t": int(self.until)}, separators=(",", ":"))
        return _MARK + text_of(document.encode())


key = group(
    "key",
    "show this broker's keys and their fingerprint, or change them; a broker that runs follows at once",
    "pycmbs key show\npycmbs key rotate",
)
member = group(
    "member",
    "list and remove the members that this broker trusts; a broker that runs follows at once",
    "pycmbs member list\npycmbs member remove rome",
)


@command("invite", "let another broker's member in: prints a line for pycmbs join there", _EXAMPLE, _FLAGS)
@click.option("--valid", metavar="SPAN", default="1d", help="how long it can be used, such as 2h (default: 1d)")
@click.option("--uses", metavar="N", type=int, default=1, help="how many brokers may use it (default: 1)")
@click.option(
    "--url", metavar="URL", default="", help="where others reach this broker (default: its member's L1 socket)"
)
@click.option("--may-invite", is_flag=True, help="the newcomer may invite others in turn")
@reported
def invite(settings: Settings, valid: str, uses: int, url: str, *, may_invite: bool) -> int:
    """See its help."""
    make_private(settings.home)
    keys = own_keys(settings.home)
    url = url or _own(settings)[1]
    if not url:
        raise Conflict(
            "this broker's member has no L1 socket where others could reach it", hint="Give it one, or --url URL."
        )
    check_networked(url)
    if not 0 < uses <= trust.MOST_USES:
        raise InvalidRequest(f"an invitation is for 1 to {trust.MOST_USES} brokers")
    held = trust.own_certificates(settings.home)
    if held and not any(one.may_invite for one in held):
        raise Conflict(
            f"this broker was let in by {fingerprint(held[0].issuer)} and may not invite: no member would trust the newcomer",
            hint="Run pycmbs invite there, or there once pycmbs invite --may-invite, and join with that line here.",
        )
    until = time.time() + span_of(valid)
    guest = new_curve()
    made = trust.with_invitation(settings.home, guest.public, until, uses, may_invite=may_invite)
    line = _Line(url, keys.curve.public, keys.fingerprint, guest.secret, until)
    return done(settings, "invite", str(made.number), line.text())


@command("join", "join the broker that printed this line; the two trust each other then", _EXAMPLE, _FLAGS)
@click.argument("printed", metavar="LINE", help="what pycmbs invite printed there")
@click.option("--id", metavar="ID", default="", help="the id that the own member will have (default: the one it has)")
@reported
def join(settings: Settings, printed: str, id: str) -> int:
    """See its help."""
    line = _parse(printed)
    if line.until <= time.time():
        raise Conflict("this invitation has expired", hint="Ask for another one.")
    make_private(settings.home)
    keys = own_keys(settings.home)
    id = bare_id(id) if id else _own(settings)[0]
    if not id:
        raise Conflict("this home has no member yet", hint="Give the id it will have with --id, or make it first.")
    guest = curve_of(line.secret)
    answer = _ask(line, guest, Envelope(HELLO, "join", "", {"joins": trust.joining(keys, id, guest.public)}))
    joined = answer.body.get("joined")
    if answer.type == REFUSAL or not isinstance(joined, dict):
        raise from_dict(answer.body.get("error"))
    identity = key_of(joined.get("identity"))
    if fingerprint(identity) != line.fingerprint:
        raise RemoteError("the broker that answers did not make this invitation")
    given = [one for one in certificates(joined.get(CERTIFICATES)) if one.statement.by(one.issuer)]
    mine = [one for one in given if (one.id, one.identity, one.issuer) == (id, keys.identity.public, identity)]
    other = Trusted(bare_id(joined.get("id")), identity, line.curve, line.url, issuer=bool(mine))
    trust.with_member(settings.home, other)
    if mine:  # and those that let the other one in, with the right to invite
        deputing = [one for one in given if one.may_invite and one.identity == identity and one.issuer != identity]
        trust.with_issuers(settings.home, [one.issuer for one in deputing])
        trust.with_certificates(settings.home, [*mine, *deputing])
    hints = (
        []
        if settings.members in ("closed", "mixed")
        else ["this broker asks for keys when it is started with --members closed"]
    )
    return done(settings, "join", other.id, f"joined {other.id} at {other.url}, fingerprint {line.fingerprint}", *hints)


@command("show", "show the fingerprint of this broker, and its public keys", "pycmbs key show", _FLAGS, key)
@reported
def _show(settings: Settings) -> int:
    make_private(settings.home)
    keys = own_keys(settings.home)
    print(f"fingerprint {keys.fingerprint}")
    print(f"identity    {text_of(keys.identity.public)}")
    print(f"curve       {text_of(keys.curve.public)}")
    if keys.second is not None:
        at = utc(keys.second.at)
        words = f"next, made {at}" if keys.second.phase == NEXT else f"old, valid until {at}"
        print(f"curve       {text_of(keys.second.pair.public)} ({words})")
    return 0


@command(
    "rotate",
    "change the key for connections for a new one, which the others are told of first",
    "pycmbs key rotate",
    _FLAGS,
    key,
)
@reported
def _rotate(settings: Settings) -> int:
    make_private(settings.home)
    pair = rotate(settings.home, time.time())
    words = (
        "it is used once every member has heard of it, and after a day in any case; the one of now counts a day longer"
    )
    return done(settings, "key rotate", text_of(pair.public), f"the next key is {text_of(pair.public)}: {words}")


@command("list", "list the members that are trusted, with their fingerprints", "pycmbs member list", _FLAGS, member)
@reported
def _list(settings: Settings) -> int:
    make_private(settings.home)
    roster = _known(settings)
    ring = Trust(settings.home, own_keys(settings.home), _NoMembers, mixed=settings.members == "mixed")
    pinned = ring.pinned
    for one in pinned.by_id.values():
        print(one.id, fingerprint(one.identity), "issuer" if one.issuer else "pinned", one.url or "-", sep="\t")
    for other in roster.others:
        found = credentials(ring, roster, other.id)
        if found is not None and found.state in (PLAIN, VOUCHED):
            words = f"vouched for by {found.by}" if found.by else found.state
            print(other.id, found.fingerprint or "-", words, socket_of(other, "l1") or "-", sep="	")
    for gone in revocations.revoked(settings.home):
        print(gone.id, fingerprint(gone.identity), f"revoked by {fingerprint(gone.issuer)}", "-", sep="\t")
    for id in sorted(pinned.refused):
        print(id, "-", "not trusted", "-", sep="\t")
    return 0


@command("remove", "stop trusting a member, effective at once", "pycmbs member remove rome", _FLAGS, member)
@click.argument("said", metavar="ID")
@reported
def _remove(settings: Settings, said: str) -> int:
    id = bare_id(said)
    there = trust.pinned(settings.home)
    if id in there.refused or (id not in there.by_id and id not in _known(settings).by_id):
        raise NotFound(f"{said} is not trusted here", hint="pycmbs member list shows who is.")
    trust.without_member(settings.home, id)
    return done(settings, "member remove", said, f"{said} is no longer trusted")


@command(
    "revoke",
    "have no member trust this one any more, for ever, and fail what waits for it",
    "pycmbs member revoke rome",
    _FLAGS,
    member,
)
@click.argument("said", metavar="ID")
@reported
def _revoke(settings: Settings, said: str) -> int:
    make_private(settings.home)
    id, keys = bare_id(said), own_keys(settings.home)
    ring = Trust(settings.home, keys, _NoMembers)
    ring.learned(_known(settings))
    identity = ring.identity(id)
    if identity is None:
        raise NotFound(f"{said} is not trusted here", hint="pycmbs member list shows who is.")
    revocations.revoke(settings.home, keys, id, identity)
    held = trust.own_certificates(settings.home)
    hints = (
        [f"others do not believe this broker in that: do it also where {fingerprint(held[0].issuer)} is"]
        if held and not any(one.may_invite for one in held)
        else []
    )
    return done(settings, "member revoke", id, f"{id} is revoked, fingerprint {fingerprint(identity)}", *hints)


def _own(settings: Settings) -> tuple[str, str]:
    """The id of the own member, and the socket at which others reach it by its key; empty if there is none."""
    own = _roster(settings).own
    if own is None:
        return "", ""
    return own.id, next(iter(cmbs.items(own.attributes, cmbs.CURVE_SOCKETS)), "") or socket_of(own, "l1")


class _NoMembers:
    """For callers that need no addresses, no members are read: see :class:`~pycmbs.services.federation.ring.MemberIds`."""

    def local_id(self) -> str:
        """There is none."""
        return ""

    def met_at(self, _url: str) -> str:
        """There is none."""
        return ""

    def curve_sockets(self, _id: str) -> Sequence[str]:
        """There is none."""
        return ()


def _known(settings: Settings) -> Roster:
    """The same, or none while the store is not available."""
    try:
        return _roster(settings)
    except CmbsError:
        return Roster()


def _roster(settings: Settings) -> Roster:
    """The members that the store has."""
    store = open_store(settings.store_url(), home=settings.home, runtime=ThreadRuntime(), create=False)
    try:
        store.take_time()
        return Rosters(store).now()
    finally:
        store.close()


def _parse(text: str) -> _Line:
    """Raises InvalidRequest."""
    try:
        if not text.strip().startswith(_MARK):
            raise InvalidRequest("it does not begin so")
        said = json.loads(bytes_of(text.strip().removeprefix(_MARK)))
        check_networked(said["u"])
        return _Line(said["u"], key_of(said["k"]), str(said["f"]), key_of(said["s"]), float(said["t"]))
    except (CmbsError, ValueError, KeyError, TypeError):
        raise InvalidRequest(
            "this is not a line that pycmbs invite printed",
            hint=f"It begins with {_MARK} and is one word: copy all of it.",
        ) from None


class _Guest:
    """The ring of a guest that comes by an invitation: it knows the member that invited it, and no other."""

    def __init__(self, line: _Line, pair: KeyPair) -> None:
        self._host = line.curve
        self.public, self.secret = pair.public, pair.secret

    def who(self, key: bytes) -> str | None:
        """See :class:`~pycmbs.transport.base.Keyring`."""
        return "" if key == self._host else None

    def key_at(self, _url: str, _member: str) -> bytes:
        """See :class:`~pycmbs.transport.base.Keyring`."""
        return self._host

    def socket_at(self, url: str, _key: bytes) -> str:
        """See :class:`~pycmbs.transport.base.Keyring`."""
        return url


def _ask(line: _Line, pair: KeyPair, question: Envelope) -> Envelope:
    """The answer of the broker that made the line. Raises Unavailable if there is none."""
    answers: queue.Queue[Arrival] = queue.Queue()
    made: Any = SEAM.load("zeromq")
    transport = made(keyring=_Guest(line, pair))
    transport.start(lambda arrivals: answers.put(arrivals[0]))
    try:
        transport.send(line.url, encode(question))
        with contextlib.suppress(queue.Empty):
            return decode(answers.get(timeout=_ANSWER_SECONDS).data)
    finally:
        transport.close()
    raise Unavailable(
        f"nobody lets this broker in at {line.url} within {_ANSWER_SECONDS:g} s",
        hint="The broker that made the invitation must listen there, with --members closed, and still have the invitation.",
    )
