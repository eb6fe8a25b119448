"""Who gets a message: examples, and a brute-force oracle that knows nothing of the code."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycmbs.occi import naming
from pycmbs.services.delivery.recipients import (
    Peer,
    Recipient,
    broadcast,
    matches,
    multicast,
    multicast_topical,
    provider_id,
    topical,
    unicast,
)

OWN = Peer("own", "tcp://h:1", ("network.link",), own=True)
A = Peer("CP-1", "tcp://h:2", ("network.*",))
B = Peer("CP-10", "tcp://h:3", ("network.link", "storage.>"))
C = Peer("CP-2", "tcp://h:4")
PEERS = (OWN, A, B, C)


def ids(routing):
    """Who gets it."""
    return [one.member for one in routing.recipients]


def test_l1_reaches_the_member_behind_the_socket():
    """L1 is addressed by a socket, and the ledger names the member that has it."""
    assert unicast("tcp://h:3", PEERS).recipients == (
        Recipient("CP-10", "tcp://h:3", "it is addressed by its socket tcp://h:3"),
    )


def test_l1_reaches_a_stranger():
    """A socket that no known member has is a recipient too: that is how members meet."""
    assert ids(unicast("tcp://h:9", PEERS)) == [""]


def test_l2_reaches_everybody_but_the_sender():
    """L2: every known member but the sender."""
    assert ids(broadcast(PEERS)) == ["CP-1", "CP-10", "CP-2"]


def test_l31_reaches_the_named():
    """L3.1: the members named, and no one else; the reason says under which name."""
    routing = multicast(["CP-1"], PEERS)
    assert routing.recipients == (Recipient("CP-1", "tcp://h:2", "it is named as CP-1"),)


def test_a_prefix_is_no_match():
    """The trap of 2012 (reference, 1.2): CP-1 is not CP-10."""
    assert ids(multicast(["CP-10"], PEERS)) == ["CP-10"]
    assert multicast(["CP", "CP-"], PEERS).recipients == ()


def test_an_unknown_provider_is_reported():
    """A name that no one has is not dropped in silence."""
    assert multicast(["CP-1", "CP-9"], PEERS).unknown == ("CP-9",)


def test_a_member_named_twice_gets_it_once():
    """Id, URN and URL of one member are one recipient."""
    names = ["CP-1", "urn:uuid:CP-1", "http://other:8090/cmbs/member/CP-1", "CP-1"]
    assert ids(multicast(names, PEERS)) == ["CP-1"]


@pytest.mark.parametrize(
    "name",
    [
        "x-1",
        "urn:uuid:x-1",
        "/cmbs/member/x-1",
        "http://h/cmbs/member/x-1",
        "https://h:1/a/b/x-1/",
        "http://h/m/urn:uuid:x-1",
    ],
)
def test_a_provider_is_an_id_a_urn_or_a_url(name):
    """Providers are named by id, URN or URL."""
    assert provider_id(name) == "x-1"


@pytest.mark.parametrize("before", ["", "urn:uuid:", "URN:UUID:", "/cmbs/member/", "http://h/cmbs/member/urn:uuid:"])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_a_provider_may_spell_a_uuid_in_any_case(before, case):
    """RFC 9562 4: a UUID is the same in any case."""
    id = "996ad860-2a9a-504f-8861-aeafd0b2ae29"
    assert ids(multicast([before + case(id)], [Peer(id, "s")])) == [id]


def test_a_provider_may_be_named_as_1_2_shows_it():
    """The id as a URI, which a client of OCCI 1.2 knows a member by."""
    assert provider_id(naming.uri("/cmbs/member/paris", "paris")) == "paris"


def test_l32_reaches_the_interested():
    """L3.2: the members interested in one of the topics, but the sender; the reason says by which subscription."""
    routing = topical(["network.link"], PEERS)
    assert ids(routing) == ["CP-1", "CP-10"]
    assert [one.reason for one in routing.recipients] == [
        "it is interested in network.link by network.*",
        "it is interested in network.link",
    ]


def test_l4_reaches_the_named_who_are_interested():
    """L4 is the intersection of L3.1 and L3.2, and both reasons are given."""
    routing = multicast_topical(["CP-1", "CP-2", "CP-9"], ["network.link"], PEERS)
    assert ids(routing) == ["CP-1"]
    assert routing.recipients[0].reason == "it is named as CP-1 and it is interested in network.link by network.*"
    assert routing.unknown == ("CP-9",)


@pytest.mark.parametrize(
    ("subscription", "topic", "answer"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.bc", False),
        ("a", "a.b", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("*", "a", True),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        (">", "a.b", True),
        ("*.>", "a.b", True),
        ("*.>", "a", False),
        ("a*", "ab", False),
        ("a.b>", "a.b.c", False),
        (">.b", "a.b", False),
        ("A", "a", False),
    ],
)
def test_topics_are_matched_as_in_nats(subscription, topic, answer):
    """``*`` is exactly one word, a last ``>`` is one word or more, and everything else is itself."""
    assert matches(subscription, topic) is answer


WORDS = st.sampled_from(["a", "b", "ab", "c"])
TOPICS = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
SUBSCRIPTIONS = st.tuples(st.lists(WORDS | st.just("*"), max_size=3), st.sampled_from([[], [">"], ["a"]])).map(
    lambda parts: ".".join(parts[0] + parts[1]) or "*"
)


def oracle(subscription, topic):
    """The same rule as a regular expression."""
    parts = {"*": r"[^.]+", ">": r".+"}
    expression = r"\.".join(parts.get(word, re.escape(word)) for word in subscription.split("."))
    return re.fullmatch(expression, topic) is not None


@given(SUBSCRIPTIONS, TOPICS)
def test_topics_match_as_the_oracle_says(subscription, topic):
    """Words, wildcards and nothing else decide."""
    assert matches(subscription, topic) is oracle(subscription, topic)


NAMES = [f"{prefix}{id}" for id in ("x", "xx", "y", "z") for prefix in ("", "urn:uuid:", "http://h/cmbs/member/")]
MEMBERS = st.lists(
    st.builds(Peer, st.sampled_from(["x", "xx", "y"]), st.sampled_from(["", "tcp://h:1"]),
              st.lists(SUBSCRIPTIONS, max_size=2).map(tuple), st.booleans()),
    unique_by=lambda peer: peer.id,
)  # fmt: skip


@given(MEMBERS, st.lists(st.sampled_from(NAMES), max_size=4), st.lists(TOPICS, max_size=3))
def test_recipients_are_who_the_oracle_says(peers, providers, topics):
    """Every layer reaches exactly those for whom its rule holds, each once."""
    named = {
        peer.id
        for peer in peers
        for name in providers
        if name in (peer.id, f"urn:uuid:{peer.id}", f"http://h/cmbs/member/{peer.id}")
    }
    interested = {peer.id for peer in peers for topic in topics for one in peer.topics if oracle(one, topic)}
    own = {peer.id for peer in peers if peer.own}
    assert sorted(ids(broadcast(peers))) == sorted({peer.id for peer in peers} - own)
    assert sorted(ids(multicast(providers, peers))) == sorted(named)
    assert sorted(ids(topical(topics, peers))) == sorted(interested - own)
    assert sorted(ids(multicast_topical(providers, topics, peers))) == sorted(named & interested)


@given(MEMBERS, st.lists(st.sampled_from(NAMES), max_size=4))
def test_every_provider_is_accounted_for(peers, providers):
    """A named provider is a recipient or reported as unknown, never both and never neither."""
    routing = multicast(providers, peers)
    known = {peer.id for peer in peers}
    assert list(routing.unknown) == [name for name in dict.fromkeys(providers) if provider_id(name) not in known]
