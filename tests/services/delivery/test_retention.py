"""Retention: what is settled goes in time, whole or not at all, and nothing else does."""

from __future__ import annotations

import pytest

import pycmbs.clock
from pycmbs.errors import StoreUnavailable
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.services.delivery.inbox import Incoming
from pycmbs.services.delivery.retention import REMOVAL
from pycmbs.store.base import Query, Write
from tests.services.world import OWN, add_member, add_message, add_own, make_broker
from tests.store.faulty import WRITE, Fault, FaultyStore


@pytest.fixture(params=[True, False], ids=["atomic", "stepping"])
def store(request):
    """A store of either kind."""
    return FaultyStore(atomic=request.param)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when it is told to."""

    class Clock:
        now = pycmbs.clock.now()

        def pass_by(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr("pycmbs.clock.now", lambda: clock.now)
    return clock


def make(store, **settings):
    """A broker that keeps what is settled for a minute, and knows the members a and b."""
    broker = make_broker(store, **{"retain_seconds": 60.0, **settings})
    if broker.members.local() is None:
        add_own(broker)
        add_member(broker, "a", 1)
        add_member(broker, "b", 2)
    return broker


@pytest.fixture
def broker(store, clock):
    """Such a broker."""
    return make(store)


def sent(broker, id, *, delivered=True):
    """A message that was sent to both; returns its path."""
    path = add_message(broker, "l2", id).path
    broker.entities.act(path, Invocation("send_l2"))
    rows = [row for row in broker.outbox.pending(after=0, limit=1000) if row.message == path]
    broker.outbox.settle([row.settled("delivered", pycmbs.clock.now()) for row in (rows if delivered else rows[:1])])
    return path


def received(broker, id="r1", round=1, **attributes):
    """A message that came from the member a; returns its path."""
    document = {"kind": cmbs.MESSAGE, "id": id, "attributes": {"cmbs": {"message": attributes}}}
    body = {"layer": "l2", "round": round, "deadline": 5, "message": document}
    (answer,) = broker.inbox.receive([Incoming("a", body, ("l2",))])
    assert answer.error is None
    return cmbs.MESSAGE_LOCATION + id, answer


def expire(broker):
    """One round of it, without pauses."""
    return broker.retention.expire(lambda _seconds: False)


def messages(broker):
    """The paths of the messages that are there."""
    return broker.entities.find(cmbs.MESSAGE_LOCATION)


def rows(store):
    """The messages of all rows there are."""
    return {one.body["message"] for one in store.find(Query("delivery"))}


def link(broker, source, target):
    """A link from one entity to another; returns its path."""
    attributes = {"occi.core.source": source, "occi.core.target": target}
    draft = Draft("http://schemas.ogf.org/occi/core#link", attributes=attributes)
    return broker.entities.create("/link/", [draft])[0].path


def test_what_is_settled_goes_in_time(broker, store, clock):
    """A settled message goes with its ledger when its time is over; one that came later stays until its own is."""
    old = sent(broker, "old")
    clock.pass_by(40)
    new = sent(broker, "new")
    assert expire(broker) == 0
    clock.pass_by(30)
    assert expire(broker) == 1
    assert (messages(broker), rows(store)) == ([new], {new})
    clock.pass_by(40)
    assert expire(broker) == 1
    assert (messages(broker), rows(store), store.find(Query(REMOVAL))) == ([], set(), [])
    assert old not in broker.entities.stored_many([old])


def test_what_is_not_settled_stays(broker, store, clock):
    """A message that was never sent, or of which one delivery is open, stays however old it is."""
    draft, half = add_message(broker, "l2", "draft").path, sent(broker, "half", delivered=False)
    clock.pass_by(10_000)
    assert expire(broker) == 0
    assert messages(broker) == [draft, half]
    broker.outbox.settle(
        [row.settled("expired", pycmbs.clock.now()) for row in broker.outbox.pending(after=0, limit=9)]
    )
    clock.pass_by(61)
    assert expire(broker) == 1
    assert messages(broker) == [draft]


def test_what_is_sent_again_is_not_settled(broker, clock):
    """A new round restarts the time, when it is settled."""
    path = sent(broker, "again")
    clock.pass_by(50)
    broker.entities.act(path, Invocation("send_l2"))
    clock.pass_by(50)
    assert expire(broker) == 0
    assert messages(broker) == [path]


def test_a_key_that_lies_removes_nothing(broker, store, clock):
    """Should a message say that it is settled while a delivery is open, it stays, and says so no more."""
    path = sent(broker, "lies", delivered=False)
    document = store.get(f"entity:{path}")
    private = {**document.body["private"], "settled": 1.0}
    keys = {**document.keys, "@settled": ("0000000000001.000",), "@kept": ("1",)}
    store.write([Write(document.id, document.type, {**document.body, "private": private}, keys, document.revision)])
    assert expire(broker) == 0
    assert "@settled" not in store.get(f"entity:{path}").keys
    assert messages(broker) == [path]


def test_a_message_without_recipients_is_settled(broker, clock):
    """What no one is a recipient of is settled when it is sent."""
    for member in ("a", "b"):
        broker.entities.delete(cmbs.MEMBER_LOCATION + member)
    path = add_message(broker, "l2", "nobody").path
    broker.entities.act(path, Invocation("send_l2"))
    clock.pass_by(61)
    assert expire(broker) == 1
    assert messages(broker) == []


def test_the_newest_stay(store, clock):
    """With retain_messages only so many settled ones stay, those settled last; others are not counted."""
    broker = make(store, retain_seconds=0.0, retain_messages=2)
    draft = add_message(broker, "l2", "draft").path
    paths = []
    for number in range(5):
        clock.pass_by(1)
        paths.append(sent(broker, f"m{number}"))
    assert expire(broker) == 3
    assert messages(broker) == [draft, *paths[3:]]
    assert rows(store) == set(paths[3:])


def test_both_bounds_hold(store, clock):
    """What is too old goes though few are there, and what is too much goes though it is young."""
    broker = make(store, retain_messages=3)
    paths = [sent(broker, f"m{number}") for number in range(2)]
    clock.pass_by(61)
    paths += [sent(broker, f"n{number}") for number in range(4)]
    assert expire(broker) == 3
    assert messages(broker) == paths[3:]


def test_nothing_goes_by_default(store, clock):
    """Without a setting nothing is removed."""
    broker = make(store, retain_seconds=0.0)
    path = sent(broker, "kept")
    clock.pass_by(10**9)
    assert expire(broker) == 0
    assert messages(broker) == [path]


def test_a_received_message_goes_and_its_receipt_stays(broker, store, clock):
    """It goes when its time is over, and is a duplicate all the same when it comes once more."""
    path, _ = received(broker)
    clock.pass_by(61)
    assert expire(broker) == 1
    assert messages(broker) == []
    assert store.count(Query("receipt")) == 1
    _, answer = received(broker)
    assert answer.body["status"] == "duplicate"
    assert path not in messages(broker)


def test_a_received_message_stays_until_it_is_executed(store, clock):
    """What still has to be executed is not settled; its outcome is."""
    broker = make(store, allow="* create message")
    path, answer = received(broker, message_content={"operation": "create", "target": "/cmbs/message/", "id": "made"})
    clock.pass_by(100)
    assert expire(broker) == 0
    assert broker.execution.run(answer.receipt).outcome == {"result": {"location": "/cmbs/message/made"}}
    clock.pass_by(61)
    assert expire(broker) == 1
    assert path not in messages(broker)


def test_links_at_it_go_too(broker, clock):
    """Links that start or end at a removed message go, and no other; what they led to stays."""
    kept, going, other = add_message(broker, "l2", "kept").path, sent(broker, "going"), sent(broker, "other")
    link(broker, kept, going)
    link(broker, going, kept)
    link(broker, other, going)
    stays = link(broker, kept, cmbs.MEMBER_LOCATION + OWN)
    clock.pass_by(61)
    assert expire(broker) == 2
    assert messages(broker) == [kept]
    assert broker.entities.find("/link/") == [stays]


def test_many_go_in_small_commits(broker, store, clock):
    """However many are due, no commit has more than its bound, and others get as long in between."""
    expire(broker)
    for number in range(130):
        sent(broker, f"m{number}")
    clock.pass_by(61)
    store.batches.clear()
    pauses = []
    assert broker.retention.expire(lambda seconds: pauses.append(seconds) or False) == 130
    assert len(pauses) == 2
    assert max(len(batch) for batch in store.batches) < 10
    assert (messages(broker), rows(store)) == ([], set())


def test_it_stops_when_told(broker, clock):
    """A broker that stops does not wait until all is removed."""
    expire(broker)
    for number in range(130):
        sent(broker, f"m{number}")
    clock.pass_by(61)
    assert broker.retention.expire(lambda _seconds: True) == 100
    assert expire(broker) == 30


@pytest.mark.parametrize("writes", range(4))
def test_a_kill_leaves_all_or_nothing(clock, writes):
    """Killed before any of its writes, in a store that is not atomic: a message is there with its whole ledger and links, or
    is not there; and the next round leaves nothing of it."""
    store = FaultyStore(atomic=False)
    broker = make(store)
    path, kept = sent(broker, "going"), add_message(broker, "l2", "kept").path
    link(broker, kept, path)
    clock.pass_by(61)
    store.arm(Fault.UNAVAILABLE, WRITE, after=writes)
    with pytest.raises(StoreUnavailable):
        expire(broker)
    store.disarm()
    if path in messages(broker):
        assert len(broker.entities.get(path).attributes[cmbs.DELIVERIES]) == 2
        assert len(broker.entities.find("/link/")) == 1
    again = make(store)
    expire(again)
    assert (messages(again), rows(store), store.find(Query(REMOVAL))) == ([kept], set(), [])
    assert again.entities.find("/link/") == []


def test_a_note_of_a_message_that_is_there_still_removes_nothing(clock):
    """Killed between the two documents of a removal's first step, which is in order: the note goes, the message later."""
    store = FaultyStore(atomic=False)
    broker = make(store)
    path = sent(broker, "there")
    round_ = store.get(f"entity:{path}").body["private"]["round"]
    store.write([Write(f"{REMOVAL}:{path}", REMOVAL, {"path": path, "round": round_, "links": []})])
    assert expire(broker) == 0
    assert len(broker.entities.get(path).attributes[cmbs.DELIVERIES]) == 2
    assert store.find(Query(REMOVAL)) == []


