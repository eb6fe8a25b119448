"""The inbox: what other members send is taken in durably, and exactly once in effect."""

import copy
import dataclasses

import pytest

from pycmbs.errors import InvalidAttribute, NoLocalMember, StoreUnavailable
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Invocation
from pycmbs.services.delivery.inbox import Incoming
from pycmbs.store.base import Query
from tests.services.world import OWN, add_member, add_message, add_own, make_broker
from tests.store.faulty import Fault

PATH = cmbs.MESSAGE_LOCATION + "m1"


@pytest.fixture
def broker(store):
    broker = make_broker(store)
    add_own(broker)
    return broker


def incoming(sender="a", id="m1", layer="l2", round=1, layers=None, **attributes):
    """A message as another broker sends it."""
    far = make_broker()
    add_member(far, sender, 1, local="true")
    add_member(far, OWN)
    add_message(far, "l2", id, **attributes)
    far.entities.act(cmbs.MESSAGE_LOCATION + id, Invocation("send_l2"))
    body = far.outbox.outgoing(far.outbox.pending(after=0, limit=1)[0]) | {"layer": layer, "round": round}
    body |= {"version": 1, "instance": sender}  # else every call would be another life of the member
    return Incoming(sender, body, (layer,) if layers is None else layers)


def statuses(answers):
    """What the sender is told."""
    return [answer.error.code if answer.error else answer.body["status"] for answer in answers]


def receipts(store):
    """How many receipts there are."""
    return store.count(Query("receipt"))


def test_a_message_is_taken_in(broker):
    """What arrives is a message here, with where it came from and the way it took."""
    assert statuses(broker.inbox.receive([incoming()])) == ["delivered"]
    taken = broker.entities.get(PATH)
    assert (taken.attributes[cmbs.ORIGIN], taken.attributes[cmbs.STATE]) == ("a", "received")
    assert (taken.attributes[cmbs.CONTENT], taken.attributes[cmbs.PATH_HISTORY]) == ("hello", [cmbs.urn("a")])
    assert taken.mixins == (cmbs.mixin("l2"),)


def test_the_way_it_took_is_kept(broker):
    """path_history grows by one member per hop, those that passed the message on included."""
    message = dataclasses.replace(incoming(), path=("b", "c"))
    assert statuses(broker.inbox.receive([message])) == ["delivered"]
    assert broker.entities.get(PATH).attributes[cmbs.PATH_HISTORY] == [*map(cmbs.urn, "abc")]


def test_a_turn_is_one_commit(broker, store):
    """What one turn of the loop brought is written together, each message with its receipt last."""
    broker.inbox.receive([incoming()])
    calls = []
    write = store.write_batches
    store.write_batches = lambda batches: calls.append(batches) or write(batches)
    broker.inbox.receive([incoming(id="m2"), incoming(id="m3")])
    assert [[[write.type for write in batch] for batch in batches] for batches in calls] == [
        [["entity", "receipt"]] * 2
    ]


def test_a_second_arrival_changes_nothing(broker, store):
    """Effect once: the same origin, id and round is acknowledged again and nothing else."""
    broker.inbox.receive([incoming()])
    before = store.change_token("entity")
    assert statuses(broker.inbox.receive([incoming(message_content="forged")])) == ["duplicate"]
    assert store.change_token("entity") == before


def test_two_arrivals_in_one_turn_are_one(broker):
    """A message that comes twice at once is taken in once."""
    assert statuses(broker.inbox.receive([incoming(), incoming()])) == ["delivered", "duplicate"]


def test_a_message_sent_again_is_taken_in_again(broker):
    """Another round of the same message replaces what the first one brought."""
    broker.inbox.receive([incoming()])
    assert statuses(broker.inbox.receive([incoming(round=2, message_content="more")])) == ["delivered"]
    assert broker.entities.get(PATH).attributes[cmbs.CONTENT] == "more"


