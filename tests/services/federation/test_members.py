"""Members: the broker's own, those it knows, and how it comes to know them."""

import pytest

from pycmbs.errors import (
    Conflict,
    EngineUnavailable,
    ImmutableAttribute,
    InvalidAddress,
    InvalidAttribute,
    InvalidRequest,
    SecondLocalMember,
    SocketUnavailable,
)
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.services.federation.members import version_of
from tests.services.world import OWN, add_member, add_own, make_broker, member

PATH = cmbs.MEMBER_LOCATION + OWN


@pytest.fixture
def broker(store, engine):
    return make_broker(store, engine)


def told(description, version=0, instance=""):
    """A description, as a member introduces itself with it."""
    return {"description": description, "version": version, "instance": instance}


def described(id, number, **attributes):
    """A member as it describes itself to others."""
    sockets = {"l1_socket": f"memory:l1-{number}", **attributes}
    return {"kind": cmbs.MEMBER, "id": id, "title": "t", "attributes": {"cmbs": {"member": sockets}}}


def test_a_broker_begins_without_a_member(broker):
    """Until one is posted there is none."""
    assert broker.members.local() is None
    assert broker.members.now().introduction["description"] is None


def test_a_posted_member_is_the_brokers_own(broker):
    """A member that a client posts is local unless it says otherwise."""
    broker.entities.create(cmbs.MEMBER_LOCATION, [member(OWN)])
    assert broker.members.local().id == OWN


def test_a_member_may_be_another_brokers(broker):
    """A member with local false is only known."""
    add_member(broker, "other")
    assert broker.members.local() is None
    assert [one.id for one in broker.members.all()] == ["other"]


def test_a_second_local_member_is_refused(broker):
    """A broker is one member, and the conflict names it."""
    add_own(broker)
    with pytest.raises(SecondLocalMember) as caught:
        add_member(broker, "second", 1, local="true")
    assert caught.value.data["location"] == PATH


def test_two_first_members_at_once_are_one(broker, store):
    """Two requests that both see no local member cannot both add theirs."""
    store.before_write = lambda: add_member(broker, "first", 1, local="true")
    with pytest.raises(SecondLocalMember):
        add_own(broker)
    assert [one.id for one in broker.members.all()] == ["first"]


def test_two_local_members_in_one_body_are_refused(broker):
    """A batch cannot make two local members either, and makes none."""
    with pytest.raises(Conflict):
        broker.entities.create(cmbs.MEMBER_LOCATION, [member("a", 1), member("b", 2)])
    assert broker.members.all() == []


def test_a_new_own_member_may_follow_a_deleted_one(broker):
    """Deleting the own member makes room for another."""
    add_own(broker)
    broker.entities.delete(PATH)
    add_member(broker, "next", 1, local="true")
    assert broker.members.local().id == "next"


def test_local_does_not_change(broker):
    """A known member cannot become the own one by an update."""
    add_member(broker, "other")
    with pytest.raises(ImmutableAttribute):
        broker.entities.update(cmbs.MEMBER_LOCATION + "other", Draft(attributes={cmbs.LOCAL: "true"}))


@pytest.mark.parametrize("url", ["tcp://*:5010", "5010", "tcp://127.0.0.1", "http://h/", "tcp://127.0.0.1:99999"])
@pytest.mark.parametrize("attribute", ["l1_socket", "l31_socket", "neighbors_socket"])
def test_sockets_must_be_addresses(broker, url, attribute):
    """A wrong socket URL is refused at once, by the attribute's name."""
    value = [url] if attribute == "neighbors_socket" else url
    with pytest.raises(InvalidAddress) as caught:
        add_member(broker, "a", **{attribute: value})
    assert caught.value.data["attribute"] == f"cmbs.member.{attribute}"


