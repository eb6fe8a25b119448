"""Who is revoked is trusted no more, for ever, by all who trust the issuer that says so."""

import pytest

from pycmbs.services.federation.keys import fingerprint, own_keys
from pycmbs.services.federation.revocations import FINGERPRINTS, STATEMENTS, Revocations, revoke, revoked


class Home:
    """A home that believes these issuers, besides itself."""

    def __init__(self, path, *issuers, kept=()):
        path.mkdir()
        self.path, self.keys = path, own_keys(path)
        self.issuers, self.kept = {self.keys.identity.public, *issuers}, set(kept)
        self.revocations = Revocations(path, lambda: self.issuers, lambda: self.kept)

    @property
    def identity(self):
        return self.keys.identity.public

    def revoke(self, other, id="lost"):
        revoke(self.path, self.keys, id, other.identity)
        self.revocations._file.due = 0.0

    def hear(self, told):
        self.revocations.hear(told)
        self.revocations._file.due = 0.0


@pytest.fixture
def issuer(tmp_path):
    return Home(tmp_path / "issuer")


@pytest.fixture
def lost(tmp_path):
    return Home(tmp_path / "lost")


@pytest.fixture
def member(tmp_path, issuer):
    return Home(tmp_path / "member", issuer.identity)


def test_what_an_issuer_revokes_goes_round(issuer, member, lost, tmp_path):
    """As it was signed, over members that only pass it on; it is kept once, and for ever."""
    issuer.revoke(lost)
    assert lost.identity in issuer.revocations
    greeting = issuer.revocations.told()
    assert greeting[FINGERPRINTS] == [fingerprint(lost.identity)]
    assert member.revocations.lacks(greeting)
    for _ in range(2):
        member.hear(greeting[STATEMENTS])
    assert [(one.id, one.identity) for one in revoked(member.path)] == [("lost", lost.identity)]
    assert not member.revocations.lacks(greeting)
    assert issuer.revocations.missing(member.revocations.told()) == []
    third = Home(tmp_path / "third", issuer.identity)
    third.hear(member.revocations.missing({}))
    assert (lost.identity in third.revocations, set(third.revocations.ids)) == (True, {"lost"})
    assert (third.path / "revoked").stat().st_mode & 0o777 == 0o600


def test_nobody_else_revokes(issuer, member, lost, tmp_path):
    """Not a member that is no issuer, not with a changed byte; and it is not asked for again."""
    stranger = Home(tmp_path / "stranger")
    stranger.revoke(member)
    told = stranger.revocations.told()
    assert issuer.revocations.lacks(told)
    issuer.hear(told[STATEMENTS])
    assert member.identity not in issuer.revocations
    assert not issuer.revocations.lacks(told)
    issuer.revoke(lost)
    (genuine,) = issuer.revocations.told()[STATEMENTS]
    for bad in (
        None, [], "x", {**genuine, "sig": genuine["sig"][:-4] + "AAAA"}, {**genuine, "signed": genuine["signed"][:-8]}, {},
    ):  # fmt: skip
        member.hear([bad])
        member.hear(bad)
    assert lost.identity not in member.revocations
    member.hear([genuine])
    assert lost.identity in member.revocations


def test_an_issuer_that_people_pinned_is_revoked_by_people_only(issuer, member, tmp_path):
    """Else one that may invite could put out the one that let it."""
    member.kept.add(issuer.identity)
    deputy = Home(tmp_path / "deputy")
    member.issuers.add(deputy.identity)
    deputy.revoke(issuer)
    member.hear(deputy.revocations.missing({}))
    assert issuer.identity not in member.revocations
    member.revoke(issuer)
    assert issuer.identity in member.revocations


def test_a_line_that_is_none_revokes_nobody(issuer, lost):
    """It says so in the log, and the others stand."""
    issuer.revoke(lost)
    path = issuer.path / "revoked"
    path.write_text(f"# lost in a train\n\nx y\nABC lost AAAA BBBB\n{path.read_text()}")
    issuer.revocations._file.due = 0.0
    assert lost.identity in issuer.revocations
    assert len(issuer.revocations.ids) == 1


def test_greetings_stay_small(issuer, tmp_path):
    """They have all fingerprints, and the last few statements; who lacks the others is told them."""
    for number in range(6):
        issuer.revoke(Home(tmp_path / str(number)), str(number))
    told = issuer.revocations.told()
    assert (len(told[FINGERPRINTS]), len(told[STATEMENTS])) == (6, 4)
    assert len(issuer.revocations.missing({FINGERPRINTS: [*told[FINGERPRINTS][:1], 1, None]})) == 5