def test_two_origins_may_use_one_id(broker):
    """Ids are chosen by clients: messages of two senders are two messages, even in one turn."""
    assert statuses(broker.inbox.receive([incoming("a"), incoming("b")])) == ["delivered", "delivered"]
    assert broker.entities.find(cmbs.MESSAGE_LOCATION) == [PATH, PATH + ".b"]
    assert broker.entities.get(PATH + ".b").attributes[cmbs.ORIGIN] == "b"


def test_an_own_message_is_not_overwritten(broker):
    """A message made here is safe from one that arrives under its id."""
    add_message(broker, "l2", message_content="mine")
    broker.inbox.receive([incoming()])
    assert broker.entities.get(PATH).attributes[cmbs.CONTENT] == "mine"
    assert broker.entities.get(PATH + ".a").attributes[cmbs.CONTENT] == "hello"


def test_what_is_not_storable_is_forgotten(broker, store):
    """What has storable false is acknowledged and not kept; its receipt is, so that it counts once."""
    message = incoming(storable="False")
    assert statuses(broker.inbox.receive([message])) == ["delivered"]
    assert broker.entities.find(cmbs.MESSAGE_LOCATION) == []
    assert statuses(broker.inbox.receive([message])) == ["duplicate"]


def test_what_one_sends_oneself_is_there_already(broker, store):
    """A message of the own member is acknowledged and leaves the original alone."""
    add_message(broker, "l2", message_content="mine")
    assert statuses(broker.inbox.receive([Incoming(OWN, incoming().body | {"description": None}, ("l2",))])) == [
        "delivered"
    ]
    assert broker.entities.find(cmbs.MESSAGE_LOCATION) == [PATH]
    assert receipts(store) == 1


def test_a_sender_becomes_known(broker):
    """Every message introduces its sender."""
    broker.inbox.receive([incoming()])
    assert broker.members.by_id("a").attributes["cmbs.member.l1_socket"] == "memory:l1-1"


def test_l1_is_answered_with_the_handshake(broker):
    """The reply to L1 holds the own description and the sockets of all."""
    (answer,) = broker.inbox.receive([incoming(layer="l1")])
    assert answer.body["reply"]["member_description"]["id"] == OWN
    assert answer.body["reply"]["sockets_l1"] == ["memory:l1-0", "memory:l1-1"]


def test_a_store_that_is_gone_answers_nobody(broker, store):
    """Nothing is acknowledged that is not on disk: the senders try again, and lose nothing."""
    turn = [incoming(), incoming(id="m2")]
    store.arm(Fault.UNAVAILABLE, "write")
    with pytest.raises(StoreUnavailable):
        broker.inbox.receive(turn)
    store.disarm()
    assert receipts(store) == 0
    assert statuses(broker.inbox.receive(turn)) == ["delivered", "delivered"]


def test_one_wrong_message_fails_alone(broker):
    """Each message of a turn is judged by itself."""
    wrong = incoming(id="m2")
    wrong.body["message"]["attributes"]["cmbs"]["message"]["cmbs_layer"] = "l9"
    answers = broker.inbox.receive([incoming(), wrong, incoming(id="m3")])
    assert statuses(answers) == ["delivered", "invalid-attribute", "delivered"]


def test_what_cannot_get_better_is_refused_for_good(broker):
    """A wrong message is a final refusal: trying again cannot help."""
    wrong = incoming()
    wrong.body["message"]["attributes"] = {"nonsense": 1}
    (answer,) = broker.inbox.receive([wrong])
    assert isinstance(answer.error, InvalidAttribute)
    assert answer.final is True


def test_what_may_get_better_is_refused_for_now():
    """A broker without a member, or without that layer, may have it in a minute."""
    broker = make_broker()
    (nobody,) = broker.inbox.receive([incoming()])
    add_own(broker)
    (deaf,) = broker.inbox.receive([incoming(layers=("l1",))])
    assert (statuses([nobody]), nobody.final) == (["no-local-member"], False)
    assert (statuses([deaf]), deaf.final) == (["not-found"], False)