def test_rows_of_a_message_made_anew_are_its_own(clock):
    """What a kill left is removed, and not the rows of a message that was made and sent under the same path since."""
    store = FaultyStore(atomic=False)
    broker = make(store)
    path = sent(broker, "m1")
    clock.pass_by(61)
    store.arm(Fault.UNAVAILABLE, WRITE, after=2)
    with pytest.raises(StoreUnavailable):
        expire(broker)
    store.disarm()
    assert messages(broker) == []
    assert sent(broker, "m1", delivered=False) == path
    expire(make(store))
    ledger = broker.entities.get(path).attributes[cmbs.DELIVERIES]
    assert sorted(row["state"] for row in ledger) == ["delivered", "pending"]
    assert store.count(Query("delivery")) == 2


def test_messages_of_an_earlier_version_are_adopted(store, clock):
    """What was settled before messages said since when goes too: sent ones by their rows, received ones a full time later."""
    broker = make(store, retain_seconds=0.0)
    one, (two, _), draft = sent(broker, "sent"), received(broker), add_message(broker, "l2", "draft").path
    for path in (one, two):
        document = store.get(f"entity:{path}")
        private = {name: value for name, value in document.body["private"].items() if name != "settled"}
        keys = {name: values for name, values in document.keys.items() if not name.startswith("@")}
        store.write([Write(document.id, document.type, {**document.body, "private": private}, keys, document.revision)])
    clock.pass_by(61)
    later = make(store)
    assert expire(later) == 1
    assert messages(later) == [two, draft]
    clock.pass_by(61)
    assert expire(make(store)) == 1
    assert messages(later) == [draft]


