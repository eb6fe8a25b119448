"""Effects of what other members have executed here: each is had once, wherever a kill or a store breaks in."""

import contextlib

import pytest

from pycmbs.errors import StoreUnavailable
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft
from pycmbs.occi.rendering.json_reader import JsonReader
from pycmbs.services.access import rules as allow
from pycmbs.services.entities.drafts import SOURCE, TARGET
from pycmbs.services.execution.once import EFFECTS
from pycmbs.store.base import Write
from tests.harness import ROOT
from tests.services.execution.test_service import Hands, allowed, take
from tests.services.world import FaultyStore, add_member, add_message, add_own, fixed, make_broker
from tests.store.faulty import Fault

MACHINES = ROOT / "json_examples" / "infrastructure" / "post_category_compute.json"
CABLE = {"target": "/other", "title": "new"}
BOX = "/compute/b"

OPERATIONS = {
    "create": {"operation": "create", "target": "/compute/", "id": "new"},
    "create-without-id": {"operation": "create", "target": "/compute/", "title": "new"},
    "create-with-links": {"operation": "create", "target": "/compute/", "title": "new", "links": [CABLE, CABLE]},
    "create-with-a-named-link": {"operation": "create", "target": "/compute/", "links": [{**CABLE, "id": "named"}]},
    "replace": {"operation": "replace", "target": BOX, "title": "new"},
    "replace-what-is-not-there": {"operation": "replace", "target": "/compute/new", "title": "new", "links": [CABLE]},
    "update": {"operation": "update", "target": BOX, "title": "new"},
    "update-with-links": {"operation": "update", "target": BOX, "title": "new", "links": [CABLE, CABLE]},
    "update-with-a-named-link": {"operation": "update", "target": BOX, "links": [{**CABLE, "id": "named"}]},
    "delete": {"operation": "delete", "target": BOX},
    "delete-a-link": {"operation": "delete", "target": "/link/c"},
    "act": {"operation": "act", "target": BOX, "action": "start"},
    "send": {"operation": "act", "target": cmbs.MESSAGE_LOCATION + "own", "action": "send_l2"},
}
WRITES = 6
"""More than an execution takes."""
NAMED = {"b", "c", "new", "named", "own", "other"}


def broker_on(store):
    """The next life of a broker that executes everything."""
    broker = make_broker(store)
    broker.access._rules = fixed(allow.parse("* * *"))
    broker.execution._handlers = Hands()
    return broker


def begun(store):
    """A broker with a machine, a link that starts there, and a message of its own that can be sent."""
    broker = broker_on(store)
    broker.categories.register(JsonReader().categories(MACHINES.read_bytes()).categories)
    add_own(broker)
    add_member(broker, "a", 1)
    add_message(broker, "l2", "own")
    broker.entities.create("/compute/", [Draft(id="b", links=[Draft(id="c", attributes={TARGET: "/other"})])])
    return broker


def named(value):
    """An id, or what ends with one, without the ids that the broker draws."""
    return value if str(value).rpartition("/")[2] in NAMED else "drawn"


def state(broker):
    """What is there, but for drawn ids."""
    paths = [path for place in ("/compute/", "/link/") for path in broker.entities.find(place)]
    found = [broker.entities.get(path) for path in paths]
    ends = [[named(one.attributes.get(end, "")) for end in (SOURCE, TARGET)] for one in found]
    machines = [one.attributes.get("occi.compute.state") for one in found]
    titles = [one.title for one in found]
    links = [len(one.links) for one in found]
    own = broker.entities.stored(cmbs.MESSAGE_LOCATION + "own")
    sent = (own.attributes.get(cmbs.STATE), own.private.get("rows"))
    return sorted(zip(map(named, paths), ends, machines, titles, links, strict=True), key=str), sent


def undisturbed(content):
    """What an operation leaves, and its outcome, if nothing happens meanwhile."""
    broker = begun(FaultyStore())
    outcome = broker.execution.run(take(broker, content).receipt).outcome
    assert "result" in outcome, outcome
    return state(broker), outcome


