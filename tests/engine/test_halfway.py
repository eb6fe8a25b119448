"""Sends that failed half-way, in a store that is not atomic: rows without their message hold up no one, and go."""

import pytest

from pycmbs.engine import orphans as orphans_module
from pycmbs.errors import StoreUnavailable
from pycmbs.occi import cmbs
from pycmbs.services.records.deliveries import DELIVERY
from pycmbs.services.records.entities import entity_write
from pycmbs.store.base import Query
from tests.engine.test_engines import join, node  # noqa: F401 - a fixture
from tests.harness import wait_until
from tests.store.faulty import Fault


def send_half_way(node, path):  # noqa: F811
    """Have the last request of a send fail: its rows are there, and its message is as it was."""
    node.store.arm(Fault.PARTIAL)
    with pytest.raises(StoreUnavailable):
        node.act(path, "send_l2")
    node.store.disarm()


def unsettled(node):  # noqa: F811
    """How many rows are."""
    return node.store.count(Query(DELIVERY, {"unsettled": "1"}))


@pytest.fixture
def apart(node):  # noqa: F811
    """Two members, the first of which has a store that writes batches in part."""
    return join(node("a", atomic=False), node("b"))


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_a_send_that_failed_half_way_holds_up_nobody(apart, rounds, monkeypatch):
    """Whether it is the first send of a message or another one: what is sent later goes out, it itself when it is sent again,
    and nothing is left of the one that failed."""
    monkeypatch.setattr(orphans_module, "_KEEP_SECONDS", 0.3)
    monkeypatch.setattr(orphans_module, "_YOUNG", 0.1)
    a, b = apart
    path = a.message("l2")
    for _ in range(rounds):
        a.act(path, "send_l2")
        assert a.settled(path) == "delivered"
    before = a.attribute(path, cmbs.DELIVERIES)
    send_half_way(a, path)
    assert a.attribute(path, cmbs.DELIVERIES) == before
    other = a.message("l2", "m2")
    assert a.act(other, "send_l2", wait=10)["state"] == "delivered"
    assert a.act(path, "send_l2", wait=10)["state"] == "delivered"
    assert b.attribute(path, cmbs.STATE) == "received"
    wait_until(lambda: unsettled(a) == 0, what="the end of the rows without their message")
    assert a.store.count(Query(DELIVERY, {"message": path})) == 1
    assert a.attribute(path, cmbs.STATE) == "delivered"


def test_a_row_without_its_message_is_no_reason_to_wait(apart):
    """The sum of a message is that of the rows of its round, whatever else lies under its path."""
    a, b = apart
    b.act(cmbs.MEMBER_LOCATION + "b", "stop_l2")
    path = a.message("l2")
    send_half_way(a, path)
    b.act(cmbs.MEMBER_LOCATION + "b", "start_l2")
    assert a.act(path, "send_l2", wait=10)["state"] == "delivered"
    assert unsettled(a) == 1


def test_a_message_written_after_its_rows_are_gone_was_not_sent(apart):
    """Its writer was told that it failed, and its rows were removed: it does not say that it is sent for ever."""
    a, _ = apart
    path = a.message("l2")
    message = a.broker.entities.stored(path)
    message.private["round"] = 1
    message.attributes[cmbs.STATE] = "sending"
    a.store.write([entity_write(message, revision=message.revision)])
    a.broker.outbox.reconcile()
    assert a.attribute(path, cmbs.STATE) is None
    assert a.act(path, "send_l2", wait=10)["state"] == "delivered"
