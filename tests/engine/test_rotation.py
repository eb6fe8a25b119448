"""A key for connections is changed without anybody noticing but in the files."""

from pathlib import Path

import pytest

from pycmbs.engine.rotation import VALID_SECONDS, Rotation
from pycmbs.errors import Conflict
from pycmbs.services.federation.keys import own_keys, rotate
from pycmbs.services.federation.ring import Trust
from tests.engine.test_engines import node  # noqa: F401 - fixture
from tests.engine.test_relaying import alive
from tests.harness import wait_until


class World:
    """A rotation, and the time."""

    def __init__(self, node):  # noqa: F811
        self.now, self.known, self.rekeyed, self.news = 1e9, 0, 0, 0
        self.home: Path = node.home
        self.members = node.broker.members
        self.trust = Trust(node.home, own_keys(node.home), lambda: node.broker.members)
        self.rotation = Rotation(
            node.home, self.trust, self.members, self, all_know=lambda version: self.known >= version,
            announce=self.announce, wall_clock=lambda: self.now,
        )  # fmt: skip

    def rekey(self):
        self.rekeyed += 1

    def announce(self):
        self.news += 1

    def turn(self, times=2):
        for _ in range(times):
            self.trust._curve_file.due = 0.0
            self.rotation.turn()

    @property
    def version(self):
        return self.members.local().private["version"]


@pytest.fixture
def world(node):  # noqa: F811
    one = node("a")
    one.become("l1")
    own_keys(one.home)
    return World(one)


def test_all_are_told_before_it_is_used(world):
    """Then it is used, the old one counts for a day, and after that no more."""
    old = own_keys(world.home).curve.public
    world.turn()
    assert world.news == 0
    new = rotate(world.home, world.now).public
    world.turn()
    assert (world.trust.keys.curves, world.rekeyed, world.news) == ((old, new), 0, 1)
    with pytest.raises(Conflict):
        rotate(world.home, world.now)
    world.known = world.version
    world.turn(3)
    assert (world.trust.keys.curves, world.rekeyed, world.news) == ((new, old), 1, 2)
    world.now += VALID_SECONDS - 1
    world.turn()
    assert world.trust.keys.curves == (new, old)
    world.now += 2
    world.turn(3)
    assert (world.trust.keys.curves, world.trust.keys.retired, world.rekeyed) == ((new,), (old,), 1)
    rotate(world.home, world.now)


def test_who_is_away_is_waited_for_for_a_day(world):
    """And it goes on after a restart."""
    old = own_keys(world.home).curve.public
    new = rotate(world.home, world.now).public
    world.turn()
    world.now += VALID_SECONDS - 1
    world.turn()
    assert world.trust.keys.curves == (old, new)
    fresh = Rotation(
        world.home, world.trust, world.members, world, all_know=lambda _version: False, announce=world.announce,
        wall_clock=lambda: world.now,
    )  # fmt: skip
    fresh.turn()
    assert world.trust.keys.curves == (old, new)
    world.now += 2
    for _ in range(3):
        world.trust._curve_file.due = 0.0
        fresh.turn()
    assert (world.trust.keys.curves, world.rekeyed) == ((new, old), 1)


def test_the_others_follow(node):  # noqa: F811
    """They reach it by the new key, whoever is asked, and the old one is theirs no more than a stranger's in the end."""
    a, b = node("a", keyed=True), node("b", keyed=True)
    a.trust(b)
    b.trust(a)
    for one in (a, b):
        one.become("l1", "l31")
    wait_until(lambda: alive(a) == {"b"} and alive(b) == {"a"}, 20)
    old = a.keys.curve.public
    new = rotate(a.home, 1e9).public
    ring = b.transport._keyring
    wait_until(lambda: ring.key_at("memory:a-l1", "a") == new, 20, "b meets a by the new key")
    assert (ring.who(old), ring.who(new)) == ("a", "a")
    for here, there in ((a, b), (b, a)):
        path = here.message("l31", f"by-{here.name}", providers=[there.name])
        here.act(path, "send_l31")
        assert here.settled(path) == "delivered"
