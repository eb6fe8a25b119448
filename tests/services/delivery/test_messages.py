"""Messages on the sender's side: checked, accepted with one commit, settled, summed up; and the outbox."""

import time

import pytest
from msgspec.structs import replace

from pycmbs import clock
from pycmbs.errors import (
    BeingSent,
    EngineUnavailable,
    ImmutableAttribute,
    InvalidAddress,
    InvalidAttribute,
    InvalidRequest,
    NoLocalMember,
    NotExecutable,
    NotSendable,
    PreconditionFailed,
    QueueFull,
    StoreUnavailable,
    UnknownEntity,
)
from pycmbs.occi import cmbs
from pycmbs.occi.category import Mixin
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.services.delivery import sending
from pycmbs.services.records.deliveries import (
    DELIVERED,
    EXPIRED,
    FAILED,
    PENDING,
    SENT,
    UNKNOWN,
    Delivery,
    of_message,
    summary,
)
from pycmbs.services.records.times import sort_key_of_time, timestamp
from tests.services.world import OWN, add_member, add_message, add_own, make_broker
from tests.store.faulty import READS, Fault

PATH = cmbs.MESSAGE_LOCATION + "m1"


@pytest.fixture
def broker(store, engine):
    """A broker with a member of its own that knows two others, a and b."""
    broker = make_broker(store, engine)
    add_own(broker, topics=["own.>"])
    add_member(broker, "a", 1, topics=["net.link"])
    add_member(broker, "b", 2, topics=["net.*"])
    return broker


def send(broker, layer, **attributes):
    """Send the message m1."""
    return broker.entities.act(PATH, Invocation(f"send_{layer}", "", attributes))


def settle(broker, state, reason="", answer=None, rows=None):
    """Have all pending rows come out so."""
    rows = broker.outbox.pending(after=0, limit=100) if rows is None else rows
    return broker.outbox.settle([row.settled(state, time.time(), reason, answer) for row in rows])


def attributes(broker):
    """The message's attributes as they are shown."""
    return broker.entities.get(PATH).attributes


def test_accepting_is_one_commit(broker, store):
    """Rows and message stand or fall together, and the message, which makes the rows valid, is written last."""
    add_message(broker, "l2")
    store.batches.clear()
    send(broker, "l2")
    (batch,) = store.batches
    assert [write.type for write in batch] == ["delivery", "delivery", "entity"]


def test_a_failed_commit_accepts_nothing(broker, store, engine):
    """When the store is gone nothing was accepted, and the engine is not woken."""
    add_message(broker, "l2")
    store.arm(Fault.UNAVAILABLE, "write")
    with pytest.raises(StoreUnavailable):
        send(broker, "l2")
    assert broker.outbox.pending(after=0, limit=10) == []
    assert engine.woken == 0


def test_the_report_tells_who_gets_it(broker, engine):
    """A send answers with the ledger so far, and wakes the engine once."""
    add_message(broker, "l2")
    report = send(broker, "l2")
    assert (report["state"], report["recipients"], report["delivered"]) == ("sending", 2, 0)
    assert [entry["member"] for entry in report["deliveries"]] == ["a", "b"]
    assert engine.woken == 1


@pytest.mark.parametrize(
    ("layer", "given", "members"),
    [
        ("l1", {"l1_socket_receiver_member": "memory:l1-1"}, ["a"]),
        ("l1", {"l1_socket_receiver_member": "memory:stranger"}, [""]),
        ("l1", {"l1_socket_receiver_member": "b"}, ["b"]),
        ("l1", {"l1_socket_receiver_member": "/cmbs/member/b"}, ["b"]),
        ("l1", {"l1_socket_receiver_member": "http://localhost:8090/cmbs/member/a"}, ["a"]),
        ("l2", {}, ["a", "b"]),
        ("l31", {"providers": ["b", "nobody"]}, ["b", "nobody"]),
        ("l32", {"topics": ["net.disk"]}, ["b"]),
        ("l4", {"providers": ["a"], "topics": ["net.link"]}, ["a"]),
        ("l4", {"providers": ["a"], "topics": ["net.disk"]}, [""]),
    ],
)
def test_each_layer_has_its_recipients(broker, layer, given, members):
    """The table of layers."""
    add_message(broker, layer, **given)
    assert [entry["member"] for entry in send(broker, layer)["deliveries"]] == members


