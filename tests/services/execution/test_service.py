"""Execution as a service: what is done once, what is done again, and what is told, whatever the store and the handlers do."""

import json

import pytest

from pycmbs.errors import EngineUnavailable, Forbidden, HandlerFailed, StoreUnavailable
from pycmbs.handlers import Handler
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft
from pycmbs.occi.rendering.json_reader import JsonReader
from pycmbs.services.access import rules as allow
from pycmbs.services.delivery.inbox import Incoming
from pycmbs.services.entities.drafts import TARGET
from pycmbs.services.execution.service import DONE, STARTED, WAITING, Lane, execution_from
from tests.services.delivery.test_inbox import incoming
from tests.services.world import add_message, add_own, fixed, make_broker
from tests.store.faulty import Fault

PATH = cmbs.MESSAGE_LOCATION + "m1"
CREATE = {"operation": "create", "target": cmbs.MESSAGE_LOCATION, "id": "made"}
MADE = cmbs.MESSAGE_LOCATION + "made"


class Hands:
    """Handlers without processes: counts the calls, and returns or raises as told."""

    def __init__(self):
        self.calls, self.answer, self.known = 0, "done", {}

    def get(self, name):
        return self.known.get(name)

    def call(self, handler, call):
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer() if callable(self.answer) else self.answer

    def close(self):
        pass


@pytest.fixture
def broker(store):
    broker = make_broker(store)
    add_own(broker)
    broker.access._rules = fixed(allow.parse("* * *"))
    broker.execution._handlers = broker.hands = Hands()
    for name, idempotent in (("once", False), ("again", True)):
        broker.hands.known[name] = Handler(name, "m", "f", idempotent=idempotent)
    return broker


def take(broker, content, **attributes):
    """Have a message with this content taken in; the answer to its sender."""
    (answer,) = broker.inbox.receive([incoming(message_content=content, **attributes)])
    return answer


def kept(broker, answer):
    """The execution as its receipt has it."""
    return execution_from(broker.store.get(answer.receipt))


def test_a_refusal_is_shown_with_the_message(broker):
    """What is refused is known at once: in the acknowledgement, in the receipt and in the `result` of the message here."""
    broker.access._rules = fixed(())
    answer = take(broker, CREATE)
    assert answer.waits is None
    assert answer.body["outcome"]["error"]["code"] == "forbidden"
    assert broker.entities.get(PATH).attributes[cmbs.RESULT] == answer.body["outcome"]
    assert kept(broker, answer).state == DONE


def test_a_rule_that_is_gone_allows_nothing_any_more(broker):
    """What waits when a rule is taken away, and the broker started again, is refused."""
    answer = take(broker, CREATE)
    broker.access._rules = fixed(())
    assert broker.execution.run(answer.receipt).outcome["error"]["code"] == "forbidden"
    assert broker.entities.find(cmbs.MESSAGE_LOCATION) == [PATH]


def test_a_store_that_is_away_is_no_outcome(broker, store):
    """An operation that meets a store that does not answer is executed when it answers again, and does not fail."""
    answer = take(broker, {"operation": "list", "target": cmbs.MESSAGE_LOCATION})
    store.arm(Fault.UNAVAILABLE, "find")
    with pytest.raises(StoreUnavailable):
        broker.execution.run(answer.receipt)
    store.disarm()
    assert broker.execution.run(answer.receipt).outcome == {"result": {"locations": [PATH]}}


def test_what_a_handler_returned_is_not_lost_with_the_store(broker, store):
    """A handler is called once although its outcome could not be stored at first, and the outcome is what it returned."""
    answer = take(broker, {"operation": "once"})

    def returns_without_store():
        store.arm(Fault.UNAVAILABLE, "write")
        return "done"

    broker.hands.answer = returns_without_store
    with pytest.raises(StoreUnavailable):
        broker.execution.run(answer.receipt)
    assert kept(broker, answer).state == STARTED
    store.disarm()
    assert broker.execution.run(answer.receipt).outcome == {"result": "done"}
    assert broker.hands.calls == 1
    assert broker.entities.get(PATH).attributes[cmbs.RESULT] == "done"


