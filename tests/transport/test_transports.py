"""Each URL goes to the transport of its scheme."""

import pytest

from pycmbs.errors import ConfigurationError, InvalidAddress
from pycmbs.transport import SCHEMES, SEAM
from pycmbs.transport.base import Transport
from pycmbs.transport.memory import MemoryNetwork, MemoryTransport
from pycmbs.transport.transports import Transports
from tests.transport.contract import Collector, Node, TransportContract
from tests.transport.zeromq.test_transport import free_port


class TestTransports(TransportContract):
    """With the memory transport behind it, :class:`Transports` keeps the same contract."""

    @pytest.fixture
    def transport(self):
        network = MemoryNetwork()
        return lambda: Transports({"memory"}, {"memory": lambda: MemoryTransport(network)})

    @pytest.fixture
    def new_address(self):
        names = iter(range(100))
        return lambda: f"memory:member-{next(names)}"


@pytest.fixture
def both():
    node = Node(Transports({"zeromq", "memory"}), echo=True)
    yield node
    node.transport.close()


def test_each_scheme_has_an_implementation():
    """The tables agree: each scheme's implementation exists, is a transport and serves it."""
    for scheme, name in SCHEMES.items():
        found = SEAM.load(name)
        assert issubclass(found, Transport)
        assert scheme in found.schemes
    assert set(SCHEMES.values()) == set(SEAM.names())


def test_an_unknown_implementation_is_a_configuration_error():
    """A name that is not a transport is refused, naming those there are."""
    with pytest.raises(ConfigurationError, match="memory, zeromq"):
        SEAM.load("pigeon")
    with pytest.raises(ConfigurationError, match="pigeon"):
        Transports({"zeromq", "pigeon"})
    with pytest.raises(ConfigurationError):
        Transports(())


def test_calls_go_by_scheme(both):
    """Datagrams and answers travel over each transport, and replies find the right one."""
    urls = [f"tcp://127.0.0.1:{free_port()}", "inproc://router", "memory:router"]
    for url in urls:
        both.transport.listen(url)
        both.transport.send(url, url.encode())
    arrivals = both.inbox.wait(6)
    for url in urls:
        assert [(one.data, one.answer) for one in arrivals if one.address == url] == [
            (url.encode(), False),
            (b"re: " + url.encode(), True),
        ]


def test_a_scheme_that_is_not_enabled_is_refused():
    """Only the implementations that were named serve; the refusal names their schemes."""
    transports = Transports({"zeromq"})
    assert transports.schemes == {"tcp", "ipc", "inproc"}
    with pytest.raises(InvalidAddress, match="known: inproc, ipc, tcp"):
        transports.check("memory:a")
    transports.check("tcp://x:1")


def test_what_is_not_used_is_not_started():
    """An implementation is made when a URL first needs it, and once."""
    made = []
    transports = Transports({"memory"}, {"memory": lambda: made.append(1) or MemoryTransport(MemoryNetwork())})
    transports.start(Collector())
    transports.check("memory:a")
    assert not made
    transports.send("memory:a", b"x")
    transports.send("memory:b", b"x")
    assert len(made) == 1
    transports.close()


def test_across_processes():
    """They reach other processes only when each of its transports does."""
    assert Transports({"zeromq"}).across_processes
    assert not Transports({"zeromq", "memory"}).across_processes


def test_use_before_start_is_a_programming_error():
    """A call before start is a RuntimeError, not a hang."""
    with pytest.raises(RuntimeError):
        Transports({"memory"}).send("memory:a", b"x")
