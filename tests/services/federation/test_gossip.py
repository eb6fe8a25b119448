"""What members tell each other of members: newer news wins, who left stays away, one id is one member."""

import pytest

from pycmbs.errors import ClaimedId, Conflict, Departed, InvalidRequest, from_dict
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.services.delivery.recipients import Choice, Recipient
from pycmbs.services.delivery.reports import plan
from pycmbs.services.federation import health, versions
from pycmbs.services.federation.health import ALIVE, DEAD, Health
from pycmbs.services.federation.members import version_of
from pycmbs.services.records.entities import document_id
from pycmbs.store.base import Write
from tests.services.federation.test_members import described, told
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
    """RFC 9562 4: a UUID is the same in any case, in a description as in lists of whoever is known and who has left."""
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
    assert version_of(broker.members.local()) > before
    before = version_of(broker.members.local())
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
    """Another instance at the same address needs no one's death: there can be only one."""
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
    broker.federation.learn({**echo, "version": echo["version"] + 10**9})
    assert version_of(broker.members.local()) > echo["version"] + 10**9


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
    """A member that left is gone, and no one's old news of it brings it back; recreated, it comes back."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    assert broker.federation.departures.leave("a", 5, "x")
    assert broker.federation.departures.leave("a", 5, "x") is False
    assert (socket(broker), broker.federation.departures.has_left("a")) == (None, True)
    for direct in (True, False):
        with pytest.raises(Departed):
            broker.federation.learn(told(described("a", 1), 5, "x"), direct=direct)
    broker.federation.learn(told(described("a", 1), 6, "y"))
    assert (socket(broker), broker.federation.departures.has_left("a")) == ("memory:l1-1", False)


def test_that_somebody_left_is_passed_on(broker):
    """Who was away when a member left hears it from the others."""
    there = far("b", 2, told(described("a", 1), 5, "x"))
    there.federation.departures.leave("a", 5, "x")
    broker.federation.learn(told(described("a", 1), 5, "x"))
    broker.federation.hear(there.federation.greeting())
    assert socket(broker) is None


def test_a_newer_life_does_not_end_with_an_older_one(broker):
    """Old news of a departure does not remove the member that came back since."""
    broker.federation.learn(told(described("a", 1), 7, "y"))
    assert broker.federation.departures.leave("a", 5, "x") is False
    assert socket(broker) == "memory:l1-1"
    assert broker.federation.departures.leave(OWN, 5, "x") is False
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
    broker.federation.departures.leave("a", 5, "x")
    add_member(broker, "a", 2)
    assert (socket(broker), broker.federation.departures.has_left("a")) == ("memory:l1-2", False)


@pytest.mark.parametrize("version", [2**63 - 1, 10**30, -1, 1.5, "7", None, True])
def test_a_version_that_is_none_removes_nobody(broker, version):
    """Only a version that can be one counts for a departure: a whole number, and not over an hour ahead of the clock here."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    with pytest.raises(InvalidRequest, match="version"):
        broker.federation.departures.leave("a", version, "x")
    broker.federation.hear({"left": {"a": version}, "left_instances": {"a": "x"}})
    assert socket(broker) == "memory:l1-1"


