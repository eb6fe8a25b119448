"""Two engines in one process: what one asks to be executed, the other executes once, whatever of the answers is lost."""

import pytest

from pycmbs.engine.asked import Asked
from pycmbs.engine.awaiting import Awaiting
from pycmbs.occi import cmbs
from pycmbs.services.access import rules as allow
from pycmbs.services.execution.once import AlreadyApplied, OnceStore
from pycmbs.services.records.deliveries import DELIVERED, EXECUTED, Delivery
from pycmbs.store.base import Write
from pycmbs.store.memory import MemoryStore
from pycmbs.transport.envelope import ACK, OUTCOME, Envelope, decode
from tests.engine.test_engines import node, pair  # noqa: F401 - fixtures
from tests.harness import wait_until
from tests.services.world import fixed
from tests.store.faulty import Fault

CREATE = {"operation": "create", "target": cmbs.MESSAGE_LOCATION, "id": "made"}
MADE = cmbs.MESSAGE_LOCATION + "made"


@pytest.fixture
def allowing(pair):  # noqa: F811
    """A sender, and a receiver that executes everything."""
    pair[1].broker.access._rules = fixed(allow.parse("* * *"))
    return pair


def lose(node, type, number):  # noqa: F811
    """Have so many answers of a type not arrive; returns the list of those lost."""
    reply, lost = node.transport.reply, []

    def losing(peer, data):
        if decode(data).type == type and len(lost) < number:
            lost.append(data)
        else:
            reply(peer, data)

    node.transport.reply = losing
    return lost


@pytest.mark.parametrize(("type", "number"), [(ACK, 0), (OUTCOME, 1), (ACK, 1), (OUTCOME, 2)])
def test_a_lost_answer_is_asked_for(allowing, type, number):
    """The outcome reaches the sender although the acknowledgement, or the outcome itself, was lost; the effect is one."""
    a, b = allowing
    lost = lose(b, type, number)
    path = a.message("l2", message_content=CREATE)
    a.act(path, "send_l2")
    assert a.settled(path) == "executed"
    assert len(lost) == number
    assert a.attribute(path, cmbs.RESULT) == {"location": MADE}
    assert b.broker.entities.find(cmbs.MESSAGE_LOCATION) == [path, MADE]


def test_what_is_not_kept_is_executed_all_the_same(allowing):
    """A message with storable false is executed, and gone afterwards."""
    a, b = allowing
    path = a.message("l2", message_content=CREATE, storable="false")
    a.act(path, "send_l2")
    assert a.settled(path) == "executed"
    assert b.broker.entities.find(cmbs.MESSAGE_LOCATION) == [MADE]


def test_several_outcomes_are_told_by_member(node, allowing):  # noqa: F811
    """With several recipients the ledger has each one's outcome, and result has them by member."""
    a, _ = allowing
    c = node("c")
    c.become("l1", "l2", neighbors=["memory:a-l1"])
    c.act(cmbs.MEMBER_LOCATION + "c", "check_neighbors")
    wait_until(lambda: len(a.broker.members.all()) == 3, what="a knows c")
    path = a.message("l2", message_content=CREATE)
    a.act(path, "send_l2")
    assert a.settled(path) == "partial"
    result = a.attribute(path, cmbs.RESULT)
    assert result["b"] == {"result": {"location": MADE}}
    assert result["c"]["error"]["code"] == "forbidden"


def test_a_store_that_is_away_delays_an_execution(allowing):
    """When the receiver's store fails in the middle, the execution goes on when it is back."""
    a, b = allowing
    run = b.broker.execution.run

    def first_away(id):
        b.broker.execution.run = run
        b.store.arm(Fault.UNAVAILABLE, "write")
        try:
            return run(id)
        finally:
            b.store.disarm()

    b.broker.execution.run = first_away
    path = a.message("l2", message_content=CREATE)
    a.act(path, "send_l2")
    assert a.settled(path) in ("executed", "failed")
    assert a.attribute(path, cmbs.STATE) == "executed"


def test_a_mark_is_written_with_the_effect_and_once():
    """The first batch within marking carries the mark; where the mark is already, the effect is not written again."""
    store = OnceStore(MemoryStore())
    (receipt,) = store.write([Write("receipt", "receipt")])

    def mark(document, ids, intent):
        assert intent is None
        return Write("receipt", "receipt", {"wrote": ids}, revision=document.revision)

    with store.marking(receipt, mark):
        (written,) = store.write([Write("a", "entity")])
        store.write([Write("b", "entity")])
    assert (written.id, store.get("receipt").body) == ("a", {"wrote": ["a"]})
    with store.marking(receipt, mark), pytest.raises(AlreadyApplied):
        store.write([Write("c", "entity")])
    assert store.get("c") is None


ASKED = Asked("s", "b")


def row(index):
    """A row that awaits an outcome."""
    return Delivery("/m", 1, index, 2, "b", "s", "l2", 0.0, 9.0, DELIVERED, awaiting_outcome=True)


def test_outcomes_are_asked_for_ever_less_often():
    """It is asked a second after the acknowledgement, then after twice the pause each time, up to half a minute."""
    awaiting = Awaiting()
    awaiting.add(row(0), 0.0, "e1", ASKED)
    times, now = [], 0.0
    while len(times) < 8:
        now = awaiting.next_event()
        assert [one.index for one in awaiting.due(now)] == [0]
        times.append(now)
    assert times == [1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0, 121.0]


def test_any_envelope_that_asked_may_bring_the_outcome():
    """The row is found by the message's envelope and by every inquiry; after that it is awaited no more."""
    awaiting = Awaiting()
    awaiting.add(row(0), 0.0, "e1", ASKED)
    awaiting.add(row(1), 0.0)
    awaiting.asked(row(0).id, "e2", ASKED)
    assert [awaiting.expects(id) for id in ("e1", "e2", "e3")] == [True, True, False]
    assert awaiting.answered("s", Envelope(OUTCOME, "e1", "b", {}), 5.0) is None  # it is still at it
    done = {"outcome": {"result": 7}}
    for link, sender in (("s", "c"), ("elsewhere", "b")):  # of another member, and over another link
        assert awaiting.answered(link, Envelope(OUTCOME, "e2", sender, done), 5.0) is None
    answered = awaiting.answered("s", Envelope(OUTCOME, "e2", "b", done), 5.0)
    assert (answered.index, answered.state, answered.awaiting_outcome, answered.updated) == (0, EXECUTED, False, 5.0)
    assert not awaiting.expects("e1")
    assert not awaiting.expects("e2")
    assert [one.index for one in awaiting.due(0.0)] == [1]