def test_a_member_that_is_named_for_l1_is_the_one_that_is_sent_to(broker):
    """By its present socket, whatever that was when the message was made; one that is gone by then is told of."""
    add_message(broker, "l1", l1_socket_receiver_member="a")
    other = Draft(attributes={"cmbs.member.l1_socket": "memory:elsewhere"})
    broker.entities.update(cmbs.MEMBER_LOCATION + "a", other)
    (row,) = send(broker, "l1")["deliveries"]
    assert (row["member"], row["socket"], row["why"]) == ("a", "memory:elsewhere", "it is named as a")
    broker.entities.delete(PATH)
    add_message(broker, "l1", l1_socket_receiver_member="a")
    broker.entities.delete(cmbs.MEMBER_LOCATION + "a")
    (row,) = send(broker, "l1")["deliveries"]
    assert (row["state"], row["reason"]) == (FAILED, "no member of that name is known")


def test_an_unknown_provider_fails_at_once(broker):
    """A provider that no one knows is reported, not dropped."""
    add_message(broker, "l31", providers=["a", "nobody"])
    entries = send(broker, "l31")["deliveries"]
    assert [(one["state"], one.get("reason", "")) for one in entries] == [
        ("pending", ""),
        ("failed", "no member of that name is known"),
    ]


def test_a_member_without_the_socket_fails_at_once(broker):
    """Who has no socket of the layer cannot be reached on it."""
    add_member(broker, "c", 3, l2_socket="")
    add_message(broker, "l2")
    assert send(broker, "l2")["deliveries"][-1]["reason"] == "it has no l2 socket"


def test_nobody_is_a_failure_with_a_reason(broker):
    """A message that no one gets says so, and does not stay under way."""
    add_message(broker, "l32", topics=["nobody.cares"])
    report = send(broker, "l32")
    reason = "there is no recipient: no other member is interested in one of its topics"
    assert (report["state"], report["reason"], report["recipients"]) == ("failed", reason, 0)
    (entry,) = attributes(broker)[cmbs.DELIVERIES]
    assert (entry["member"], entry["socket"], entry["state"], entry["reason"]) == ("", "", "failed", reason)


def test_l4_tells_who_was_named_and_is_not_interested(broker):
    """They are no recipients, and the dry run and the report say so."""
    add_message(broker, "l4", providers=["a", "b"], topics=["net.disk"])
    for report in (send(broker, "l4", dry_run=True), send(broker, "l4")):
        assert report["uninterested"] == ["a"]


def test_the_outbox_has_a_bound(store, engine):
    """At the bound a send is refused as QueueFull and accepts nothing; when rows are settled there is room again."""
    broker = make_broker(store, engine, outbox_bound=3)
    add_own(broker)
    add_member(broker, "a", 1)
    add_member(broker, "b", 2)
    clock = [0.0]
    broker.bound._clock = lambda: clock[0]
    for id in ("m1", "m2"):
        add_message(broker, "l2", id)
    send(broker, "l2")
    with pytest.raises(QueueFull):
        broker.entities.act(cmbs.MESSAGE_LOCATION + "m2", Invocation("send_l2"))
    assert len(broker.outbox.pending(after=0, limit=10)) == 2
    assert cmbs.STATE not in broker.entities.get(cmbs.MESSAGE_LOCATION + "m2").attributes
    settle(broker, DELIVERED)
    clock[0] = 1.0
    broker.entities.act(cmbs.MESSAGE_LOCATION + "m2", Invocation("send_l2"))
    assert len(broker.outbox.pending(after=0, limit=10)) == 2


def test_a_message_for_more_than_the_bound(store, engine):
    """What can never be accepted is refused for good, and not as a full queue."""
    broker = make_broker(store, engine, outbox_bound=1)
    add_own(broker)
    add_member(broker, "a", 1)
    add_member(broker, "b", 2)
    add_message(broker, "l2")
    with pytest.raises(NotSendable):
        send(broker, "l2")


def test_what_was_not_written_is_given_back(store, engine):
    """A send that failed takes no room."""
    broker = make_broker(store, engine, outbox_bound=2)
    add_own(broker)
    add_member(broker, "a", 1)
    add_member(broker, "b", 2)
    add_message(broker, "l2")
    store.arm(Fault.UNAVAILABLE, "write")
    with pytest.raises(StoreUnavailable):
        send(broker, "l2")
    store.disarm()
    assert send(broker, "l2")["state"] == "sending"


def test_waiting_deliveries_are_counted_once_a_second(store, engine, monkeypatch):
    """However many are sent within a second, the store is asked once how many wait."""
    broker = make_broker(store, engine)
    add_own(broker)
    add_member(broker, "a", 1)
    counts = []
    count = store.count
    monkeypatch.setattr(store, "count", lambda query: counts.append(query) or count(query))
    broker.bound._clock = lambda: 5.0
    for number in range(10):
        add_message(broker, "l2", f"m{number}")
        broker.entities.act(f"{cmbs.MESSAGE_LOCATION}m{number}", Invocation("send_l2"))
    assert len(counts) == 1