def test_a_store_that_is_away_is_said(broker, store, clock):
    """Housekeeping hears it, and the next round goes on where this one was."""
    path = sent(broker, "m1")
    clock.pass_by(61)
    store.arm(Fault.UNAVAILABLE, "write")
    with pytest.raises(StoreUnavailable):
        expire(broker)
    assert messages(broker) == [path]
    store.disarm()
    assert expire(broker) == 1


def test_one_that_was_changed_meanwhile_waits(broker, store, clock):
    """Who is faster wins: the message is looked at again, and goes when it is due still."""
    expire(broker)
    path = sent(broker, "m1")
    clock.pass_by(61)
    store.before_write = lambda: broker.entities.update(path, Draft(title="new"))
    assert expire(broker) == 0
    assert broker.entities.get(path).title == "new"
    assert expire(broker) == 1


# Many together


def test_a_deletion_of_many_asks_no_question_for_each(clock):
    """The rows of sent messages are found by their ids, together; those that an earlier sending left, too."""
    store = FaultyStore(atomic=False)
    broker = make(store)
    messages = [add_message(broker, "l2", f"m{n}") for n in range(40)]
    broker.entities.act_all(cmbs.MESSAGE_LOCATION, Invocation("send_l2"))
    rows = store.find(Query("delivery"))
    assert len(rows) == 2 * len(messages)
    store.asked.clear()
    broker.entities.delete_all(cmbs.MESSAGE_LOCATION)
    assert store.asked.total() < 12
    assert store.find(Query("delivery")) == []
    assert store.find(Query("entity", {"kind": cmbs.MESSAGE})) == []


def test_rows_that_an_earlier_sending_left_go_with_the_message(clock):
    """What was to go after a sending, and did not since the store failed then, is not forgotten."""
    store = FaultyStore(atomic=False)
    broker = make(store)
    message = add_message(broker, "l2", "m")
    broker.entities.act(message.path, Invocation("send_l2"))
    settled = [row.settled("delivered", clock.now) for row in broker.outbox.pending(after=0, limit=9)]
    broker.outbox.settle(settled)
    store.arm(Fault.FULL, WRITE, times=1, after=1)  # the rows and the message are written, and nothing after them
    broker.entities.act(message.path, Invocation("send_l2"))
    assert len(store.find(Query("delivery"))) == 4
    broker.entities.delete(message.path)
    assert store.find(Query("delivery")) == []


def test_what_a_sending_left_that_failed_goes_as_a_whole(clock):
    """The engine finds one row that waits, and removes those of the same sending that were settled at once, too."""
    store = FaultyStore(atomic=False)
    broker = make(store)
    message = add_message(broker, "l31", "m", providers=["a", "nobody"])
    store.arm(Fault.PARTIAL, WRITE, times=1)
    with pytest.raises(StoreUnavailable):
        broker.entities.act(message.path, Invocation("send_l31"))
    assert len(store.find(Query("delivery"))) == 2
    waiting = broker.outbox.pending(after=0, limit=9)
    assert len(waiting) == 1
    assert broker.outbox.counting(waiting) == []
    broker.outbox.discard(waiting)
    assert store.find(Query("delivery")) == []
