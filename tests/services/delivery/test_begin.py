"""Messages that are made and sent with one commit (``?then=``): both, or neither."""

from __future__ import annotations

import pytest

from pycmbs.errors import (
    CmbsError,
    DuplicateId,
    Forbidden,
    InvalidAttribute,
    InvalidRequest,
    NoLocalMember,
    NotSendable,
    QueueFull,
    StoreUnavailable,
    TooLarge,
)
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.services.access import access
from pycmbs.services.access.principal import Principal
from pycmbs.services.access.rules import parse
from pycmbs.services.delivery import sending
from pycmbs.services.records import deliveries
from tests.services.world import add_member, add_own, fixed, make_broker
from tests.store.faulty import Fault, FaultyStore

MESSAGES = cmbs.MESSAGE_LOCATION


@pytest.fixture
def broker(store, engine):
    """A broker with a member of its own that knows two others, a and b."""
    broker = make_broker(store, engine, outbox_bound=10)
    add_own(broker)
    add_member(broker, "a", 1, topics=["net.link"])
    add_member(broker, "b", 2, topics=["net.*"])
    return broker


def draft(layer="l2", id=None, **attributes):
    """A message as a client describes it."""
    return Draft(cmbs.MESSAGE, id, (cmbs.mixin(layer),), {"cmbs": {"message": attributes}})


def then(broker, *drafts, layer="l2", location=MESSAGES, **attributes):
    """Make and send them; returns the paths of what was made, and the reports."""
    made = broker.entities.make(location, list(drafts), Invocation(f"send_{layer}", "", attributes))
    assert made.action.endswith(f"#send_{layer}")
    return [one.path for one in made.entities], made.reports


def nothing_is_left(broker, members=3):
    """No message, no row, and the outbox's room is given back."""
    assert broker.entities.find(MESSAGES) == []
    assert broker.outbox.pending(after=0, limit=100) == []
    assert len(broker.entities.find(cmbs.MEMBER_LOCATION)) == members
    broker.bound.take(10)
    broker.bound.give_back(10)


def test_what_is_made_and_sent_is_one_commit(broker, store, engine):
    """Rows, then the message that makes them valid; nothing is written before or after, and the engine is woken once."""
    store.batches.clear()
    (path,), reports = then(broker, draft())
    (batch,) = store.batches
    assert [write.type for write in batch] == ["delivery", "delivery", "entity"]
    assert engine.woken == 1
    assert reports[path]["state"] == "sending"
    assert [row["member"] for row in reports[path]["deliveries"]] == ["a", "b"]
    assert broker.entities.get(path).attributes[cmbs.STATE] == "sending"


def test_the_report_is_that_of_a_send(broker):
    """One call tells what the two calls do, on every layer."""
    for layer, said in (
        ("l1", {"l1_socket_receiver_member": "memory:l1-1"}),
        ("l2", {}),
        ("l31", {"providers": ["b", "nobody"]}),
        ("l32", {"topics": ["net.disk"]}),
        ("l4", {"providers": ["a", "b"], "topics": ["net.disk"]}),
    ):
        (path,), reports = then(broker, draft(layer, **said), layer=layer)
        (other,) = broker.entities.create(MESSAGES, [draft(layer, **said)])
        expected = broker.entities.act(other.path, Invocation(f"send_{layer}"))
        for one in (*reports[path]["deliveries"], *expected["deliveries"]):
            for name in ("accepted", "deadline", "updated"):
                one.pop(name, None)
        assert reports[path] == expected
        stored, two = broker.entities.stored(path), broker.entities.stored(other.path)
        assert stored.attributes == two.attributes
        assert stored.private.keys() == two.private.keys()
        broker.entities.delete_all(MESSAGES)
        broker.bound.give_back(10)


def test_several_are_one_batch(broker, store):
    """A collection body is made and sent as a whole; the reports are by path, in its order."""
    store.batches.clear()
    paths, reports = then(broker, draft(id="x"), draft(id="y"))
    assert len(store.batches) == 1
    assert paths == list(reports) == [MESSAGES + "x", MESSAGES + "y"]
    assert len(broker.outbox.pending(after=0, limit=100)) == 4


@pytest.mark.parametrize(
    ("drafts", "layer", "options", "error"),
    [
        ([draft(sendable="false")], "l2", {}, NotSendable),
        ([draft(), draft(sendable="false")], "l2", {}, NotSendable),
        ([draft("l32")], "l32", {}, InvalidRequest),
        ([draft()], "l32", {}, InvalidRequest),
        ([draft(), draft("l32", topics=["net.link"])], "l2", {}, InvalidRequest),
        ([draft()], "l2", {"wait": "long"}, InvalidAttribute),
        ([draft()], "l2", {"hurry": True}, InvalidAttribute),
        ([draft(deadline=-1)], "l2", {}, InvalidRequest),
        ([draft(id="x"), draft(id="x")], "l2", {}, DuplicateId),
        ([draft() for _ in range(6)], "l2", {}, QueueFull),
    ],
)
def test_a_send_that_is_refused_creates_nothing(broker, engine, drafts, layer, options, error):
    """Whatever the reason is."""
    with pytest.raises(error):
        then(broker, *drafts, layer=layer, **options)
    nothing_is_left(broker)
    assert engine.woken == 0


