"""Who brings news of others without end is listened to now and then."""

from pycmbs.services.federation.telling import NEWS_A_SECOND, Telling


def test_as_many_at_once_as_there_may_be_members_and_some_a_second():
    """Each member has its own measure, and what is kept of that is bounded."""
    now = [100.0]
    telling = Telling(20, lambda: now[0])
    assert [telling.may("a") for _ in range(30)] == [True] * 20 + [False] * 10
    assert telling.may("b")
    now[0] += 1
    assert sum(telling.may("a") for _ in range(30)) == NEWS_A_SECOND
    now[0] += 3600
    assert sum(telling.may("a") for _ in range(30)) == 20
    for number in range(100):
        assert telling.may(str(number))
    assert len(telling._left) == 20
    assert all(telling.may("") for _ in range(100))