def test_a_message_has_its_origin_from_its_creation_on(broker):
    """Own messages can be listed before they are sent."""
    add_message(broker, "l2")
    assert attributes(broker)[cmbs.ORIGIN] == OWN


def test_a_dry_run_sends_nothing(broker, engine, store):
    """It lists the recipients and why each matched."""
    add_message(broker, "l4", providers=["a", "x"], topics=["net.link"])
    before = store.change_token("entity")
    plan = send(broker, "l4", dry_run=True)
    assert [one["member"] for one in plan["recipients"]] == ["a"]
    assert "interested in net.link" in plan["recipients"][0]["why"]
    assert plan["unknown"] == ["x"]
    assert (store.change_token("entity"), engine.woken) == (before, 0)


def test_sending_while_sending_is_once(broker):
    """A message that is being sent is not sent twice."""
    add_message(broker, "l2")
    send(broker, "l2")
    rows = broker.outbox.pending(after=0, limit=10)
    send(broker, "l2")
    assert broker.outbox.pending(after=0, limit=10) == rows


def test_two_sends_at_once_are_one(broker, store):
    """The loser of the race reports what the winner accepted."""
    add_message(broker, "l2")
    store.before_write = lambda: send(broker, "l2")
    assert send(broker, "l2")["recipients"] == 2
    assert len(broker.outbox.pending(after=0, limit=10)) == 2


def test_a_settled_message_may_be_sent_again(broker):
    """Another send is another round, and the ledger is that of the last one."""
    add_message(broker, "l2")
    send(broker, "l2")
    first = broker.outbox.pending(after=0, limit=10)[0].round
    settle(broker, DELIVERED)
    assert send(broker, "l2")["state"] == "sending"
    rows = broker.outbox.pending(after=0, limit=10)
    assert len(rows) == 2
    assert all(row.round > first for row in rows)
    assert len(attributes(broker)[cmbs.DELIVERIES]) == 2


def test_a_change_made_meanwhile_is_respected(broker, store):
    """An update that was faster stays: what is sent is what is stored."""
    add_message(broker, "l2")
    store.before_write = lambda: broker.entities.update(PATH, Draft(attributes={cmbs.CONTENT: "new"}))
    send(broker, "l2")
    (row, _) = broker.outbox.pending(after=0, limit=10)
    assert broker.outbox.outgoing(row)["message"]["attributes"]["cmbs"]["message"]["message_content"] == "new"


@pytest.mark.parametrize("value", ["false", "False", False])
def test_what_is_not_sendable_is_refused(broker, value):
    """What has sendable false, in any spelling, is not sent."""
    add_message(broker, "l2", sendable=value)
    with pytest.raises(NotSendable):
        send(broker, "l2")


def test_a_message_is_sent_on_its_layer(broker):
    """A message that says l2 cannot be sent on another layer, though it has that mixin."""
    given = {cmbs.LAYER: "l2", cmbs.RECEIVER: "memory:l1-1"}
    broker.entities.create(
        cmbs.MESSAGE_LOCATION, [Draft(id="m1", mixins=(cmbs.mixin("l1"), cmbs.mixin("l2")), attributes=given)]
    )
    with pytest.raises(NotSendable):
        send(broker, "l1")


def test_sending_needs_a_member():
    """Without a local member no one can be the sender; the hint says what to do."""
    broker = make_broker()
    add_message(broker, "l2")
    with pytest.raises(NoLocalMember) as caught:
        send(broker, "l2")
    assert cmbs.MEMBER_LOCATION in caught.value.hint


@pytest.mark.parametrize("layer", ["l1", "l31", "l32", "l4"])
def test_a_message_must_say_whom_it_is_for(broker, layer):
    """A layer's addressing attribute is needed when it is sent."""
    add_message(broker, layer)
    with pytest.raises(InvalidRequest):
        send(broker, layer)


@pytest.mark.parametrize(
    "options", [{"wait": -1}, {"wait": 61}, {"wait": "1"}, {"wait": True}, {"dry_run": "yes"}, {"x": 1}]
)
def test_wrong_options_are_refused(broker, options):
    """Wait is 0 to 60 seconds, dry_run a boolean, and there is nothing else."""
    add_message(broker, "l2")
    with pytest.raises(InvalidRequest):
        send(broker, "l2", **options)