def test_sockets_are_checked_when_they_change(broker):
    """An update is checked like a creation."""
    add_member(broker, "a")
    with pytest.raises(InvalidAddress):
        broker.entities.update(cmbs.MEMBER_LOCATION + "a", Draft(attributes={"cmbs.member.l1_socket": "nonsense"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [("topics", [5]), ("topics", [""]), ("topics", ["a b"]), ("topics", ["li*"]), ("neighbors_socket", [5])],
)
def test_topics_and_neighbors_are_texts(broker, name, value):
    """Lists are checked item by item."""
    with pytest.raises(InvalidRequest) as caught:
        add_member(broker, "a", **{name: value})
    assert caught.value.data["attribute"] == f"cmbs.member.{name}"


def test_the_readmes_spelling_is_accepted(broker):
    """l3.1_socket of the README is kept as l31_socket."""
    draft = Draft(
        cmbs.MEMBER, "a", attributes={"cmbs": {"member": {"l3.1_socket": "tcp://127.0.0.1:5031", "local": "false"}}}
    )
    broker.entities.create(cmbs.MEMBER_LOCATION, [draft])
    assert broker.members.by_id("a").attributes["cmbs.member.l31_socket"] == "tcp://127.0.0.1:5031"


@pytest.mark.parametrize(
    ("term", "call"),
    [
        ("start_l1", ("start", {"layers": ["l1"]})),
        ("stop_l32", ("stop", {"layers": ["l32"]})),
        ("start", ("start", {"layers": ["l1", "l2", "l31", "l32", "l4"]})),
        ("stop", ("stop", {"layers": ["l1", "l2", "l31", "l32", "l4"]})),
    ],
)
def test_layers_are_started_by_the_engine(broker, engine, term, call):
    """The engine owns the sockets: starting and stopping is asked of it, and its answer is the report."""
    add_own(broker)
    assert broker.entities.act(PATH, Invocation(term)) == {"answered": call[0]}
    assert engine.calls == [call]


@pytest.mark.parametrize("error", [SocketUnavailable("in use"), EngineUnavailable("gone")])
def test_a_layer_that_cannot_be_started_is_an_error(broker, engine, error):
    """A socket that cannot be bound is an answer, not a line in a log."""
    add_own(broker)
    engine.error = error
    with pytest.raises(type(error)):
        broker.entities.act(PATH, Invocation("start_l1"))


@pytest.mark.parametrize("term", ["start_l1", "stop_l1", "check_neighbors"])
def test_only_the_own_member_is_started(broker, engine, term):
    """Another broker's member is not here to be started; the hint names the own one."""
    add_own(broker)
    add_member(broker, "other", 1)
    with pytest.raises(InvalidRequest) as caught:
        broker.entities.act(cmbs.MEMBER_LOCATION + "other", Invocation(term))
    assert PATH in caught.value.hint
    assert engine.calls == []


def test_what_listens_is_kept(broker):
    """A layer that was started listens again after a restart: the member remembers it, in the layers' order."""
    add_own(broker)
    for layer in ("l2", "l1", "l2"):
        broker.members.want([layer], listen=True)
    assert list(broker.members.wanted().items()) == [("l1", "memory:l1-0"), ("l2", "memory:l2-0")]
    broker.members.want(["l2"], listen=False)
    assert list(broker.members.wanted()) == ["l1"]


def test_a_member_that_listens_is_active(broker):
    """Its state says so, to others too, from the first layer that it starts to the last that it stops."""
    add_own(broker)
    seen = []
    for layer, listen in (("l1", True), ("l2", True), ("l1", False), ("l2", False)):
        version = version_of(broker.members.local())
        broker.members.want([layer], listen=listen)
        own = broker.members.local()
        seen.append((own.attributes["cmbs.member.state"], version_of(own) > version))
    assert seen == [("active", True), ("active", False), ("active", False), ("inactive", True)]


@pytest.mark.parametrize("state", ["suspended", "failed"])
def test_what_a_client_says_of_a_member_stays(broker, state):
    """A member that is suspended, or has failed, is that until the client says otherwise."""
    add_own(broker, state=state)
    for listen in (True, False):
        broker.members.want(["l1"], listen=listen)
        assert broker.members.local().attributes["cmbs.member.state"] == state


def test_what_listens_is_shown(broker):
    """The member's listening attribute is the broker's to write."""
    add_own(broker)
    broker.members.record_listening(["l1"])
    assert broker.entities.get(PATH).attributes[cmbs.LISTENING] == ["l1"]
    with pytest.raises(ImmutableAttribute):
        broker.entities.update(PATH, Draft(attributes={cmbs.LISTENING: []}))


def test_moving_a_listening_socket_is_tried_first(broker, engine):
    """An update to a socket that cannot be bound is refused, and the old one stays."""
    add_own(broker)
    broker.members.want(["l1"], listen=True)
    engine.error = SocketUnavailable("in use")
    with pytest.raises(SocketUnavailable):
        broker.entities.update(PATH, Draft(attributes={"cmbs.member.l1_socket": "memory:new"}))
    assert broker.members.wanted() == {"l1": "memory:l1-0"}


def test_moving_a_listening_socket_rebinds_it(broker, engine):
    """Once stored, the engine is told to listen where the member now says."""
    add_own(broker)
    broker.members.want(["l1"], listen=True)
    broker.entities.update(PATH, Draft(attributes={"cmbs.member.l1_socket": "memory:new"}))
    assert engine.calls == [("try", {"sockets": ["memory:new"]}), ("apply_sockets", {})]


def test_moving_an_idle_socket_needs_no_engine(broker, engine):
    """A layer that does not listen can be moved while the engine is away."""
    add_own(broker)
    engine.error = EngineUnavailable("gone")
    broker.entities.update(PATH, Draft(attributes={"cmbs.member.l1_socket": "memory:new"}))
    assert engine.calls == []


def test_deleting_the_own_member_stops_it(broker, engine):
    """Once it is gone, the engine ends what it listened on and tells the others; not before: the store could fail."""
    add_own(broker)
    broker.members.want(["l1"], listen=True)
    broker.entities.delete(PATH)
    assert [call for call, _ in engine.calls] == ["leave"]
    assert engine.calls[0][1]["member"] == OWN


def test_the_description_is_for_others(broker):
    """What is told to others says local false, and nothing of what is private."""
    add_own(broker, topics=["a.b"])
    broker.members.want(["l1"], listen=True)
    description = broker.members.now().introduction["description"]
    assert (description["id"], description["kind"]) == (OWN, cmbs.MEMBER)
    assert description["attributes"]["cmbs"]["member"]["local"] == "false"
    assert description["attributes"]["cmbs"]["member"]["topics"] == ["a.b"]
    assert "wanted" not in str(description)


def test_a_description_teaches_another_broker(broker):
    """What one broker tells, another one learns."""
    add_own(broker, topics=["a.b"])
    other = make_broker()
    learned, new = other.federation.learn(broker.members.now().introduction)
    assert new is True
    assert learned.attributes[cmbs.MEMBER_TOPICS] == ["a.b"]
    assert other.members.by_id(OWN).attributes["cmbs.member.l1_socket"] == "memory:l1-0"
    assert other.members.local() is None


def test_the_sockets_of_all_members_begin_with_the_own(broker):
    """The handshake tells the L1 sockets of everybody, each once."""
    add_member(broker, "a", 1)
    add_member(broker, "b", 1)
    add_own(broker)
    assert broker.members.now().sockets_l1 == ["memory:l1-0", "memory:l1-1"]


def test_learning_twice_changes_nothing(broker, store):
    """A member that is known as it is, is not written again."""
    broker.federation.learn(told(described("a", 1)))
    before = store.change_token("entity")
    assert broker.federation.learn(told(described("a", 1)))[1] is False
    assert store.change_token("entity") == before


def test_a_member_that_moved_is_learned_anew(broker):
    """What a member says of itself last is what holds."""
    broker.federation.learn(told(described("a", 1)))
    assert broker.federation.learn(told(described("a", 2)))[1] is False
    assert broker.members.by_id("a").attributes["cmbs.member.l1_socket"] == "memory:l1-2"


def test_learning_respects_a_faster_one(broker, store):
    """Two introductions of one member at once are one member."""
    store.before_write = lambda: broker.federation.learn(told(described("a", 1)))
    assert broker.federation.learn(told(described("a", 2)))[1] is False
    assert [one.id for one in broker.members.all()] == ["a"]


def test_nobody_else_can_be_the_own_member(broker):
    """A description with the own id and other sockets is a conflict; the own one is not learned."""
    add_own(broker)
    with pytest.raises(Conflict):
        broker.federation.learn(told(described(OWN, 7)))
    assert broker.federation.learn(told(described(OWN, 0))) == (broker.members.local(), False)


def test_a_newer_member_may_say_more(broker):
    """Attributes that are not known here are left out, local is never believed, and of what is the broker's own only that on
    which layers a member listens."""
    told_ = described("a", 1, future="x", local="true", listening=["l1", "l9", 5], health={"state": "alive"})
    learned, _ = broker.federation.learn(told(told_))
    kept = {"cmbs.member.l1_socket": "memory:l1-1", cmbs.LOCAL: "false", cmbs.LISTENING: ["l1"]}
    assert learned.attributes == kept


@pytest.mark.parametrize(
    "description",
    [{}, {"kind": "x"}, described("a/b", 1), described(None, 1), described("a", 1) | {"attributes": []},
     described("a", 1, l1_socket="nonsense"), described("a", 1, topics=[5]), described("a", 1) | {"kind": []}],
)  # fmt: skip
def test_a_wrong_description_is_refused(broker, description):
    """What another member sends is checked like what a client sends."""
    with pytest.raises(InvalidRequest):
        broker.federation.learn(told(description))
    assert broker.members.all() == []


def test_topics_that_are_none_keep_no_member_out(broker):
    """A broker of another version may have another rule: what can never match is left out, and the member is known."""
    learned, new = broker.federation.learn(told(described("a", 1, topics=["net.#", "net.link", "a b"])))
    assert (learned.attributes["cmbs.member.topics"], new) == (["net.link"], True)
    assert not broker.federation.learn(told(described("a", 1, topics=["net.#", "net.link", "a b"])))[1]


def test_a_state_is_one_of_four(broker):
    """A state "activeX" is refused, by the attribute's name."""
    with pytest.raises(InvalidAttribute) as caught:
        add_own(broker, state="activeX")
    assert caught.value.data["attribute"] == "cmbs.member.state"
