"""What members tell each other of members: newer news wins, who left stays away, one id is one member."""

import pytest

from pycmbs.errors import ClaimedId, Departed
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.services.documents import document_id
from pycmbs.services.health import ALIVE, DEAD, Health
from pycmbs.services.members import version_of
from pycmbs.store.base import Write
from tests.services.test_members import described, told
from tests.services.world import OWN, add_member, add_message, add_own, make_broker

PATH_A = cmbs.MEMBER_LOCATION + "a"


@pytest.fixture
def broker(store):
    broker = make_broker(store)
    add_own(broker)
    return broker


def socket(broker, id="a"):
    """Where a member is thought to listen on L1; None when it is not known."""
    member = broker.members.by_id(id)
    return member and member.attributes["cmbs.member.l1_socket"]


def far(id, number, *others):
    """The broker of another member, which knows others."""
    there = make_broker()
    add_member(there, id, number, local="true")
    for introduction in others:
        there.federation.learn(introduction)
    return there


def test_older_news_changes_nothing(broker):
    """A description replaces those of a lower version, whoever brings it, and no newer one."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    for direct in (True, False):
        broker.federation.learn(told(described("a", 2), 4, "x"), direct=direct)
        assert socket(broker) == "memory:l1-1"
    broker.federation.learn(told(described("a", 3), 6, "x"), direct=False)
    assert socket(broker) == "memory:l1-3"


def test_a_member_may_spell_its_id_in_any_case(broker):
    """RFC 9562 4: a UUID is the same in any case, in a description as in lists of who is known and who has left."""
    id = "aabb1ccd-2a9a-504f-8861-aeafd0b2ae29"
    broker.federation.learn(told(described(id.upper(), 1), 5, "x"))
    broker.federation.learn(told(described(id, 2), 6, "x"))
    assert [one.id for one in broker.members.all()] == [OWN, id]
    assert socket(broker, id) == "memory:l1-2"
    assert not broker.federation.lacks({"known": {id.upper(): 6}})


def test_a_member_that_was_kept_in_upper_case_is_the_same(broker, store):
    """A member that version 0.3 stored with an upper-case id stays where it is, and its news replaces it there."""
    id = "aabb1ccd-2a9a-504f-8861-aeafd0b2ae29"
    broker.federation.learn(told(described(id, 1), 5, "x"))
    kept = store.get(document_id(cmbs.MEMBER_LOCATION + id))
    old = cmbs.MEMBER_LOCATION + id.upper()
    body = {**kept.body, "id": id.upper(), "path": old}
    store.write([Write(kept.id, kept.type, revision=kept.revision, delete=True)])
    store.write([Write(document_id(old), kept.type, body, {**kept.keys, "id": (id.upper(),)})])
    broker.federation.learn(told(described(id.upper(), 2), 6, "x"))
    assert [one.path for one in broker.members.all()] == [cmbs.MEMBER_LOCATION + OWN, old]
    assert socket(broker, id) == "memory:l1-2"
    add_message(broker, "l31", providers=[f"urn:uuid:{id.upper()}"])
    report = broker.entities.act("/cmbs/message/m1", Invocation("send_l31"))
    assert [row["member"] for row in report["deliveries"]] == [id]


def test_hearsay_does_not_contradict(broker):
    """What others say of a member in the version that is known changes nothing; what it says itself does."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    broker.federation.learn(told(described("a", 2), 5, "x"), direct=False)
    assert socket(broker) == "memory:l1-1"
    broker.federation.learn(told(described("a", 2), 5, "x"))
    assert socket(broker) == "memory:l1-2"


def test_a_change_makes_a_new_version(broker):
    """Every change of the own member that others see makes its description newer; others do not."""
    before = version_of(broker.members.local())
    broker.members.record_listening(["l1"])
    assert version_of(broker.members.local()) == before
    broker.entities.update(cmbs.MEMBER_LOCATION + OWN, Draft(attributes={cmbs.MEMBER_TOPICS: ["a.b"]}))
    assert version_of(broker.members.local()) > before