@pytest.mark.parametrize(("name", "calls", "code"), [("once", 1, "handler-failed"), ("again", 2, "")])
def test_a_stop_is_no_failure_of_the_handler(broker, store, name, calls, code):
    """A handler that is killed since the broker stops has no outcome yet; the next engine calls it again if it may."""
    answer = take(broker, {"operation": name})

    def killed():
        broker.execution.close()
        raise HandlerFailed("it ended")

    broker.hands.answer = killed
    with pytest.raises(EngineUnavailable):
        broker.execution.run(answer.receipt)
    assert kept(broker, answer).state == STARTED
    later = make_broker(store)
    later.execution._handlers, later.access._rules = broker.hands, fixed(allow.parse("* * *"))
    broker.hands.answer = "done"
    outcome = later.execution.run(answer.receipt).outcome
    assert (broker.hands.calls, outcome.get("error", {}).get("code", "")) == (calls, code)


def test_outcome_and_message_are_one_commit(broker, store):
    """The outcome is in the receipt and in the message, or in neither; the receipt is last."""
    answer = take(broker, {"operation": "once"})
    store.batches.clear()
    broker.execution.run(answer.receipt)
    assert [[write.type for write in batch] for batch in store.batches] == [["receipt"], ["entity", "receipt"]]


def test_a_message_that_is_changed_meanwhile_gets_its_result(broker, store):
    """Who changes the message while it is executed keeps the change, and the result is there as well."""
    answer = take(broker, {"operation": "once"})

    def touch():
        broker.entities.modify(PATH, lambda message: message.attributes.update({cmbs.EXECUTABLE: "false"}) or True)

    broker.hands.answer = lambda: setattr(store, "before_write", touch) or "done"
    broker.execution.run(answer.receipt)
    attributes = broker.entities.get(PATH).attributes
    assert (attributes[cmbs.RESULT], attributes[cmbs.EXECUTABLE]) == ("done", "false")


def deep(levels):
    """Arrays in arrays."""
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("result", ["x" * 5_000_000, deep(150), deep(253)])
def test_a_result_that_cannot_be_told_is_an_error(broker, result):
    """A result that fits into no document or datagram is an error that says so, and not silence."""
    answer = take(broker, {"operation": "once"})
    broker.hands.answer = result
    assert broker.execution.run(answer.receipt).outcome["error"]["code"] == "too-large"
    assert kept(broker, answer).state == DONE


def test_lanes(broker):
    """Operations of a sender are one lane; its calls of each handler are another."""
    lanes = [
        broker.execution.lane(take(broker, content, id=f"m{index}").waits)
        for index, content in enumerate([CREATE, {"operation": "once"}, {"operation": "again"}])
    ]
    assert lanes == [Lane("a", ""), Lane("a", "once"), Lane("a", "again")]


def test_a_second_arrival_says_how_far_it_is(broker):
    """A duplicate is acknowledged with `executing` while it waits, and with the outcome once it is there."""
    message = incoming(message_content=CREATE)
    bodies = [broker.inbox.receive([message])[0] for _ in range(2)]
    assert [one.body.get("executing") for one in bodies] == [True, True]
    assert bodies[1].waits.state == WAITING
    broker.execution.run(bodies[0].receipt)
    (answer,) = broker.inbox.receive([Incoming("a", message.body, message.layers)])
    assert answer.body["outcome"] == {"result": {"location": MADE}}
    assert answer.waits is None


# What an operation touches

INFRA = "http://example.org/i#"
LINK = "http://schemas.ogf.org/occi/core#link"
CABLE = {"kind": INFRA + "cable", "target": "/other"}


@pytest.fixture
def cloud(broker):
    """A broker with boxes, cables between them, and one of each."""
    kinds = [
        {"term": "box", "scheme": INFRA, "location": "/box/", "attributes": {"size": {}}},
        {"term": "cable", "scheme": INFRA, "location": "/cable/", "parent": LINK},
    ]
    broker.categories.register(JsonReader().categories(json.dumps({"kinds": kinds}).encode()).categories)
    broker.entities.create("/box/", [Draft(id="b", links=[Draft(INFRA + "cable", "c", attributes={TARGET: "/other"})])])
    return broker


def allowed(broker, rules, content):
    """What comes of a message whose sender has these rules: the result, or the error."""
    broker.access._rules = fixed(allow.parse(rules))
    broker.executed = getattr(broker, "executed", 0) + 1
    answer = take(broker, content, id=f"x{broker.executed}")
    execution = kept(broker, answer)
    done = execution if execution.state == DONE else broker.execution.run(answer.receipt)
    return done.outcome


