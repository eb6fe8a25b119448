"""The own member as settings describe it: made where there is none, brought in line where there is."""

import pytest

from pycmbs.errors import InvalidRequest, NoLocalMember, SecondLocalMember
from pycmbs.services.federation.founding import Described, have_described, have_member
from tests.services.world import make_broker

PLACE = "tcp://127.0.0.1:5110"


def attributes(broker):
    """What the own member says of itself."""
    own = broker.members.local()
    return {name.removeprefix("cmbs.member."): value for name, value in own.attributes.items()}


def test_a_member_is_made_that_listens_on_all_layers_of_one_socket(store):
    """And is there with its topics and neighbours when it is looked for."""
    broker = make_broker(store)
    have_member(broker.entities, broker.members, "rome", Described(PLACE, ("tcp://127.0.0.1:5010",), ("network.>",)))
    assert broker.members.wanted() == dict.fromkeys(("l1", "l2", "l31", "l32", "l4"), PLACE)
    said = attributes(broker)
    assert (said["local"], said["state"], said["topics"]) == ("true", "active", ["network.>"])
    assert said["neighbors_socket"] == ["tcp://127.0.0.1:5010"]


def test_one_that_is_there_keeps_what_it_has(store):
    """Topics and neighbours are added, sockets moved, layers that were stopped stay so; the same again changes nothing."""
    broker = make_broker(store)
    have_member(broker.entities, broker.members, "rome", Described(PLACE, topics=("a",)))
    broker.members.want(["l2"], listen=False)
    have_member(broker.entities, broker.members, "rome", Described("tcp://127.0.0.1:5111", topics=("b", "a")))
    assert attributes(broker)["topics"] == ["a", "b"]
    assert broker.members.wanted() == dict.fromkeys(("l1", "l31", "l32", "l4"), "tcp://127.0.0.1:5111")
    before = broker.members.local().revision
    have_member(broker.entities, broker.members, "rome", Described())
    have_described(broker.entities, broker.members, Described("tcp://127.0.0.1:5111", topics=("b",)))
    assert broker.members.local().revision == before


def test_a_broker_is_one_member(store):
    """Another name is another broker; a description without a name is no one's."""
    broker = make_broker(store)
    with pytest.raises(NoLocalMember):
        have_described(broker.entities, broker.members, Described(PLACE))
    with pytest.raises(InvalidRequest):
        have_member(broker.entities, broker.members, "rome", Described(topics=("a..b",)))
    have_member(broker.entities, broker.members, "rome", Described())
    with pytest.raises(SecondLocalMember):
        have_member(broker.entities, broker.members, "oslo", Described())
    with pytest.raises(InvalidRequest):
        have_member(broker.entities, broker.members, "rome", Described(topics=("a..b",)))
    assert broker.members.local().id == "rome"