@pytest.mark.parametrize(("state", "accepted"), [(ALIVE, False), (DEAD, True), (None, True)])
def test_two_members_with_one_id(broker, state, accepted):
    """Another instance at another address is refused while the known one is alive, and takes its place when it is not."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    if state:
        broker.health.record({"a": Health(state, 1.0)})
    if accepted:
        broker.federation.learn(told(described("a", 2), 9, "y"))
    else:
        with pytest.raises(ClaimedId, match="two members claim the id a"):
            broker.federation.learn(told(described("a", 2), 9, "y"))
    assert socket(broker) == ("memory:l1-2" if accepted else "memory:l1-1")


def test_a_member_made_anew_at_its_address_is_the_same_place(broker):
    """Another instance at the same address needs nobody's death: there can be only one."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    broker.health.record({"a": Health(ALIVE, 1.0)})
    broker.federation.learn(told(described("a", 1, topics=["new"]), 2, "y"))
    assert broker.members.by_id("a").attributes[cmbs.MEMBER_TOPICS] == ["new"]


def test_the_own_id_is_not_for_others(broker):
    """Who claims the own id is refused, also from the own address; an echo of the own description is none."""
    with pytest.raises(ClaimedId):
        broker.federation.learn(told(described(OWN, 0), 1, "another"))
    assert broker.federation.learn(broker.members.now().introduction) == (broker.members.local(), False)


def test_an_older_copy_of_a_store_catches_up(broker):
    """When others remember a newer description of the own member, the own one becomes newer than that."""
    echo = broker.members.now().introduction
    broker.federation.learn({**echo, "version": echo["version"] + 10**15})
    assert version_of(broker.members.local()) > echo["version"] + 10**15


def test_a_welcome_describes_whom_the_other_lacks(broker):
    """Those that the other knows in this version are not described again, nor is the own member."""
    for number, id in enumerate(("a", "b", "c"), 1):
        broker.federation.learn(told(described(id, number), 5, id))
    welcome = broker.federation.welcome({"known": {"a": 5, "b": 4, OWN: 0}})
    assert [one["description"]["id"] for one in welcome["members"]] == ["b", "c"]
    assert welcome["known"] == {"a": 5, "b": 5, "c": 5, OWN: version_of(broker.members.local())}


def test_what_is_heard_is_known(broker):
    """A welcome teaches all members that its sender knows, and says of whom it told."""
    there = far("a", 1, told(described("b", 2), 5, "b"))
    welcome = there.federation.welcome(broker.federation.greeting())
    assert "b" in broker.federation.hear(welcome)
    assert socket(broker, "b") == "memory:l1-2"


@pytest.mark.parametrize(
    "greeting",
    [
        {},
        {"members": 1, "known": 2, "left": 3},
        {"members": [1, {}, None]},
        {"known": {"a": -1}, "left": {"b": "x"}},
        {"members": [told(described("a/b", 1))]},
    ],
)
def test_nonsense_is_left_out(broker, greeting):
    """Hearsay is checked like everything from outside, and what is wrong is not taken in."""
    broker.federation.hear(greeting)
    assert [one.id for one in broker.members.all()] == [OWN]


def test_who_left_stays_away(broker):
    """A member that left is gone, and nobody's old news of it brings it back; made anew, it comes back."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    assert broker.federation.depart("a", 5)
    assert broker.federation.depart("a", 5) is False
    assert (socket(broker), broker.federation.has_left("a")) == (None, True)
    for direct in (True, False):
        with pytest.raises(Departed):
            broker.federation.learn(told(described("a", 1), 5, "x"), direct=direct)
    broker.federation.learn(told(described("a", 1), 6, "y"))
    assert (socket(broker), broker.federation.has_left("a")) == ("memory:l1-1", False)


def test_that_somebody_left_is_passed_on(broker):
    """Who was away when a member left hears it from the others."""
    there = far("b", 2, told(described("a", 1), 5, "x"))
    there.federation.depart("a", 5)
    broker.federation.learn(told(described("a", 1), 5, "x"))
    broker.federation.hear(there.federation.greeting())
    assert socket(broker) is None


def test_a_newer_life_does_not_end_with_an_older_one(broker):
    """Old news of a departure does not remove the member that came back since."""
    broker.federation.learn(told(described("a", 1), 7, "y"))
    assert broker.federation.depart("a", 5) is False
    assert socket(broker) == "memory:l1-1"
    assert broker.federation.depart(OWN, 2**62) is False
    assert broker.members.local() is not None


def test_a_member_that_a_client_deletes_is_forgotten_here(broker):
    """Deleting another's member removes it from this broker, until it speaks for itself again; others are not told."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    broker.entities.delete(PATH_A)
    with pytest.raises(Departed):
        broker.federation.learn(told(described("a", 1), 5, "x"), direct=False)
    assert broker.federation.greeting()["left"] == {}
    assert not broker.federation.lacks({"known": {"a": 5}})
    broker.federation.learn(told(described("a", 1), 5, "x"))
    assert socket(broker) == "memory:l1-1"