def test_a_pinned_message_is_sent_as_it_was_read(broker):
    """A send with If-Match is refused when someone changes the message before it is accepted: nothing of it is written."""
    add_message(broker, "l2")
    stored = broker.entities.stored(PATH)
    broker.entities.update(PATH, Draft(title="another"))
    with pytest.raises(PreconditionFailed):
        broker.messages.send([stored], "l2", {}, pinned=True)
    assert broker.outbox.pending(after=0, limit=10) == []
    assert broker.messages.send([stored], "l2", {})[0]["recipients"] == 2


def test_waiting_is_the_engines(broker, engine):
    """A send that waits has the engine tell when all is settled."""
    add_message(broker, "l2")
    send(broker, "l2", wait=3)
    assert engine.calls == [("wait", {"message": PATH, "seconds": pytest.approx(3, abs=0.5)})]


def test_a_collection_is_sent_with_one_commit(broker, store, engine):
    """What one request sends is accepted together, and told by path."""
    paths = [add_message(broker, "l2", f"m{number}").path for number in range(20)]
    commits = store.commits
    action, reports = broker.entities.act_all(cmbs.MESSAGE_LOCATION, Invocation("send_l2"))
    assert (store.commits - commits, engine.woken) == (1, 1)
    assert (action.rpartition("#")[2], list(reports)) == ("send_l2", paths)
    assert {report["state"] for report in reports.values()} == {"sending"}
    assert len(broker.outbox.pending(after=0, limit=100)) == 40


def test_of_a_large_collection_every_message_is_sent(broker, store, monkeypatch):
    """What is too much for one commit takes several."""
    monkeypatch.setattr(sending, "_TOGETHER", 7)
    for number in range(5):
        add_message(broker, "l2", f"m{number}")
    commits = store.commits
    broker.entities.act_all(cmbs.MESSAGE_LOCATION, Invocation("send_l2"))
    assert (store.commits - commits, len(broker.outbox.pending(after=0, limit=100))) == (3, 10)


def test_a_collection_is_sent_whole_or_not_at_all(broker):
    """One message that cannot be sent keeps the others of its request back."""
    add_message(broker, "l2", "m1")
    add_message(broker, "l2", "m2", sendable="false")
    with pytest.raises(NotSendable):
        broker.entities.act_all(cmbs.MESSAGE_LOCATION, Invocation("send_l2"))
    assert broker.outbox.pending(after=0, limit=10) == []


def test_a_collection_beyond_the_bound_is_not_sent(store, engine):
    """Nothing of it is accepted, and nothing is counted."""
    broker = make_broker(store, engine, outbox_bound=3)
    add_own(broker)
    add_member(broker, "a", 1)
    for number in range(4):
        add_message(broker, "l2", f"m{number}")
    with pytest.raises(QueueFull):
        broker.entities.act_all(cmbs.MESSAGE_LOCATION, Invocation("send_l2"))
    assert broker.outbox.pending(after=0, limit=10) == []
    broker.entities.delete(cmbs.MESSAGE_LOCATION + "m0")
    assert len(broker.entities.act_all(cmbs.MESSAGE_LOCATION, Invocation("send_l2"))[1]) == 3


def test_a_change_while_a_collection_is_sent_is_kept(broker, store):
    """The message that someone changes meanwhile is sent as it is then; the others are not sent twice."""
    for id in ("m1", "m2"):
        add_message(broker, "l2", id)
    store.before_write = lambda: broker.entities.update(PATH, Draft(title="changed"))
    broker.entities.act_all(cmbs.MESSAGE_LOCATION, Invocation("send_l2"))
    assert len(broker.outbox.pending(after=0, limit=10)) == 4
    assert (broker.entities.get(PATH).title, attributes(broker)[cmbs.STATE]) == ("changed", "sending")


def test_an_engine_that_is_away_does_not_undo_the_acceptance(broker, engine):
    """The message is in the outbox: the report says how far it is."""
    add_message(broker, "l2")
    engine.error = EngineUnavailable("gone")
    assert send(broker, "l2", wait=3)["state"] == "sending"


@pytest.mark.parametrize(
    ("layer", "given", "error"),
    [
        ("l1", {"cmbs_layer": "l2"}, InvalidRequest),
        ("l1", {"l1_socket_receiver_member": "nonsense"}, InvalidAddress),
        ("l31", {"providers": [5]}, InvalidRequest),
        ("l32", {"topics": [""]}, InvalidRequest),
        ("l32", {"topics": ["net.link", "net.>"]}, InvalidRequest),
        ("l2", {"deadline": 0}, InvalidRequest),
        ("l2", {"deadline": 10**9}, InvalidRequest),
        ("l2", {"sendable": "maybe"}, InvalidAttribute),
        ("l2", {"state": "delivered"}, ImmutableAttribute),
        ("l2", {"deliveries": [1]}, ImmutableAttribute),
    ],
)
def test_a_wrong_message_is_refused(broker, layer, given, error):
    """Messages are checked when they are made, not when they are sent."""
    with pytest.raises(error):
        add_message(broker, layer, **given)


