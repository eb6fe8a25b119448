"""Two processes that are one member, told apart from one that is restarted. The clock is a number."""

import pytest

from pycmbs.errors import ClaimedId
from pycmbs.services.federation.lives import Lives


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def lives(clock):
    found = Lives(lambda: clock[0])
    found.patience = 40.0
    return found


def hear(lives, clock, numbers, pause):
    """Hear a member under these numbers, one after the other."""
    for number in numbers:
        clock[0] += pause
        lives.heard("a", number)


def test_restarts_are_no_copies(lives, clock):
    """However often a member is restarted, each start has a number of its own."""
    hear(lives, clock, "aaabbbccccdefg", 1.0)
    assert not lives.contested("a")
    lives.check("a")


def test_two_that_speak_in_turn_are_two(lives, clock, caplog):
    """Numbers that come back again and again are of processes that are there at the same time; that is said once a minute."""
    hear(lives, clock, "aabbabab", 2.0)
    assert lives.contested("a")
    with pytest.raises(ClaimedId, match="two processes claim to be the member a"):
        lives.check("a")
    hear(lives, clock, "ab" * 10, 2.0)
    assert len(caplog.records) == 1


def test_what_was_held_up_is_no_copy(lives, clock):
    """Datagrams of the old start that come late, mixed with those of the new one, all at once, are of one after the other."""
    hear(lives, clock, "aaa", 1.0)
    hear(lives, clock, "abababababab", 0.001)
    hear(lives, clock, "bbbb", 1.0)
    assert not lives.contested("a")


def test_when_one_is_gone_the_other_is_the_member(lives, clock, caplog):
    """Who is silent for longer than anybody who is there is gone: then there is one member again, and that is said."""
    hear(lives, clock, "ababab", 2.0)
    hear(lives, clock, "a" * 15, 2.0)
    assert lives.contested("a")
    hear(lives, clock, "a" * 10, 2.0)
    assert not lives.contested("a")
    assert "one process is the member a now" in caplog.text


@pytest.mark.parametrize("life", [None, "", 5, [], "x" * 65])
def test_who_says_no_number_is_believed(lives, clock, life):
    """Those of an earlier version have none, and no one fills the memory with long ones."""
    hear(lives, clock, ["a", life, "a", life, "a", life, "a"], 2.0)
    assert not lives.contested("a")
    lives.check_own("me", life if isinstance(life, str) and len(life) < 65 else None)


def test_only_known_members_are_kept(lives, clock):
    """What was heard of members that are not known any more is forgotten."""
    hear(lives, clock, "ababab", 2.0)
    lives.keep({"b"})
    assert not lives.contested("a")


def test_the_own_number_is_drawn_at_each_start(lives):
    """No two starts have the same number; another one under the own id is another process."""
    assert lives.own != Lives().own
    lives.check_own("me", lives.own)
    with pytest.raises(ClaimedId):
        lives.check_own("me", Lives().own)