def test_a_client_may_bring_a_member_back(broker):
    """POSTing a member that was forgotten, or that left, is a new beginning."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    broker.federation.depart("a", 5)
    add_member(broker, "a", 2)
    assert (socket(broker), broker.federation.has_left("a")) == ("memory:l1-2", False)


def test_departures_are_remembered_for_a_while(broker, monkeypatch):
    """What is remembered of those that left is deleted when nobody can know them any more."""
    broker.federation.depart("a", 5)
    assert broker.federation.forget_left() == 0
    monkeypatch.setattr("pycmbs.services.federation.time.time", lambda: 9e9)
    assert broker.federation.forget_left() == 1
    assert broker.federation.has_left("a") is False


def test_news_is_noticed(broker):
    """A greeting has news when it names a member, or a version, that is not known here."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    assert not broker.federation.lacks({"known": {"a": 5, OWN: 2**62}})
    assert broker.federation.lacks({"known": {"a": 6}})
    assert broker.federation.lacks({"known": {"b": 0}})


def test_digests_are_equal_when_knowledge_is(broker):
    """Two brokers that know the same members in the same versions have the same digest, in whatever order they met."""
    there = far("a", 1)
    broker.federation.learn(there.members.now().introduction)
    assert there.members.now().digest != broker.members.now().digest
    there.federation.learn(broker.members.now().introduction)
    assert there.members.now().digest == broker.members.now().digest


def test_health_is_shown_with_the_member(broker):
    """A member's health is an attribute of it; the own one has none, and clients cannot write it."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    assert cmbs.HEALTH not in broker.entities.get(PATH_A).attributes
    broker.health.record({"a": Health(ALIVE, 1.0, 2.0, 0.0015, "b")})
    assert broker.entities.get(PATH_A).attributes[cmbs.HEALTH] == {
        "state": "alive", "since": "1970-01-01T00:00:01.000Z", "last_seen": "1970-01-01T00:00:02.000Z",
        "round_trip_ms": 1.5, "via": "b",
    }  # fmt: skip
    assert cmbs.HEALTH not in broker.entities.get(cmbs.MEMBER_LOCATION + OWN).attributes
    broker.federation.depart("a", 5)
    assert broker.health.of("a") is None


def test_a_greeting_is_taken_in_with_one_commit(broker, store, monkeypatch):
    """However many members a greeting describes, they are stored together; who is described twice is the newer one."""
    commits = []
    write = store.write_batches
    monkeypatch.setattr(store, "write_batches", lambda batches: commits.append(len(batches)) or write(batches))
    broker.federation.hear({"members": [told(described(f"m{n}", n + 1), 5, f"m{n}") for n in range(50)]})
    assert commits == [50]
    twice = [told(described("m0", 1), 7, "m0"), told(described("m0", 2), 8, "m0")]
    broker.federation.hear({"members": twice})
    assert (len(broker.members.all()), socket(broker, "m0")) == (51, "memory:l1-2")


def test_hearsay_that_changes_meanwhile_is_looked_at_again(broker, store):
    """Of two that store the same member at the same time, the newer description stays."""
    store.before_write = lambda: broker.federation.learn(told(described("a", 1), 5, "a"))
    broker.federation.hear({"members": [told(described("a", 2), 6, "a"), told(described("b", 3), 1, "b")]})
    assert (socket(broker, "a"), socket(broker, "b")) == ("memory:l1-2", "memory:l1-3")


def test_who_lacks_somebody_can_be_told(broker):
    """A member that knows all that is known here, and perhaps more, need not be greeted again."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    assert broker.federation.can_tell({"known": {}})
    assert broker.federation.can_tell({"known": {"a": 4}})
    assert not broker.federation.can_tell({"known": {"a": 5, "b": 1}})