@pytest.mark.parametrize("layer", ["l1", "l2", "l31", "l32", "l4"])
def test_the_layer_follows_from_the_mixin(broker, layer):
    """A message with one layer's mixin need not say its layer."""
    assert add_message(broker, layer).attributes[cmbs.LAYER] == layer


def test_what_goes_out_is_the_content_and_no_secret(broker):
    """The envelope holds the message, its sender and how long there is; what only concerns the sender stays."""
    add_message(broker, "l2", deadline=100)
    send(broker, "l2")
    (row, _) = broker.outbox.pending(after=0, limit=10)
    body = broker.outbox.outgoing(row)
    sent = body["message"]["attributes"]["cmbs"]["message"]
    assert (body["layer"], body["round"], body["description"]["id"]) == ("l2", row.round, OWN)
    assert (sent["message_content"], sent["origin"], sent["path_history"]) == ("hello", OWN, [f"urn:uuid:{OWN}"])
    assert {"state", "result", "deliveries", "deadline"}.isdisjoint(sent)
    assert 95 < body["deadline"] <= 100


def test_a_message_that_is_gone_does_not_go_out(broker):
    """What was deleted after it was accepted is sent to no one any more."""
    add_message(broker, "l2")
    send(broker, "l2")
    rows = broker.outbox.pending(after=0, limit=10)
    broker.entities.delete(PATH)
    assert broker.outbox.pending(after=0, limit=10) == []
    assert broker.outbox.outgoing(rows[0]) is None
    assert settle(broker, DELIVERED, rows=rows) == ([None, None], {})


def test_a_store_that_is_gone_is_no_deleted_message(broker, store):
    """What cannot be read now is not gone: the row must stay in the outbox."""
    add_message(broker, "l2")
    send(broker, "l2")
    (row, _) = broker.outbox.pending(after=0, limit=10)
    store.arm(Fault.UNAVAILABLE, "get", "get_many")
    with pytest.raises(StoreUnavailable):
        broker.outbox.outgoing(row)


def test_settling_one_of_many(broker):
    """A message is under way until its last recipient is settled."""
    add_message(broker, "l2")
    send(broker, "l2")
    first, second = broker.outbox.pending(after=0, limit=10)
    assert settle(broker, DELIVERED, rows=[first])[1] == {}
    assert attributes(broker)[cmbs.STATE] == "sending"
    assert _states(settle(broker, EXPIRED, "gave up", rows=[second])[1]) == {PATH: [DELIVERED, EXPIRED]}
    assert attributes(broker)[cmbs.STATE] == "partial"


def test_the_answer_to_l1_is_the_result(broker, store):
    """L1 is request and reply; row and message are settled with one commit."""
    add_message(broker, "l1", l1_socket_receiver_member="memory:l1-1")
    send(broker, "l1")
    rows = broker.outbox.pending(after=0, limit=10)
    store.batches.clear()
    settle(broker, DELIVERED, answer={"member_description": {}}, rows=rows)
    assert [[write.type for write in batch] for batch in store.batches] == [["delivery", "entity"]]
    assert (attributes(broker)[cmbs.STATE], attributes(broker)[cmbs.RESULT]) == (
        "delivered",
        {"member_description": {}},
    )


def test_settling_respects_a_change_made_meanwhile(broker, store):
    """A client's update and the outcome are both kept."""
    add_message(broker, "l1", l1_socket_receiver_member="memory:l1-1")
    send(broker, "l1")
    rows = broker.outbox.pending(after=0, limit=10)
    store.before_write = lambda: broker.entities.update(PATH, Draft(attributes={cmbs.DEADLINE: 7}))
    stored, concluded = settle(broker, DELIVERED, rows=rows)
    assert (stored[0].state, _states(concluded)) == (DELIVERED, {PATH: [DELIVERED]})
    assert (attributes(broker)[cmbs.DEADLINE], attributes(broker)[cmbs.STATE]) == (7, "delivered")


def _states(settled):
    return {path: [row.state for row in rows] for path, rows in settled.items()}


