"""Whom a broker trusts: what stands in its files, and how keys are made."""

import time
from types import SimpleNamespace

import pytest

from pycmbs.errors import ConfigurationError, Conflict, InvalidRequest, UnknownKey
from pycmbs.services.access import files
from pycmbs.services.federation.keys import (
    curve_of,
    fingerprint,
    key_of,
    new_curve,
    own_fingerprint,
    own_keys,
    text_of,
    verified,
)
from pycmbs.services.federation.ring import Trust
from pycmbs.services.federation.statements import read_certificate
from pycmbs.services.federation.trust import (
    INVITATIONS,
    MEMBERS,
    Trusted,
    joining,
    pinned,
    with_invitation,
    with_member,
    without_member,
)

URL = "tcp://192.0.2.1:5010"


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch):
    monkeypatch.setattr(files, "LOOK_SECONDS", 0)


@pytest.fixture
def other(tmp_path):
    """The keys of another broker."""
    home = tmp_path / "other"
    home.mkdir()
    return own_keys(home)


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def trust(home):
    members = SimpleNamespace(local_id=lambda: "own", met_at=lambda url: "met" if url == URL else "")
    return Trust(home, own_keys(home), lambda: members)


def member(keys, id="b", url=""):
    return Trusted(id, keys.identity.public, keys.curve.public, url)


def test_keys_are_made_once(home):
    """They stay what they are, for their owner only, and belong together."""
    assert own_fingerprint(home) == ""
    keys = own_keys(home)
    assert own_keys(home) == keys
    assert own_fingerprint(home) == keys.fingerprint == fingerprint(keys.identity.public)
    assert len(keys.fingerprint) == 20
    for path in (home / "keys").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert (home / "keys").stat().st_mode & 0o777 == 0o700
    assert curve_of(keys.curve.secret) == keys.curve
    assert verified(keys.identity.public, b"x", keys.sign(b"x"))
    assert not verified(keys.identity.public, b"y", keys.sign(b"x"))
    assert not verified(keys.identity.public, b"x", b"")


@pytest.mark.parametrize("text", ["", "x", "x y", "AAAA AAAA", "\0\0"])
def test_a_broken_key_is_not_replaced(home, text):
    """Who it is, is not made up anew: the file is named."""
    own_keys(home)
    (home / "keys" / "identity").write_text(text)
    with pytest.raises(ConfigurationError, match="identity holds no key"):
        own_keys(home)
    assert own_fingerprint(home) == ""


def test_whose_key_is_known(home, trust, other):
    """As of now: what the file says counts, and the own key is the own member's."""
    assert trust.who(trust.public) == "own"
    assert trust.who(other.curve.public) is None
    with pytest.raises(UnknownKey, match="is not known"):
        trust.key_at(URL, "b")
    with_member(home, member(other, url="tcp://192.0.2.2:1"))
    assert trust.who(other.curve.public) == "b"
    assert trust.key_at(URL, "b") == trust.key_at("tcp://192.0.2.2:1", "") == other.curve.public
    assert trust.sockets() == ["tcp://192.0.2.2:1"]
    assert trust.key_at(URL, "own") == trust.public
    assert without_member(home, "b")
    assert trust.who(other.curve.public) is None
    assert not without_member(home, "b")


def test_a_member_is_who_is_met_at_an_address(home, trust, other):
    """Where nobody is named, who is known to be there has its key."""
    with pytest.raises(UnknownKey):
        trust.key_at(URL, "")
    with_member(home, member(other, "met"))
    assert trust.key_at(URL, "") == other.curve.public


def test_an_id_and_a_key_are_one_members(home, other):
    """Neither is taken over by another."""
    with_member(home, member(other))
    with pytest.raises(Conflict, match="another member"):
        with_member(home, Trusted("b", new_curve().public, new_curve().public))
    with pytest.raises(Conflict, match="that of b"):
        with_member(home, Trusted("c", new_curve().public, other.curve.public))
    renewed = Trusted("b", other.identity.public, new_curve().public)
    with_member(home, renewed)
    assert list(pinned(home).by_id.values()) == [renewed]


def test_what_is_no_line_trusts_nobody(home, trust, other):
    """The lines beside it count, and comments stay."""
    line = member(other).line()
    (home / MEMBERS).write_text(f"# ours\n\nb\nx y z\n{line} {URL} more\n/ {line[2:]}\n{line} # b\n")
    assert [one.id for one in pinned(home).by_id.values()] == ["b"]
    with_member(home, Trusted("c", new_curve().public, new_curve().public))
    assert (home / MEMBERS).read_text().startswith("# ours\n")
    assert trust.who(other.curve.public) == "b"


def test_an_invitation_lets_one_in(home, trust, other):
    """Whoever shows its key may say who it is, so often as it is for; and again, if that was not answered."""
    guest = new_curve()
    made = with_invitation(home, guest.public, time.time() + 60, 1)
    name = trust.who(guest.public)
    assert name == f"invite/{made.number}"
    for _ in range(2):
        answer = trust.admit(name, joining(other, "b", guest.public))
        given = read_certificate(answer.pop("certificates")[0])
        assert answer == {"id": "own", "identity": text_of(own_keys(home).identity.public)}
        assert (given.id, given.identity, given.may_invite) == ("b", other.identity.public, False)
        assert given.statement.by(own_keys(home).identity.public)
    assert trust.who(other.curve.public) == "b"
    third = home / "third"
    third.mkdir()
    with pytest.raises(Conflict, match="was used"):
        trust.admit(name, joining(own_keys(third), "c", guest.public))
    with pytest.raises(Conflict, match="withdrawn"):
        trust.admit("invite/9", joining(other, "b", guest.public))


@pytest.mark.parametrize(
    "change", [{"signed": "a b"}, {"signature": "AA"}, {"signature": None}, {"signed": "b " + "A" * 990}]
)
def test_who_is_invited_signs_who_it_is(home, trust, other, change):
    """For this invitation, and no other."""
    guest = new_curve()
    name = f"invite/{with_invitation(home, guest.public, time.time() + 60, 1).number}"
    for says in ({**joining(other, "b", guest.public), **change}, joining(other, "b", new_curve().public), [], None):
        with pytest.raises(InvalidRequest):
            trust.admit(name, says)
    assert list(pinned(home).by_id.values()) == []


def test_an_invitation_ends(home, trust, other):
    """Its key is a stranger's then, and a day later it is forgotten, but not its number."""
    guest, later = new_curve(), new_curve()
    with_invitation(home, guest.public, time.time() - 1, 1)
    assert trust.who(guest.public) is None
    (home / INVITATIONS).write_text(f"7 {text_of(guest.public)} 0 1\n8 broken\n")
    assert with_invitation(home, later.public, time.time() + 60, 1).number == 8
    assert text_of(guest.public) not in (home / INVITATIONS).read_text()
    assert trust.who(later.public) == "invite/8"


def test_nobody_joins_as_the_broker_itself(home, trust, other):
    """Its id is taken."""
    guest = new_curve()
    name = f"invite/{with_invitation(home, guest.public, time.time() + 60, 1).number}"
    with pytest.raises(Conflict, match="itself"):
        trust.admit(name, joining(other, "own", guest.public))


@pytest.mark.parametrize("text", [None, "", "AAAA", "A" * 42 + "!", "A" * 44, "é" * 43])
def test_what_is_no_key(text):
    """Is refused."""
    with pytest.raises(InvalidRequest):
        key_of(text)
