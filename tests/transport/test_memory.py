"""The memory transport keeps the contract."""

from itertools import count

import pytest

from pycmbs.transport.memory import DEFAULT_NETWORK, MemoryNetwork, MemoryTransport
from tests.transport.contract import KeyedContract, Node, TransportContract, fill


class TestMemoryTransport(TransportContract):
    @pytest.fixture
    def transport(self):
        network = MemoryNetwork()
        return lambda: MemoryTransport(network)

    @pytest.fixture
    def new_address(self):
        numbers = count()
        return lambda: f"memory:member-{next(numbers)}"


class TestMemoryTransportWithKeys(KeyedContract):
    @pytest.fixture
    def keyed(self):
        network = MemoryNetwork()
        return lambda ring: MemoryTransport(network, ring)

    @pytest.fixture
    def address(self):
        return "memory:member"


def test_networks_are_apart():
    """The same name in two networks is two addresses."""
    one, other = Node(MemoryTransport(MemoryNetwork())), Node(MemoryTransport(MemoryNetwork()))
    one.transport.listen("memory:a")
    other.transport.listen("memory:a")
    one.transport.close()
    other.transport.close()


def test_both_spellings_are_one_address():
    """``memory:a`` and ``memory://a`` mean the same; an arrival names the listener's spelling."""
    node = Node(MemoryTransport(MemoryNetwork()))
    node.transport.listen("memory:a")
    node.transport.send("memory://a", b"x")
    assert node.inbox.wait(1)[0].address == "memory:a"
    node.transport.close()


def test_the_bound_is_the_networks():
    """As many datagrams wait for an address as the network says, and closing takes them back."""
    network = MemoryNetwork(bound=7)
    node = Node(MemoryTransport(network))
    assert fill(node, "memory:nobody") == 7
    node.transport.close()
    assert not network.waiting


def test_it_stays_within_the_process():
    """The memory transport says that it reaches no other process, and uses one shared network unless told."""
    assert not MemoryTransport.across_processes
    node = Node(MemoryTransport())
    node.transport.listen("memory:default")
    assert "default" in DEFAULT_NETWORK.listening
    node.transport.close()
    assert "default" not in DEFAULT_NETWORK.listening
