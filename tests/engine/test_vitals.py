"""A member's health: what probes make of it. Pure, so the clock is a number."""

from pycmbs.engine.vitals import MISSES, Vitals

SOCKETS = {"l1": "tcp://h:1", "l2": "tcp://h:2"}


def member():
    """One of which nothing was measured yet."""
    return Vitals("a", dict(SOCKETS), 1)


def test_nothing_is_known_at_first():
    """Health is measured: before the first probe there is none, and the first probe is due."""
    vitals = member()
    assert (vitals.state, vitals.due, vitals.reachable_directly) == ("", 0.0, False)


def test_an_answer_means_alive():
    """One answer is enough, and the next probe waits for about an interval."""
    vitals = member()
    vitals.begin()
    assert vitals.answered(100.0, 1000.0, 5.0, 0.002) is True
    assert (vitals.state, vitals.reachable_directly, vitals.health.last_seen, vitals.health.round_trip) == (
        "alive", True, 1000.0, 0.002,
    )  # fmt: skip
    assert 104.0 <= vitals.due <= 106.0
    assert vitals.answered(105.0, 1005.0, 5.0, 0.001) is False
    assert vitals.health.since == 1000.0


def test_the_round_trip_is_what_is_usual():
    """It is the median of the last nine answers, without those of probes that had to wait for a connection."""
    vitals = member()
    for seconds in (None, 0.002, 1.5, 0.003, None, 0.001):
        vitals.answered(0.0, 1000.0, 5.0, seconds)
    assert vitals.health.round_trip == 0.0025
    vitals = member()
    vitals.answered(0.0, 1000.0, 5.0, None)
    assert vitals.blind
    assert "round_trip_ms" not in vitals.health.described()
    for number in range(20):
        vitals.answered(0.0, 1000.0, 5.0, float(number))
    assert vitals.health.round_trip == 15.0


def test_silence_means_suspect_then_dead():
    """The first round without an answer makes it suspect, and the third dead; the reason is kept."""
    vitals = member()
    vitals.answered(0.0, 1000.0, 5.0, 0.002)
    states = []
    for number in range(MISSES + 1):
        vitals.begin()
        vitals.missed(number, 1001.0 + number, 5.0, "no answer")
        states.append(vitals.state)
    assert states == ["suspect", "suspect", "dead", "dead"]
    assert (vitals.health.reason, vitals.health.last_seen, vitals.health.since) == ("no answer", 1000.0, 1003.0)


def test_a_suspect_is_probed_soon_and_a_dead_one_ever_less():
    """Doubts are settled within seconds; the dead cost little."""
    vitals = member()
    pauses = []
    for _ in range(MISSES + 6):
        vitals.missed(0.0, 1000.0, 5.0, "no answer")
        pauses.append(vitals.due)
    assert max(pauses[: MISSES - 1]) <= 1.2
    assert pauses[MISSES - 1] >= 4.0
    assert max(pauses) <= 36.0


def test_the_dead_come_back():
    """An answer makes a dead member alive at once, and that is a change."""
    vitals = member()
    for _ in range(MISSES):
        vitals.missed(0.0, 1000.0, 5.0, "no answer")
    assert vitals.answered(1.0, 1001.0, 5.0, 0.002) is True
    assert (vitals.state, vitals.failures, vitals.health.reason) == ("alive", 0, "")


def test_who_answers_by_itself_needs_nobody():
    """An answer that was passed on counts only when the member itself does not answer in the same round."""
    vitals = member()
    vitals.begin()
    assert vitals.answered(0.0, 1000.0, 5.0, 0.004, "b") is True
    assert (vitals.via, vitals.reachable_directly) == ("b", False)
    assert vitals.answered(0.0, 1000.0, 5.0, 0.002) is True
    assert vitals.answered(0.0, 1000.0, 5.0, 0.004, "b") is False
    assert (vitals.via, vitals.reachable_directly) == ("", True)


def test_other_sockets_are_tried():
    """A member that does not listen on L1 may listen elsewhere: after a miss the next socket is probed."""
    vitals = member()
    assert vitals.socket == "tcp://h:1"
    vitals.missed(0.0, 1000.0, 5.0, "no answer")
    assert vitals.socket == "tcp://h:2"
    assert Vitals("a", {}, 1).socket == ""


def test_suspects_wait_longer_when_there_are_many():
    """A suspect is probed again after as long as it is told, but not later than one that is alive."""
    vitals = member()
    vitals.missed(0.0, 1000.0, 5.0, "no answer", 3.0)
    assert 2.4 <= vitals.due <= 3.6
    vitals.missed(0.0, 1000.0, 5.0, "no answer", 30.0)
    assert vitals.due <= 6.0