def test_what_went_out_is_not_read_again_to_settle_it(broker, store):
    """The engine remembers what it sent to a single recipient: settling that asks the store for nothing."""
    add_message(broker, "l1", l1_socket_receiver_member="memory:l1-1")
    send(broker, "l1")
    rows = broker.outbox.pending(after=0, limit=10)
    broker.outbox.outgoing(rows[0])
    store.arm(Fault.UNAVAILABLE, *READS)
    settle(broker, DELIVERED, rows=rows)
    store.disarm()
    assert attributes(broker)[cmbs.STATE] == "delivered"


def test_a_change_since_it_went_out_is_kept(broker):
    """What is remembered of a message does not overwrite what a client changed meanwhile."""
    add_message(broker, "l1", l1_socket_receiver_member="memory:l1-1")
    send(broker, "l1")
    rows = broker.outbox.pending(after=0, limit=10)
    broker.outbox.outgoing(rows[0])
    broker.entities.update(PATH, Draft(attributes={cmbs.DEADLINE: 7}))
    settle(broker, DELIVERED, rows=rows)
    assert (attributes(broker)[cmbs.DEADLINE], attributes(broker)[cmbs.STATE]) == (7, "delivered")


def test_the_report_of_a_wait_is_what_the_engine_tells(broker, store, engine):
    """The rows that the engine has just settled are not read once more."""
    add_message(broker, "l2")
    send(broker, "l2")
    rows = [row.settled(DELIVERED, 1.0) for row in broker.outbox.pending(after=0, limit=10)]
    engine.answer = {"rows": [row.body() for row in rows]}
    report = send(broker, "l2", wait=1)
    assert (report["state"], report["delivered"]) == ("delivered", 2)


def test_a_message_deleted_during_the_wait_is_not_there(broker, engine):
    """Who waits for what someone deletes is told so."""
    add_message(broker, "l2")
    engine.before_answer = lambda: broker.entities.delete(PATH)
    with pytest.raises(UnknownEntity):
        send(broker, "l2", wait=1)


def test_an_attempt_is_in_the_ledger(broker):
    """The ledger shows attempts and the reason of the last failure while it goes on."""
    add_message(broker, "l1", l1_socket_receiver_member="memory:l1-1")
    send(broker, "l1")
    (row,) = broker.outbox.pending(after=0, limit=10)
    broker.outbox.settle([replace(row, state=SENT, attempts=3, reason="no answer", updated=time.time())])
    (entry,) = attributes(broker)[cmbs.DELIVERIES]
    assert (entry["state"], entry["attempts"], entry["reason"]) == ("sent", 3, "no answer")
    assert attributes(broker)[cmbs.STATE] == "sending"


def test_rows_are_in_the_order_of_acceptance(broker):
    """Per recipient, in the order in which messages were accepted."""
    for id in ("m1", "m2", "m3"):
        add_message(broker, "l2", id)
    for id in ("m2", "m1", "m3"):
        broker.entities.act(cmbs.MESSAGE_LOCATION + id, Invocation("send_l2"))
    rows = broker.outbox.pending(after=0, limit=10, route="a|l2")
    assert [row.message[-2:] for row in rows] == ["m2", "m1", "m3"]
    assert broker.outbox.pending(after=rows[1].number, limit=10, route="a|l2") == rows[2:]


def test_the_overdue_are_found(broker):
    """A row is overdue once its deadline has passed, and never again once it is settled."""
    add_message(broker, "l1", deadline=10, l1_socket_receiver_member="memory:l1-1")
    send(broker, "l1")
    assert broker.outbox.overdue(time.time() + 5, 10) == []
    (row,) = broker.outbox.overdue(time.time() + 11, 10)
    settle(broker, EXPIRED, rows=[row])
    assert broker.outbox.overdue(time.time() + 11, 10) == []
    assert attributes(broker)[cmbs.STATE] == "expired"


def test_a_recipient_is_found_where_it_is_now(broker):
    """A member that moved after the acceptance gets the message at its new socket."""
    add_message(broker, "l31", providers=["a"])
    send(broker, "l31")
    (row,) = broker.outbox.pending(after=0, limit=10)
    broker.entities.update(cmbs.MEMBER_LOCATION + "a", Draft(attributes={"cmbs.member.l31_socket": "memory:moved"}))
    assert broker.outbox.address(row) == "memory:moved"


def test_what_is_not_executable_is_not_executed(broker):
    """Executable false is respected here too."""
    add_message(broker, "l2", executable="false", message_content={"operation": "list", "target": "/"})
    with pytest.raises(NotExecutable):
        broker.entities.act(PATH, Invocation("execute"))