@pytest.mark.parametrize("content", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize(
    ("atomic", "fault"), [(True, Fault.NOT_DURABLE), (False, Fault.NOT_DURABLE), (False, Fault.PARTIAL)]
)
def test_an_effect_is_had_once_wherever_a_kill_breaks_in(content, atomic, fault):
    """Whichever write of an execution is the last before a kill, and whether it was carried out or half of it: the next life
    has the effect once, all of it, and the outcome says that it was had."""
    right, told = undisturbed(content)
    for after in range(WRITES):
        store = FaultyStore(atomic=atomic)
        broker = begun(store)
        receipt = take(broker, content).receipt
        store.arm(fault, "write", times=1, after=after)
        with contextlib.suppress(StoreUnavailable):
            broker.execution.run(receipt)
        store.disarm()
        outcome = broker_on(store).execution.run(receipt).outcome
        assert (after, state(broker_on(store))) == (after, right)
        assert (after, outcome.keys()) == (after, told.keys())
        if "location" in told["result"]:
            assert broker.entities.at(outcome["result"]["location"]) is not None
    assert store.failures == 0, "there are writes that no kill came behind"


@pytest.mark.parametrize("name", ["update", "act", "delete", "replace"])
def test_an_effect_is_known_though_others_went_on_from_it(name):
    """What was done before a kill is not done again over what someone else has made of it since then."""
    store = FaultyStore(atomic=False)
    broker = begun(store)
    receipt = take(broker, OPERATIONS[name]).receipt
    store.arm(Fault.NOT_DURABLE, "write", times=1, after=1)
    with pytest.raises(StoreUnavailable):
        broker.execution.run(receipt)
    store.disarm()
    if name == "delete":
        broker.entities.create("/compute/", [Draft(id="b", title="theirs")])
    else:
        broker.entities.update(BOX, Draft(title="theirs"))
    assert "result" in broker_on(store).execution.run(receipt).outcome
    assert broker.entities.get(BOX).title == "theirs"


def test_what_was_another_s_already_is_no_effect_of_this_one():
    """A creation whose id is taken fails, also if a kill came before that could be said."""
    store = FaultyStore(atomic=False)
    broker = begun(store)
    receipt = take(broker, {"operation": "create", "target": "/compute/", "id": "b"}).receipt
    store.arm(Fault.UNAVAILABLE, "write", times=1, after=2)
    with pytest.raises(StoreUnavailable):
        broker.execution.run(receipt)
    store.disarm()
    assert broker_on(store).execution.run(receipt).outcome["error"]["code"] == "duplicate-id"


def test_an_intent_over_a_receipt_that_was_changed_waits():
    """Who finds that someone else is at the same execution does nothing, and looks again."""
    store = FaultyStore(atomic=False)
    broker = begun(store)
    receipt = take(broker, OPERATIONS["create"]).receipt

    def touch():
        found = store.get(receipt)
        store.write([Write(found.id, found.type, found.body, found.keys, found.revision)])

    store.before_write = touch
    with pytest.raises(StoreUnavailable):
        broker.execution.run(receipt)
    assert broker.entities.find("/compute/") == [BOX]
    assert broker.execution.run(receipt).outcome == {"result": {"location": "/compute/new"}}


def test_an_entity_remembers_its_last_effects():
    """However often an entity is changed by others, it keeps a bounded record of that, and shows none of it."""
    store = FaultyStore(atomic=False)
    broker = begun(store)
    for number in range(12):
        allowed(broker, "* * *", {**OPERATIONS["update"], "title": f"t{number}"})
    kept = broker.entities.stored(BOX).private[EFFECTS]
    assert [one.split(":")[2] for one in kept] == [f"x{number}" for number in range(5, 13)]
    assert EFFECTS not in broker.entities.get(BOX).attributes
