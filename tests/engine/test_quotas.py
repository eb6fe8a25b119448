"""What one member may send: a flood costs its sender, and no one else."""

import time
from collections import Counter

from pycmbs.engine import quotas as module
from pycmbs.engine.quotas import Quotas, Verdict, over_quota
from pycmbs.occi import cmbs
from tests.engine.test_engines import node  # noqa: F401 - fixture
from tests.engine.test_relaying import alive
from tests.harness import wait_until


class Clock:
    """Time as the test says."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def verdicts(quotas, who, times, size=100):
    return Counter(quotas.asked(who, size) for _ in range(times))


def test_a_member_may_send_so_many_at_once_and_a_second():
    """What is over is refused, and after some refusals dropped; what others send is not touched; time gives back."""
    clock = Clock()
    quotas = Quotas(clock)
    found = verdicts(quotas, "a", 6000)
    assert found == {Verdict.TAKEN: 5000, Verdict.REFUSED: 50, Verdict.DROPPED: 950}
    assert quotas.asked("b", 100) is Verdict.TAKEN
    clock.now += 0.5
    assert verdicts(quotas, "a", 6000)[Verdict.TAKEN] == 2500
    clock.now += 3600
    assert verdicts(quotas, "a", 6000)[Verdict.TAKEN] == 5000


def test_so_many_bytes():
    """A datagram that is larger than what is left still passes; then nothing does, until that is made up for."""
    clock = Clock()
    quotas = Quotas(clock)
    size = 10 * 1024 * 1024
    assert verdicts(quotas, "a", 4, size) == {Verdict.TAKEN: 2, Verdict.REFUSED: 2}
    assert quotas.asked("a", 10) is Verdict.REFUSED
    clock.now += 0.5
    assert quotas.asked("a", 10) is Verdict.TAKEN


def test_without_keys_no_one_is_counted():
    """Whoever says that it is a member could use up what that one may send."""
    assert verdicts(Quotas(Clock()), None, 20000) == {Verdict.TAKEN: 20000}


def test_it_remembers_so_many(monkeypatch):
    """What is kept is bounded."""
    monkeypatch.setattr(module, "_MOST", 10)
    quotas = Quotas(Clock())
    for number in range(100):
        quotas.asked(str(number), 1)
    assert len(quotas._left) == 10


def test_what_is_over_the_quota_is_sent_again(node, monkeypatch):  # noqa: F811
    """Nothing is lost, and the ledger says why it waits."""
    a, b = node("a", keyed=True, probe_interval=60.0), node("b", keyed=True)
    a.trust(b)
    b.trust(a)
    a.become("l1", "l31")
    b.become("l1", "l31")
    wait_until(lambda: {one.id for one in a.broker.members.all()} == {"a", "b"} and alive(a) == {"b"}, 20)
    monkeypatch.setattr(module, "_RATE", 2.0)
    left = b.engine._inbound._quotas._left["a"]
    left.datagrams, left.at = 3.0, time.monotonic()
    paths = [a.message("l31", f"m{number}", providers=["b"]) for number in range(6)]
    for path in paths:
        a.act(path, "send_l31")

    def reasons():
        return {row.get("reason", "") for path in paths for row in a.attribute(path, cmbs.DELIVERIES)}

    wait_until(lambda: over_quota("a").line in reasons(), 20, "the reason in the ledger")
    monkeypatch.setattr(module, "_RATE", 100.0)
    assert [a.settled(path) for path in paths] == ["delivered"] * 6
