"""What a thread knows of the request it works for: who begins and ends what."""

import threading

from pycmbs.occi.steps import MOST, bounded, spend
from pycmbs.runtime import asked, asked_at, wrote
from pycmbs.scope import current
from pycmbs.services.access.access import asking, who
from pycmbs.services.access.principal import OPEN, Principal

ADA, BOB = Principal("ada", via="token"), Principal("bob", via="token")


def test_contexts_of_all_kinds_nest_and_end_with_themselves():
    """Each takes back what it set, whatever is around it, and the outermost leaves nothing."""
    assert current.get() is None
    with asking(ADA):
        with bounded():
            spend(7)
            with asking(BOB), bounded():
                spend(1)
                assert who() == (ADA, BOB)
            assert who() == (ADA,)
            assert current.get().steps == MOST - 8
        assert current.get().steps is None
        with asking(OPEN):
            assert who() == (ADA,)
    assert who() == ()
    assert current.get() is None


def test_what_is_asked_begins_as_what_is_around_it_and_leaves_that_alone():
    """A request within an operation is for the same principals; those that are set in it go with it."""
    with asking(ADA), asked() as scope:
        begun = asked_at()
        wrote()
        assert asked_at() >= begun
        scope.principals = (BOB,)
        scope.steps = 5
        assert who() == (BOB,)
        with asked():
            assert who() == (BOB,)
    with asking(ADA):
        with asked() as scope:
            scope.principals = ()
        assert who() == (ADA,)
        assert current.get().asked_at is None


def test_a_thread_that_begins_meanwhile_works_for_nobody():
    """It must say itself for whom."""
    found = []
    with asked() as scope:
        scope.principals = (ADA,)
        thread = threading.Thread(target=lambda: found.append(who()))
        thread.start()
        thread.join()
    assert found == [()]