def test_only_the_member_itself_leaves(broker):
    """A departure of another instance than the one that is known is refused, and told by others it is left out. One that
    does not say which instance left, as those of version 0.3 tell it, counts only of whoever does not answer any more."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    for instance in ("y", ""):
        with pytest.raises(ClaimedId):
            broker.federation.departures.leave("a", 5, instance)
    broker.federation.hear({"left": {"a": 5}, "left_instances": {"a": "y"}})
    broker.health.record({"a": Health(ALIVE, 1.0)})
    broker.federation.hear({"left": {"a": 5}})
    assert socket(broker) == "memory:l1-1"
    broker.health.record({"a": Health(DEAD, 1.0)})
    broker.federation.hear({"left": {"a": 5}})
    assert socket(broker) is None


def test_who_was_never_known_is_not_remembered(broker):
    """Of departures only those of known members are kept: no one fills this broker with strangers."""
    broker.federation.hear({"left": {f"s{number}": 5 for number in range(100)}})
    assert broker.federation.departures.leave("stranger", 5, "x") is False
    assert broker.federation.departures.known() == {}


def test_departures_are_heard_with_one_commit(broker, store, monkeypatch):
    """However many members are said to have left, they go together."""
    for number in range(20):
        broker.federation.learn(told(described(f"m{number}", number + 1), 5, "x"))
    commits = []
    write = store.write_batches
    monkeypatch.setattr(store, "write_batches", lambda batches: commits.append(len(batches)) or write(batches))
    left = {f"m{number}": 5 for number in range(20)}
    broker.federation.hear({"left": left, "left_instances": dict.fromkeys(left, "x")})
    assert commits[0] == 20
    assert [one.id for one in broker.members.all()] == [OWN]


@pytest.mark.parametrize("version", [2**63, 10**30, 10**400])
def test_nobody_pushes_the_own_version_away(broker, version):
    """What others say of the own version is believed up to an hour ahead, and no further, however they say it."""
    echo, before = broker.members.now().introduction, version_of(broker.members.local())
    with pytest.raises(InvalidRequest, match="version"):
        broker.federation.learn({**echo, "version": version})
    broker.federation.hear({"known": {OWN: version}, "members": [{**echo, "version": version}]})
    assert version_of(broker.members.local()) == before


def test_a_version_of_a_clock_that_was_ahead_yields(broker, monkeypatch):
    """A description that was taken in while this clock was days ahead is replaced by any that is credible now; the own one
    gets a version that others believe."""
    days = 3 * 86400 * 10**9
    now = versions.time.time_ns
    monkeypatch.setattr(versions.time, "time_ns", lambda: now() + days)
    broker.federation.learn(told(described("a", 1), versions.following(), "x"))
    broker.members.renew(version_of(broker.members.local()))
    ahead = version_of(broker.members.local())
    monkeypatch.setattr(versions.time, "time_ns", now)
    broker.federation.learn(told(described("a", 2), versions.following(), "x"))
    assert socket(broker) == "memory:l1-2"
    broker.members.renew(0)
    assert version_of(broker.members.local()) < ahead
    assert versions.credible(version_of(broker.members.local()))


def test_a_member_made_anew_is_newer_than_the_one_that_left(broker, monkeypatch):
    """A member that is deleted and made again is newer than before, whatever the clock says, and others believe it."""
    there = far("a", 1)
    broker.federation.learn(there.members.now().introduction)
    before = version_of(there.members.local())
    there.entities.delete(PATH_A)
    left = there.federation.greeting()
    broker.federation.hear(left)
    assert socket(broker) is None
    now = versions.time.time_ns
    monkeypatch.setattr(versions.time, "time_ns", lambda: now() - 3 * 10**9)
    add_member(there, "a", 2, local="true")
    assert version_of(there.members.local()) > before
    broker.federation.learn(there.members.now().introduction)
    assert socket(broker) == "memory:l1-2"


def test_a_member_outlives_what_others_remember(broker):
    """Who is refused since it left in a newer version becomes newer than that, and is taken in; within an hour of the clock."""
    there = far("a", 1)
    broker.federation.learn(told(described("a", 1), version_of(there.members.local()) + 10**8, "lost"))
    broker.federation.departures.leave("a", version_of(there.members.local()) + 10**8, "lost")
    with pytest.raises(Departed) as refused:
        broker.federation.learn(there.members.now().introduction)
    assert there.federation.outlive(from_dict(refused.value.to_dict()))
    broker.federation.learn(there.members.now().introduction)
    assert socket(broker) == "memory:l1-1"
    for version in (10**30, "x", None):
        assert not there.federation.outlive(Departed("gone", id="a", version=version))


def test_so_many_members_and_no_more(store):
    """Over most_members a further member is refused, whoever describes it; those that are known may change."""
    broker = make_broker(store, most_members=3)
    add_own(broker)
    broker.federation.hear({"members": [told(described(f"m{n}", n + 1), 5, "x") for n in range(50)]})
    assert len(broker.members.now().others) == 3
    with pytest.raises(Conflict, match="no more are accepted"):
        broker.federation.learn(told(described("late", 9), 5, "x"))
    with pytest.raises(Conflict, match="no more are accepted"):
        add_member(broker, "later", 8)
    broker.federation.learn(told(described("m0", 7), 6, "x"))
    assert socket(broker, "m0") == "memory:l1-7"
    broker.federation.meet("late", told(described("late", 9), 5, "x"))  # its message is taken in all the same
    assert len(broker.federation.sockets({"sockets_l1": [f"memory:{n}" for n in range(50)]})) == 3


@pytest.mark.parametrize(
    "url", ["ipc:///run/x.sock", "inproc://x", "inproc://zeromq.zap.01", "tcp://*:1", 5, None, "nats:x"]
)
def test_others_have_no_say_in_sockets_of_this_machine(broker, url):
    """What others describe holds addresses of other machines only; what leads nowhere else is neither stored nor visited."""
    assert broker.federation.sockets({"sockets_l1": [url, "memory:fine"]}) == ["memory:fine"]
    if url is not None:
        with pytest.raises(InvalidRequest):
            broker.federation.learn(told(described("a", 1, l4_socket=url), 5, "x"))
        assert socket(broker) is None


def test_departures_are_remembered_for_a_while(broker, monkeypatch):
    """What is remembered of those that left is deleted when no one can know them any more."""
    broker.federation.learn(told(described("a", 1), 5, "x"))
    broker.federation.departures.leave("a", 5, "x")
    assert broker.federation.departures.forget() == 0
    monkeypatch.setattr("pycmbs.clock.now", lambda: 9e9)
    assert broker.federation.departures.forget() == 1
    assert broker.federation.departures.has_left("a") is False


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


def test_others_know_on_which_layers_a_member_listens(broker):
    """A member tells on which layers it listens; dry run, report and row say of one that does not that what is for it waits.
    One that tells nothing, as those of version 0.3, is taken to listen on all."""
    there = far("a", 1)
    there.members.record_listening(["l1"])
    broker.federation.learn(there.members.now().introduction)
    broker.federation.learn(told(described("b", 2, l2_socket="memory:l2-2"), 5, "x"))
    assert broker.entities.get(PATH_A).attributes[cmbs.LISTENING] == ["l1"]
    message = add_message(broker, "l2")
    plan = broker.entities.act(message.path, Invocation("send_l2", "", {"dry_run": True}))
    assert [(one["member"], one.get("reason")) for one in plan["recipients"]] == [
        ("a", "it does not listen on l2 now"), ("b", None),
    ]  # fmt: skip
    assert plan["not_listening"] == ["a"]
    assert plan["warning"] == "a does not listen on l2 now: what is for them waits"
    report = broker.entities.act(message.path, Invocation("send_l2", "", {}))
    assert (report["not_listening"], report["warning"]) == (["a"], plan["warning"])
    assert [row.get("reason") for row in report["deliveries"]] == ["it does not listen on l2 now", None]
    there.members.record_listening(["l1", "l2"])
    broker.federation.learn(there.members.now().introduction)
    assert "not_listening" not in broker.entities.act(message.path, Invocation("send_l2", "", {"dry_run": True}))


def test_a_send_warns_of_the_dead(broker, monkeypatch):
    """Dry run and report say since when: the message waits, and the sender may want to know."""
    monkeypatch.setattr(health, "_LOOK_SECONDS", 0)
    for number, name in enumerate("abc", 1):
        broker.federation.learn(told(described(name, number, l2_socket=f"memory:l2-{number}"), 5, "x"))
    message = add_message(broker, "l2")

    def planned():
        return broker.entities.act(message.path, Invocation("send_l2", "", {"dry_run": True})).get("warning")

    assert planned() is None
    since = Health(DEAD, 100.0)
    broker.health.record({"a": since, "b": Health(ALIVE, 100.0)})
    warning = f"a is dead since {since.described()['since']}: what is for them waits"
    assert planned() == warning
    assert broker.entities.act(message.path, Invocation("send_l2", "", {}))["warning"] == warning
    broker.health.record({"b": since})
    assert planned() == "a, b are dead: what is for them waits"
    broker.health.record({"a": Health(ALIVE, 200.0), "b": Health(ALIVE, 200.0)})
    assert planned() is None


def test_a_warning_names_some_and_counts_the_rest():
    """Of a thousand members, ten."""
    rows = [Recipient(f"m{number}", "", "") for number in range(12)]
    names = ", ".join(f"m{number}" for number in range(10))
    found = plan(Choice(tuple(rows)), "l2", frozenset(), {one.member: "then" for one in rows})
    assert found["warning"] == f"{names} and 2 more are dead: what is for them waits"


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
    broker.federation.departures.leave("a", 5, "x")
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