def test_a_message_is_executed_here(broker):
    """An operation in the content is performed, and what comes of it is the result."""
    add_message(broker, "l2", message_content={"operation": "list", "target": "/cmbs/message/"})
    assert broker.entities.act(PATH, Invocation("execute")) == {"result": {"locations": [PATH]}}
    assert attributes(broker)[cmbs.RESULT] == {"locations": [PATH]}


def test_a_failed_execution_is_a_result(broker):
    """What the operation was refused with is answered and kept."""
    add_message(broker, "l2", message_content={"operation": "read", "target": "/nowhere/x"})
    with pytest.raises(Exception, match="no entity"):
        broker.entities.act(PATH, Invocation("execute"))
    assert attributes(broker)[cmbs.RESULT]["error"]["code"] == "unknown-entity"


@pytest.mark.parametrize(
    "content", ["hello", None, {}, {"operation": 5}, {"operation": "read", "target": "x"}, {"operation": "read"}]
)
def test_what_is_no_operation_cannot_be_executed(broker, content):
    """Content that holds no operation is an InvalidRequest."""
    add_message(broker, "l2", message_content=content)
    with pytest.raises(InvalidRequest):
        broker.entities.act(PATH, Invocation("execute"))


def test_a_handler_is_called_by_the_engine(broker, engine):
    """What is not an operation of the broker's own may be a handler's name, and handlers are the engine's."""
    add_message(broker, "l2", message_content={"operation": "fly", "target": "/"})
    engine.answer = {"result": {"flown": True}}
    assert broker.entities.act(PATH, Invocation("execute")) == {"result": {"flown": True}}
    assert engine.calls == [("handle", {"message": PATH})]
    assert attributes(broker)[cmbs.RESULT] == {"flown": True}


ROW = Delivery("/m", 1, 0, 1, "a", "s", "l1", 0.0, 0.0)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([], "failed"),
        ([PENDING], "sending"),
        ([SENT, DELIVERED], "sending"),
        ([DELIVERED, DELIVERED], "delivered"),
        ([DELIVERED, FAILED], "partial"),
        ([DELIVERED, EXPIRED], "partial"),
        ([FAILED, EXPIRED], "failed"),
        ([EXPIRED, EXPIRED], "expired"),
        ([EXPIRED, UNKNOWN], "unknown"),
        ([FAILED, UNKNOWN], "unknown"),
        ([DELIVERED, UNKNOWN], "partial"),
        ([FAILED], "failed"),
    ],
)
def test_a_message_is_summed_up(states, state):
    """The least settled row decides, then the worst."""
    assert summary(replace(ROW, state=one) for one in states) == state


def test_moments_sort_as_times():
    """A time as a key sorts as text as the times do."""
    times = [0.0, 0.001, 9.5, 10.0, 1e9, 1.7e9 + 0.001, 1e12]
    assert sorted(map(sort_key_of_time, times)) == list(map(sort_key_of_time, times))


def test_times_are_rfc_3339():
    """RFC 3339, UTC, milliseconds."""
    assert timestamp(0.1234) == "1970-01-01T00:00:00.123Z"


def test_a_message_made_anew_is_another_one(broker):
    """A message that was deleted and created again under its id is not taken for the old one."""
    rounds = []
    for _ in range(2):
        add_message(broker, "l2")
        send(broker, "l2")
        rounds.append(broker.outbox.pending(after=0, limit=10)[0].round)
        broker.entities.delete(PATH)
    assert rounds[0] != rounds[1]


def outcomes():
    """What a writer may make of a row, each in its turn more than the one before."""
    return [
        lambda row, now: replace(row, state=SENT, updated=now, attempts=1),
        lambda row, now: row.settled(EXPIRED, now, "gave up"),
        lambda row, now: row.settled(UNKNOWN, now, "gave up"),
        lambda row, now: row.settled(FAILED, now, "refused"),
        lambda row, now: replace(row.settled(DELIVERED, now), awaiting_outcome=True),
        lambda row, now: row.settled(DELIVERED, now),
        lambda row, now: row.with_outcome(now, {"result": 1}),
    ]


@pytest.mark.parametrize("first", range(len(outcomes())))
@pytest.mark.parametrize("second", range(len(outcomes())))
def test_a_row_only_rises(broker, first, second):
    """Of two writers that know a row as it was, the one who knows more is believed, whoever comes first; what is settled
    stays settled."""
    add_message(broker, "l31", providers=["a"])
    send(broker, "l31")
    (row,) = broker.outbox.pending(after=0, limit=10)
    for made in (outcomes()[first], outcomes()[second]):
        ((told,), _) = broker.outbox.settle([made(row, time.time())])
    (stored,) = of_message(broker.store, PATH)
    best = outcomes()[max(first, second)](row, 0.0)
    best = replace(best, awaiting_outcome=best.awaiting_outcome and outcomes()[first](row, 0.0).unsettled)
    assert (
        (stored.state, stored.awaiting_outcome)
        == (best.state, best.awaiting_outcome)
        == (told.state, told.awaiting_outcome)
    )
    assert attributes(broker)[cmbs.STATE] == ("sending" if best.unsettled else best.state)


