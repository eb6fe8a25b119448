"""By what a member is trusted is shown to people, as the ring of keys decides it."""

from types import SimpleNamespace

import pytest

from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.services.access import files
from pycmbs.services.federation import proofs as module
from pycmbs.services.federation.credentials import Credentials, credentials
from pycmbs.services.federation.keys import own_keys, text_of
from pycmbs.services.federation.proofs import Proofs
from pycmbs.services.federation.revocations import revoke
from pycmbs.services.federation.ring import Trust
from pycmbs.services.federation.roster import Roster
from pycmbs.services.federation.statements import CERTIFICATES, DESCRIPTION, SIGNED, certify, state
from pycmbs.services.federation.trust import Trusted, with_member, without_member


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A home that trusts an issuer, and what it says of a member that the issuer vouches for."""
    monkeypatch.setattr(files, "LOOK_SECONDS", 0)
    own, issuer, guest = [_keys(tmp_path / name) for name in ("own", "issuer", "guest")]
    home = tmp_path / "own"
    with_member(home, Trusted("issuer", issuer.identity.public, issuer.curve.public, issuer=True))
    member = Entity("guest", cmbs.MEMBER, "/cmbs/member/guest", (), {})
    member.private = {
        SIGNED: state(guest, DESCRIPTION, "guest", {"curve": [text_of(guest.curve.public)]}),
        CERTIFICATES: [certify(issuer, "guest", guest.identity.public, 4e9, may_invite=False)],
    }
    ids = SimpleNamespace(local_id=lambda: "own", met_at=lambda _url: "")

    def of(id, *, mixed=False):
        return credentials(Trust(home, own, lambda: ids, mixed=mixed), Roster([member]), id)

    ring, roster = Trust(home, own, lambda: ids), Roster([member])
    return SimpleNamespace(home=home, of=of, own=own, issuer=issuer, guest=guest, ring=ring, roster=roster)


def _keys(home):
    home.mkdir()
    return own_keys(home)


def test_each_member_has_its_credentials(world):
    """Who is in the file is pinned there; of others it is said who vouches, of the rest whether they are believed."""
    with_member(world.home, Trusted("pinned", world.own.identity.public, b"k" * 32))
    assert world.of("issuer") == Credentials("issuer", world.issuer.fingerprint)
    assert world.of("pinned") == Credentials("pinned", world.own.fingerprint)
    assert world.of("guest") == Credentials("vouched", world.guest.fingerprint, world.issuer.fingerprint)
    assert world.of("stranger") == Credentials("untrusted")
    assert world.of("stranger", mixed=True) == Credentials("plain")
    assert credentials(None, Roster(), "stranger") is None


def test_who_is_put_out_is_not_shown_as_trusted(world):
    """Neither who was removed here, nor who was revoked: of that one, by whom."""
    revoke(world.home, world.own, "guest", world.guest.identity.public)
    for mixed in (False, True):
        assert world.of("guest", mixed=mixed) == Credentials("revoked", world.guest.fingerprint, world.own.fingerprint)
    without_member(world.home, "issuer")
    assert world.of("issuer", mixed=True) == Credentials("untrusted")


def test_of_whom_others_are_told_is_looked_up_once(world, monkeypatch):
    """Each greeting asks several times; it is looked up again when the members, or the files, are others."""
    proofs, asked = Proofs(world.ring), []
    is_current = Trust.is_current
    monkeypatch.setattr(Trust, "is_current", lambda ring, member: asked.append(member) or is_current(ring, member))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 1.0))
    proofs.learned(world.roster)
    for _ in range(3):
        assert proofs.tellable(world.roster) == list(world.roster.others)
    assert len(asked) == 1
    again = Roster(list(world.roster.members))
    proofs.learned(again)
    assert proofs.tellable(again) == list(again.others)
    assert len(asked) == 2
    revoke(world.home, world.own, "guest", world.guest.identity.public)
    assert proofs.tellable(again) == []