@pytest.mark.parametrize(
    ("rules", "content"),
    [
        ("* create box", {"operation": "create", "target": "/box/", "links": [CABLE]}),
        ("* create box", {"operation": "create", "target": "/box/", "links": [{"target": "/other"}]}),
        ("* create cable", {"operation": "create", "target": "/box/", "links": [CABLE]}),
        ("* create box; * delete cable", {"operation": "create", "target": "/box/", "links": [CABLE]}),
        ("* replace box", {"operation": "replace", "target": "/box/new", "links": [CABLE]}),
        ("* update box", {"operation": "update", "target": "/box/b", "links": [CABLE]}),
        ("* delete box", {"operation": "delete", "target": "/box/b"}),
    ],
)
def test_a_rule_is_asked_for_every_kind_touched(cloud, rules, content):
    """What is made or goes along with an entity needs a rule of its own; nothing is done by halves."""
    outcome = allowed(cloud, rules, content)
    assert outcome["error"]["code"] == "forbidden"
    assert repr(content["operation"]) in outcome["error"]["message"]
    assert (cloud.entities.find("/box/"), cloud.entities.find("/cable/")) == (["/box/b"], ["/cable/c"])


@pytest.mark.parametrize(
    ("rules", "content"),
    [
        ("* create box; * create cable", {"operation": "create", "target": "/box/", "links": [CABLE]}),
        ("* create box; * create link", {"operation": "create", "target": "/box/", "links": [CABLE]}),
        ("* create *", {"operation": "create", "target": "/box/", "links": [CABLE]}),
        ("* update box; * create cable", {"operation": "update", "target": "/box/b", "links": [CABLE]}),
        ("* delete box; * delete cable", {"operation": "delete", "target": "/box/b"}),
        ("* create box", {"operation": "create", "target": "/box/"}),
    ],
)
def test_what_all_rules_allow_is_done(cloud, rules, content):
    """With a rule for each kind, or one for a parent of it, it happens."""
    assert "result" in allowed(cloud, rules, content)


@pytest.mark.parametrize(
    ("rules", "links"),
    [("* read box", 0), ("* read box; * read cable", 1), ("* read box; * read link", 1), ("* update box", 0)],
)
def test_links_are_read_by_who_may_read_them(cloud, rules, links):
    """An entity is told without the links whose kind the sender may not read."""
    verb = rules.split()[1]
    outcome = allowed(cloud, rules, {"operation": verb, "target": "/box/b", "title": "t"} if verb == "update" else
                      {"operation": verb, "target": "/box/b"})  # fmt: skip
    assert len(outcome["result"]["links"]) == links


@pytest.mark.parametrize(
    ("rules", "content"),
    [
        ("* read box", {"operation": "read", "target": "/box/none"}),
        ("* update box", {"operation": "update", "target": "/box/none"}),
        ("* * *", {"operation": "read", "target": "/nowhere/none"}),
        ("* * *", {"operation": "list", "target": "/nowhere/"}),
        ("* * *", {"operation": "create", "target": "/box/", "kind": "http://example.org/x#y"}),
        ("* act:start box", {"operation": "act", "target": "/box/b", "action": "start"}),
        ("* create box", {"operation": "create", "target": "/box/", "attributes": {"sise": 1}}),
        ("* * *", {"operation": "fly", "target": "/box/b"}),
    ],
)
def test_members_get_no_hints(cloud, rules, content):
    """What a hint names (siblings, kinds, locations, attributes) is for whoever may look here."""
    error = allowed(cloud, rules, content)["error"]
    assert "hint" not in error
    assert "/box/b" not in str(error) or content["target"] == "/box/b"
    assert "/cable/" not in str(error)


def test_the_handler_of_a_received_message_needs_its_rule(broker):
    """Who executes here what another member sent has the handler called for that member: by its rule, or not at all."""
    broker.access._rules = fixed(())
    answer = take(broker, {"operation": "once"})
    path = next(path for path in broker.entities.find("/cmbs/message/"))
    for rules in ("", "* * message", "somebody-else once"):
        broker.access._rules = fixed(allow.parse(rules))
        with pytest.raises(Forbidden):
            broker.execution.handle(path)
    assert broker.hands.calls == 0
    origin = broker.entities.stored(path).attributes[cmbs.ORIGIN]
    broker.access._rules = fixed(allow.parse(f"{origin} once"))
    assert broker.execution.handle(path) == "done"
    assert answer.error is None


def test_the_handler_of_an_own_message_needs_none(broker):
    """A client of this broker may have its own message executed, whatever the rules say to others."""
    broker.access._rules = fixed(())
    message = add_message(broker, "l2", message_content={"operation": "once"})
    assert broker.execution.handle(message.path) == "done"