def test_attempts_never_become_fewer(broker):
    """Whichever of two writers knows more of a row, the attempts of both are counted."""
    add_message(broker, "l31", providers=["a"])
    send(broker, "l31")
    (row,) = broker.outbox.pending(after=0, limit=10)
    broker.outbox.settle([replace(row, state=SENT, attempts=3)])
    broker.outbox.settle([row.settled(DELIVERED, time.time(), attempts=1)])
    (stored,) = of_message(broker.store, PATH)
    assert (stored.state, stored.attempts) == (DELIVERED, 3)


CHANGES = {
    "put": lambda broker: broker.entities.put(PATH, Draft(cmbs.MESSAGE, attributes={cmbs.CONTENT: "other"})),
    "post": lambda broker: broker.entities.update(PATH, Draft(attributes={cmbs.CONTENT: "other"})),
    "title": lambda broker: broker.entities.update(PATH, Draft(title="other")),
    "mixin": lambda broker: broker.entities.memberships.associate(cmbs.mixin("l4"), [PATH]),
    "mixins": lambda broker: broker.entities.memberships.assign(cmbs.mixin("l2"), []),
    "category": lambda broker: broker.categories.remove([NOTE.identifier]),
}
NOTE = Mixin("http://example.org/x#", "note", location="/note/")


@pytest.mark.parametrize("door", CHANGES)
def test_what_was_accepted_is_what_arrives(broker, door):
    """While a recipient is still to get it, no door leads to a change of what it gets; afterwards every one does."""
    broker.categories.register([NOTE])
    add_message(broker, "l2")
    broker.entities.memberships.associate(NOTE.identifier, [PATH])
    send(broker, "l2")
    rows = broker.outbox.pending(after=0, limit=10)
    first = broker.outbox.outgoing(rows[0])["message"]
    settle(broker, DELIVERED, rows=rows[:1])
    with pytest.raises(BeingSent, match="is being sent"):
        CHANGES[door](broker)
    assert broker.outbox.outgoing(rows[1])["message"] == first
    settle(broker, DELIVERED, rows=rows[1:])
    CHANGES[door](broker)


@pytest.mark.parametrize("door", ["post", "title", "category"])
def test_what_was_changed_while_it_is_executed_is_sent_anew(broker, door):
    """A send of it is no repetition of the one before, whose recipients have something else; a send of the unchanged is."""
    broker.categories.register([NOTE])
    add_message(broker, "l2")
    broker.entities.memberships.associate(NOTE.identifier, [PATH])
    send(broker, "l2")
    rows = broker.outbox.pending(after=0, limit=10)
    broker.outbox.settle([replace(row.settled(DELIVERED, time.time()), awaiting_outcome=True) for row in rows])
    send(broker, "l2")
    assert {one.round for one in of_message(broker.store, PATH)} == {rows[0].round}
    CHANGES[door](broker)
    send(broker, "l2")
    send(broker, "l2")
    anew = of_message(broker.store, PATH)
    assert [(one.round > rows[0].round, one.state) for one in anew] == [(True, PENDING)] * 2
    assert attributes(broker)[cmbs.STATE] == "sending"


def test_what_stays_with_the_sender_may_change_while_it_is_sent(broker):
    """The same once more is no change; and what no recipient gets is the sender's own affair."""
    draft = Draft(cmbs.MESSAGE, mixins=(cmbs.mixin("l2"),), attributes={cmbs.CONTENT: "one"})
    broker.entities.put(PATH, draft)
    send(broker, "l2")
    broker.entities.put(PATH, draft)
    broker.entities.update(PATH, Draft(attributes={cmbs.DEADLINE: 7}))
    assert attributes(broker)[cmbs.STATE] == "sending"


def test_a_round_is_never_lower_than_the_last(broker, monkeypatch):
    """Also for a message that is recreated under its id after the clock was set back."""
    add_message(broker, "l2")
    send(broker, "l2")
    before = broker.outbox.pending(after=0, limit=1)[0].round
    broker.entities.delete(PATH)
    now = clock.now()
    monkeypatch.setattr(sending.clock, "now", lambda: now - 86400)
    add_message(broker, "l2")
    send(broker, "l2")
    assert broker.outbox.pending(after=0, limit=1)[0].round > before
