"""An engine and a member that answers nonsense: nothing that a peer says breaks more than its own affair."""

import pytest

from pycmbs.occi import cmbs
from pycmbs.transport.envelope import REFUSAL, WELCOME, decode, encode, reply_to
from pycmbs.transport.memory import MemoryTransport
from tests.engine.test_engines import node  # noqa: F401 - a fixture


@pytest.fixture
def alone(node):  # noqa: F811 - the fixture
    """An engine whose neighbour is whoever listens at memory:bad."""
    found = node("a")
    found.become("l1", neighbors=["memory:bad"])
    return found


@pytest.fixture
def bad(alone):
    """Someone at memory:bad who gives the same answer to everything."""
    transports = []

    def answer(type, body):
        transport = MemoryTransport(alone.transport._network)

        def receive(arrivals):
            for one in arrivals:
                transport.reply(one.peer, encode(reply_to(decode(one.data), type, "z", body)))

        transport.start(receive)
        transport.listen("memory:bad")
        transports.append(transport)

    yield answer
    for transport in transports:
        transport.close()


@pytest.mark.parametrize(
    ("type", "body"),
    [
        (REFUSAL, {}),
        (REFUSAL, {"error": {"code": "brand-new"}}),
        (REFUSAL, {"error": "x"}),
        (REFUSAL, {"error": {"code": "conflict", "self": 1}}),
        (WELCOME, {}),
        (WELCOME, {"member_description": {"kind": "x"}}),
        (WELCOME, {"member_description": [1]}),
    ],
)
def test_a_neighbor_that_answers_nonsense_is_not_reached(alone, bad, type, body):
    """check_neighbors reports such a neighbour as unreachable, with a reason, and goes on."""
    bad(type, body)
    report = alone.act(cmbs.MEMBER_LOCATION + "a", "check_neighbors")
    assert [one["socket"] for one in report["unreachable"]] == ["memory:bad"]


@pytest.mark.parametrize("error", ["x", {}, None, {"code": 5}])
def test_a_final_refusal_is_a_failure(alone, bad, error):
    """A final refusal settles the recipient, whatever its reason looks like."""
    bad(REFUSAL, {"error": error, "final": True})
    path = alone.message("l1", l1_socket_receiver_member="memory:bad", deadline=1)
    alone.act(path, "send_l1")
    assert alone.settled(path) == "failed"