def test_the_kind_may_come_later():
    """A broker that has no message kind yet is worth another try."""
    broker = make_broker(shipped=False)
    kinds = [one for one in make_broker().categories.listed() if "member" in one.identifier]
    broker.categories.register(kinds)
    broker.categories.bind([])
    (answer,) = broker.inbox.receive([incoming()])
    assert answer.final is False


def mangled():
    """Messages with each part replaced by junk."""
    whole = incoming().body
    for junk in (None, 5, "x", [], {}, [5], [{}], {"a": 1}, True, "a\x00/ b"):
        for name in whole:
            yield whole | {name: junk}
        for name in whole["message"]:
            yield whole | {"message": whole["message"] | {name: junk}}
        for name in whole["description"]:
            yield whole | {"description": whole["description"] | {name: junk}}


@pytest.mark.parametrize("body", list(mangled()))
def test_no_message_breaks_the_inbox(broker, body):
    """Whatever arrives is taken in or refused; nothing takes the others of its turn with it."""
    answers = broker.inbox.receive([Incoming("a", copy.deepcopy(body), ("l2",)), incoming("b", "m9")])
    assert statuses(answers)[1] == "delivered"


@pytest.mark.parametrize("sender", ["", "../../x", "a b", "a/b", "a\n"])
def test_a_sender_has_an_id(broker, sender):
    """What a sender calls itself becomes part of a path here, so it must be an id."""
    add_message(broker, "l2")
    body = incoming().body | {"description": None}
    (answer,) = broker.inbox.receive([Incoming(sender, body, ("l2",))])
    assert (answer.error is not None, answer.final) == (True, True)


def test_a_greeting_is_answered_with_the_handshake(broker):
    """An introduction introduces both sides to each other."""
    far = make_broker()
    add_member(far, "a", 1, local="true")
    answer = broker.inbox.greet(far.members.now().introduction)
    assert answer["description"]["id"] == OWN
    assert broker.members.by_id("a") is not None


def test_nobody_can_be_greeted_without_a_member():
    """A broker without a member of its own has no one to introduce."""
    with pytest.raises(NoLocalMember):
        make_broker().inbox.greet({})


def test_receipts_are_forgotten_in_time(broker, store, monkeypatch):
    """A receipt is kept for a day beyond the deadline, and no longer."""
    broker.inbox.receive([incoming(deadline=60)])
    assert broker.inbox.forget_receipts() == 0
    import time

    later = time.time() + 86400 + 120
    monkeypatch.setattr("pycmbs.clock.now", lambda: later)
    assert broker.inbox.forget_receipts() == 1
    assert receipts(store) == 0


def test_an_older_round_is_a_duplicate_of_the_past(broker):
    """What was held up on its way does not overwrite what was sent after it, and its sender is told what is here."""
    broker.inbox.receive([incoming(round=2, message_content="new")])
    (answer,) = broker.inbox.receive([incoming(round=1, message_content="old")])
    assert (answer.body["status"], answer.body["superseded"]) == ("duplicate", 2)
    assert broker.entities.get(PATH).attributes[cmbs.CONTENT] == "new"


def test_a_received_message_says_its_round_itself(broker, store):
    """So that is known after a restart, too; one of an earlier version, which does not, is replaced."""
    broker.inbox.receive([incoming(round=2, message_content="new")])
    again = make_broker(store)
    assert statuses(again.inbox.receive([incoming(round=1, message_content="old")])) == ["duplicate"]
    again.entities.modify(PATH, lambda message: message.private.pop("taken") == 2)
    assert statuses(make_broker(store).inbox.receive([incoming(round=1)])) == ["delivered"]


