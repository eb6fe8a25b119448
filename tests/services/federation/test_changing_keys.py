"""A member that changes its key for connections is known by both keys, and met with the one that it uses."""

import time
from types import SimpleNamespace

import pytest

from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.services.federation import ring as module
from pycmbs.services.federation.keys import new_curve, own_keys, text_of
from pycmbs.services.federation.ring import Trust
from pycmbs.services.federation.roster import Roster
from pycmbs.services.federation.statements import DESCRIPTION, SIGNED, state
from pycmbs.services.federation.trust import Trusted, with_member

URL = "tcp://192.0.2.1:1"
OLD, NEW = new_curve().public, new_curve().public


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A ring that trusts b, pinned with its old key, and the time."""
    (tmp_path / "own").mkdir()
    (tmp_path / "b").mkdir()
    b = own_keys(tmp_path / "b")
    with_member(tmp_path / "own", Trusted("b", b.identity.public, OLD))
    ids = SimpleNamespace(local_id=lambda: "own", met_at=lambda _url: "")
    trust = Trust(tmp_path / "own", own_keys(tmp_path / "own"), lambda: ids)
    time_ = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time_.now, time=time.time))

    def says(*curves, retired=()):
        said = {"curve": [text_of(one) for one in curves], "retired": [text_of(one) for one in retired]}
        member = Entity("b", cmbs.MEMBER, "/cmbs/member/b", (), {})
        member.private = {SIGNED: state(b, DESCRIPTION, "b", said)}
        trust.learned(Roster([member]))

    return SimpleNamespace(trust=trust, says=says, time=time_, met=lambda: trust.key_at(URL, "b"))


def test_what_it_says_it_uses_comes_first(world):
    """Both are its own from when it tells of them; the one that it says first is the one at its address."""
    assert world.met() == OLD
    world.says(OLD, NEW)
    assert (world.met(), world.trust.who(OLD), world.trust.who(NEW)) == (OLD, "b", "b")
    world.says(NEW, OLD)
    assert (world.met(), world.trust.who(OLD), world.trust.who(NEW)) == (NEW, "b", "b")


def test_what_it_proved_last_is_at_its_address(world):
    """It may have changed the key, and not have said so yet."""
    world.says(OLD, NEW)
    world.met()
    world.trust.who(NEW)
    assert world.met() == NEW


def test_where_neither_is_heard_both_are_tried(world):
    """It may have changed the key, and be unable to reach us: as long as nothing comes, in turn."""
    world.says(OLD, NEW)
    found = set()
    for _ in range(8):
        found.add(world.met())
        world.time.now += 6
    assert found == {OLD, NEW}
    world.trust.who(NEW)
    for _ in range(3):
        world.time.now += 3
        assert world.met() == NEW


def test_a_retired_key_is_a_strangers(world):
    """Though it is pinned."""
    world.says(NEW, retired=[OLD])
    assert (world.trust.who(OLD), world.trust.who(NEW), world.met()) == (None, "b", NEW)