def test_one_that_is_there_is_neither_changed_nor_sent(broker):
    """An id that is taken refuses the request, and what has it stays as it is."""
    broker.entities.create(MESSAGES, [draft(id="x", message_content="old")])
    with pytest.raises(DuplicateId):
        then(broker, draft(id="new"), draft(id="x", message_content="new"))
    assert broker.entities.find(MESSAGES) == [MESSAGES + "x"]
    assert broker.entities.get(MESSAGES + "x").attributes[cmbs.CONTENT] == "old"
    assert broker.outbox.pending(after=0, limit=100) == []


def test_without_a_member_nothing_is_created(store, engine):
    """There is nobody to send as."""
    broker = make_broker(store, engine)
    with pytest.raises(NoLocalMember):
        then(broker, draft())
    nothing_is_left(broker, members=0)


def test_a_failed_commit_creates_nothing_and_gives_back_its_room(broker, store, engine):
    """When the store is gone nothing was accepted."""
    store.arm(Fault.UNAVAILABLE, "write")
    with pytest.raises(StoreUnavailable):
        then(broker, draft())
    store.disarm()
    nothing_is_left(broker)
    assert engine.woken == 0


def test_what_a_kill_leaves_between_two_writes_counts_for_nothing(engine):
    """In a store that is not atomic the message is the last that is written: rows without it are removed."""
    store = FaultyStore(atomic=False)
    broker = make_broker(store, engine, outbox_bound=10)
    add_own(broker)
    add_member(broker, "a", 1)
    store.arm(Fault.PARTIAL, "write")
    with pytest.raises(StoreUnavailable):
        then(broker, draft())
    store.disarm()
    rows = broker.outbox.pending(after=0, limit=100)
    assert rows
    assert broker.outbox.counting(rows) == []
    broker.outbox.discard(rows)
    nothing_is_left(broker, members=2)


def test_a_dry_run_creates_nothing(broker, store, engine):
    """It says who would get it."""
    store.batches.clear()
    paths, reports = then(broker, draft(), dry_run=True)
    ((_, plan),) = reports.items()
    assert paths == store.batches == []
    assert plan["dry_run"] is True
    assert [one["member"] for one in plan["recipients"]] == ["a", "b"]
    assert engine.woken == 0


def test_an_action_that_is_no_part_of_a_creation_is_refused(broker):
    """``execute`` does more than can be written together with the message."""
    with pytest.raises(InvalidRequest) as caught:
        broker.entities.make(MESSAGES, [draft()], Invocation("execute"))
    assert caught.value.data["parameter"] == "then"
    nothing_is_left(broker)


def test_more_than_one_commit_takes_is_refused(broker, monkeypatch):
    """A single message may be for any number."""
    monkeypatch.setattr(sending, "_MOST_BEGUN", 2)
    with pytest.raises(TooLarge):
        then(broker, draft(), draft())
    nothing_is_left(broker)
    assert then(broker, draft())[0]


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ("user:someone create message; user:someone send message own; user:someone list message", True),
        ("user:someone create message; user:someone send message layer=l32; user:someone list message", False),
        ("user:someone send message; user:someone list message", False),
        ("user:someone create message; user:someone send message received; user:someone list message", False),
    ],
)
def test_the_rules_are_asked_for_both(broker, rules, allowed):
    """Who may create and not send does neither."""
    broker.access._rules = fixed(parse(rules))
    principal = Principal("someone", via="password")
    with access.asking(principal):
        if allowed:
            then(broker, draft())
        else:
            with pytest.raises(Forbidden):
                then(broker, draft())
    if not allowed:
        nothing_is_left(broker)


def test_a_wait_answers_with_what_became_of_it(broker, engine):
    """As with a send: the engine is asked, and wakes by that."""
    engine.answer = {"rows": []}

    def settled():
        rows = broker.outbox.pending(after=0, limit=100)
        broker.outbox.settle([row.settled(deliveries.DELIVERED, 1.0) for row in rows])

    engine.before_answer = settled
    (path,), reports = then(broker, draft(), wait=5)
    assert engine.calls[0][0] == "wait"
    assert reports[path]["state"] == "delivered"


def test_an_error_after_the_commit_is_no_refusal(broker, engine):
    """What is accepted is accepted: an engine that is away changes the report only."""
    engine.error = CmbsError("away")
    (path,), _ = then(broker, draft())
    assert broker.entities.find(MESSAGES) == [path]