@pytest.mark.parametrize("kept", [True, False])
def test_an_older_round_of_what_is_not_kept_has_no_effect(broker, kept):
    """Not of a message that is not storable, and not of one that was deleted here."""
    broker.inbox.receive([incoming(round=2, storable=str(kept))])
    if kept:
        broker.entities.delete(PATH)
    assert statuses(broker.inbox.receive([incoming(round=1, storable=str(kept))])) == ["duplicate"]
    assert broker.entities.find(cmbs.MESSAGE_LOCATION) == []


def test_two_rounds_in_one_turn_leave_the_newer(broker):
    """In whichever order they come."""
    for rounds in ([2, 1], [3, 4]):
        broker.inbox.receive([incoming(round=one, message_content=f"round {one}") for one in rounds])
        assert broker.entities.get(PATH).attributes[cmbs.CONTENT] == f"round {max(rounds)}"


def test_what_is_overdue_is_refused_for_good(broker):
    """Its sender says, or has said, that it did not arrive: no one may find it here. Time that it waited here counts."""
    late, waited = incoming(), dataclasses.replace(incoming(id="m2"), waited=3601.0)
    late.body["deadline"] = -0.001
    answers = broker.inbox.receive([late, waited, incoming(id="m3")])
    assert statuses(answers) == ["overdue", "overdue", "delivered"]
    assert [answer.final for answer in answers] == [True, True, False]
    assert broker.entities.find(cmbs.MESSAGE_LOCATION) == [cmbs.MESSAGE_LOCATION + "m3"]


def test_what_was_taken_in_in_time_is_acknowledged_after_it(broker):
    """A second arrival says that it is here, however late it is."""
    broker.inbox.receive([incoming()])
    late = incoming()
    late.body["deadline"] = -1
    assert statuses(broker.inbox.receive([late])) == ["duplicate"]


@pytest.mark.parametrize("deadline", [10**400, 1e300, "soon", None, True, [1]])
def test_any_deadline_can_be_reckoned_with(broker, deadline):
    """Numbers of others are checked where they come in."""
    message = incoming()
    message.body["deadline"] = deadline
    assert statuses(broker.inbox.receive([message])) == ["delivered"]


def test_content_is_bounded_at_the_receiver(store):
    """Both ends hold the bound: what is larger is refused for good, and what is as large is taken."""
    broker = make_broker(store, max_content=1000)
    add_own(broker)
    sizes = [len("x" * length) + 2 for length in (998, 999)]
    messages = [
        dataclasses.replace(incoming(id=f"m{size}", message_content="x" * (size - 2)), size=size + 500)
        for size in sizes
    ]
    answers = broker.inbox.receive(messages)
    assert statuses(answers) == ["delivered", "too-large"]
    assert answers[1].final


def test_what_is_there_is_not_refused(broker):
    """A second arrival is a duplicate, also when the first one could not be taken in as things are now."""
    message = incoming()
    broker.inbox.receive([message])
    del message.body["message"]["kind"]
    message.body["message"]["attributes"]["nonsense"] = 1
    assert statuses(broker.inbox.receive([message])) == ["duplicate"]
    message.body["round"] = 2
    assert statuses(broker.inbox.receive([message])) == ["invalid-attribute"]


def test_what_is_sent_again_keeps_its_place(broker, store):
    """A message that replaces its earlier round is taken in before what was sent after it, and with the same commit."""
    broker.inbox.receive([incoming()])
    calls = []
    write = store.write_batches
    store.write_batches = lambda batches: calls.append(batches) or write(batches)
    turn = [incoming(round=2, message_content="anew"), incoming(id="m2"), incoming(id="m3")]
    assert statuses(broker.inbox.receive(turn)) == ["delivered"] * 3
    arrived = [one.id.split(":", 2)[2] for one in store.find(Query("receipt"))]
    assert arrived == ["m1:1", "m1:2", "m2:1", "m3:1"]
    assert broker.entities.get(PATH).attributes[cmbs.CONTENT] == "anew"
    assert len(calls) == 1
