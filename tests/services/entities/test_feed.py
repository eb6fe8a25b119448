"""The feed: what changes is read once for all who watch, and is neither lost nor kept without bound."""

import pytest

from pycmbs.errors import QueueFull
from pycmbs.runtime import ThreadRuntime
from pycmbs.services.entities import feed as module
from pycmbs.services.entities.feed import Feed
from pycmbs.services.entities.selection import EVERYTHING
from pycmbs.services.entities.watching import Watching
from pycmbs.wsgi import streams
from pycmbs.wsgi.streams import Streams
from tests.harness import wait_until
from tests.services.world import add_member, make_broker


@pytest.fixture
def broker():
    """A broker over the memory store."""
    return make_broker()


def watching(broker, size=10):
    """What watches it; each change is shown as so many bytes, and noted."""
    noted = []

    def show(told, _entity):
        noted.append(told.path)
        return b"x" * size

    feed = Feed(broker.store, ThreadRuntime(), {})
    return Watching.of(broker.store, broker.categories, broker.access, feed, show), noted


def paths(watch, number, seconds=10):
    """What it is told until it is that much."""
    found = []
    wait_until(lambda: found.extend(told.path for told, _ in watch.seen(0.1).events) or len(found) >= number, seconds)
    return found


def test_all_who_watch_are_told_of_everything_and_it_is_shown_once(broker):
    """However many they are."""
    over, noted = watching(broker)
    watches = [over.watch("/", EVERYTHING, None) for _ in range(5)]
    for one in watches:
        assert one.seen(0).events == []
    made = [add_member(broker, f"m{number}", number).path for number in range(10)]
    assert [paths(one, 10) for one in watches] == [made] * 5
    assert sorted(noted) == sorted(made)
    for one in watches:
        one.close()


def test_who_is_too_far_behind_reads_the_store_and_misses_nothing(broker, monkeypatch):
    """What is kept for the slow is bounded, in number and in bytes."""
    monkeypatch.setattr(module, "_MOST_BYTES", 200)
    over, _ = watching(broker, size=100)
    quick, slow = (over.watch("/", EVERYTHING, None) for _ in range(2))
    quick.seen(0), slow.seen(0)
    made = []
    for number in range(12):
        made.append(add_member(broker, f"m{number}", number).path)
        assert paths(quick, 1) == made[-1:]
    (channel,) = over.feed._channels.values()
    assert len(channel._batches) <= 4
    assert paths(slow, 12) == made
    quick.close(), slow.close()


def test_a_feed_that_nobody_follows_reads_nothing(broker):
    """It ends with the last who watches, and begins again with the next, who misses nothing since he asked."""
    over, _ = watching(broker)
    first = over.watch("/", EVERYTHING, None)
    first.seen(0)
    first.close()
    wait_until(lambda: not over.feed._following)
    second = over.watch("/", EVERYTHING, first.cursor)
    made = add_member(broker, "later", 1).path
    assert paths(second, 1) == [made]
    second.close()


def test_streams_are_bounded_in_number(monkeypatch):
    """One more is a 503, and there is room again when one ends."""
    monkeypatch.setattr(streams, "MOST_STREAMS", 2)
    some = Streams(lambda _environ: None, lambda: False)
    some.enter(), some.enter()
    with pytest.raises(QueueFull):
        some.enter()
    some.leave()
    some.enter()


def test_who_is_not_concerned_is_not_woken_and_goes_on_behind_what_he_was_not_told(broker):
    """What changes elsewhere is not shown, and need not be read again by who comes back."""
    over, noted = watching(broker)
    messages, members = (over.watch(path, EVERYTHING, None) for path in ("/cmbs/message/", "/cmbs/member/"))
    messages.seen(0), members.seen(0)
    before = messages.cursor
    made = [add_member(broker, f"m{number}", number).path for number in range(3)]
    assert paths(members, 3) == made
    assert sorted(noted) == sorted(made)
    wait_until(lambda: not messages.seen(0.05).events and messages.cursor == members.cursor)
    assert messages.cursor != before
    messages.close(), members.close()
