"""The ZeroMQ transport keeps the contract on each of its schemes, and survives what networks do."""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import zmq

from pycmbs.errors import QueueFull, SocketUnavailable, TooLarge
from pycmbs.transport.zeromq import guests as zeromq_guests
from pycmbs.transport.zeromq.context import CONTEXT, Limits
from pycmbs.transport.zeromq.resolver import resolve
from pycmbs.transport.zeromq.transport import ZeroMQTransport
from tests.harness import wait_until
from tests.transport.contract import DEADLINE, KeyedContract, Node, TransportContract, fill, until
from tests.transport.rings import Ring, acquainted

ECHO = """
import sys, threading
from pycmbs.transport.zeromq.transport import ZeroMQTransport
transport = ZeroMQTransport()
def receiver(arrivals):
    for arrival in arrivals:
        transport.reply(arrival.peer, b"re: " + arrival.data)
transport.start(receiver)
transport.listen(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
transport.close()
"""
"""A process that answers what comes in at the URL it is given, until its standard input ends."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def directory():
    """A directory whose path is short enough for a local socket."""
    path = tempfile.mkdtemp(prefix="cmbs")
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture
def make():
    """Factory of nodes; all are closed in the end, and then no context may be left."""
    made = []

    def factory(limits=None, *, listen_at=None, keyring=None, **options):
        transport = ZeroMQTransport(limits=limits, listen_at=listen_at, keyring=keyring)
        made.append(Node(transport, **options))
        return made[-1]

    yield factory
    for node in made:
        node.transport.close()
    assert CONTEXT._context is None


@pytest.fixture
def address():
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture
def echo_process():
    """Factory of echo processes that listen at a URL; all are ended."""
    running = []

    def start(url):
        process = subprocess.Popen([sys.executable, "-c", ECHO, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


class TestZeroMQTransport(TransportContract):
    @pytest.fixture(params=["tcp", "ipc", "inproc"])
    def scheme(self, request):
        return request.param

    @pytest.fixture
    def transport(self):
        return ZeroMQTransport

    @pytest.fixture
    def new_address(self, scheme, directory):
        used = set()

        def fresh():
            port = free_port()
            while port in used:
                port = free_port()
            used.add(port)
            return {
                "tcp": f"tcp://127.0.0.1:{port}",
                "ipc": f"ipc://{directory}/{port}",
                "inproc": f"inproc://member-{port}",
            }[scheme]

        return fresh


class TestZeroMQTransportWithKeys(KeyedContract):
    @pytest.fixture
    def keyed(self):
        return lambda ring: ZeroMQTransport(keyring=ring)

    @pytest.fixture(params=["tcp", "ipc"])
    def address(self, request, directory):
        return f"tcp://127.0.0.1:{free_port()}" if request.param == "tcp" else f"ipc://{directory}/keyed"

    def test_who_is_turned_away_knows_it(self, keyed, address):
        """Until it is let in; one that is not there, or answers, turns nobody away."""
        a, b = acquainted("a", "b")
        b.knows()
        here, there = Node(keyed(a)), Node(keyed(b), echo=True)
        try:
            here.transport.send(address, b"x", peer="b")
            assert not here.transport.refuses(address)
            there.transport.listen(address)
            until(lambda: here.transport.refuses(address))
            b.knows(a)
            here.inbox.wait(1)
            assert not here.transport.refuses(address)
        finally:
            here.transport.close()
            there.transport.close()


class TestAddresses:
    def test_an_address_is_free_for_a_plain_socket_after_unlisten(self, make):
        """On return of unlisten the operating system has the port back: twenty plain binds succeed at once."""
        node, client = make(), make()
        port = free_port()
        url = f"tcp://127.0.0.1:{port}"
        for turn in range(1, 21):
            node.transport.listen(url)
            client.transport.forget(url)  # a connection that the last turn ended may swallow one
            client.transport.send(url, b"x")
            node.inbox.wait(turn)
            node.transport.unlisten(url)
            with socket.socket() as plain:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the ended connections' TIME_WAIT
                plain.bind(("127.0.0.1", port))
                plain.listen()

    def test_a_port_of_another_program_is_refused(self, make):
        """A port that a program other than ZeroMQ holds is SocketUnavailable, with URL and reason."""
        with socket.create_server(("127.0.0.1", 0)) as held:
            url = f"tcp://127.0.0.1:{held.getsockname()[1]}"
            with pytest.raises(SocketUnavailable, match="address already in use") as caught:
                make().transport.listen(url)
        assert caught.value.data == {"url": url, "reason": "address already in use"}

    def test_a_foreign_ip_address_is_refused(self, make):
        """An IP address that this machine has not is SocketUnavailable."""
        with pytest.raises(SocketUnavailable, match="no such address"):
            make(keyring=Ring()).transport.listen(f"tcp://192.0.2.1:{free_port()}")

    @pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "10.0.0.1", "169.254.1.1"])
    def test_what_others_can_reach_is_refused(self, make, host):
        """Without keys a transport listens on no address that other machines can reach, whether the machine has it or not."""
        with pytest.raises(SocketUnavailable, match="can be reached by others") as caught:
            make().transport.listen(f"tcp://{host}:{free_port()}")
        assert "--members closed" in caught.value.hint

    @pytest.mark.parametrize("bound", ["0.0.0.0", "[::]", "192.0.2.1"])
    def test_where_it_is_bound_counts(self, make, bound):
        """What is advertised may be anything: it is where the socket is bound that others may reach, or may not."""
        url, port = "tcp://broker.example.org:5010", free_port()
        with pytest.raises(SocketUnavailable, match="can be reached by others"):
            make(listen_at={url: f"tcp://{bound}:{port}"}).transport.listen(url)
        make(listen_at={url: f"tcp://127.0.0.1:{port}"}).transport.listen(url)

    def test_a_name_is_where_it_leads(self, make, monkeypatch):
        """A host name that means an address of this machine's network is refused like the address."""
        monkeypatch.setattr("pycmbs.transport.zeromq.resolver.resolve", lambda _host: ["192.0.2.1"])
        with pytest.raises(SocketUnavailable, match="can be reached by others"):
            make().transport.listen("tcp://broker.example.org:5010")

    def test_an_unknown_host_is_refused(self, make):
        """A host name that means nothing is SocketUnavailable to listen on."""
        with pytest.raises(SocketUnavailable, match="name"):
            make().transport.listen("tcp://no-such-host.invalid:5555")

    def test_an_unknown_host_is_a_bounded_queue(self, make, address):
        """Sends to a host without an address fill their queue, and hold no one else up."""
        here, there = make(Limits(queue_messages=5)), make()
        there.transport.listen(address)
        assert fill(here, "tcp://no-such-host.invalid:5555") == 5
        here.transport.send(address, b"x")
        there.inbox.wait(1)

    def test_a_host_name_is_an_address(self, make):
        """A name is resolved, the same way to listen and to send."""
        url = f"tcp://localhost:{free_port()}"
        here, there = make(), make(echo=True)
        there.transport.listen(url)
        here.transport.send(url, b"x")
        assert here.inbox.wait(1)[0].address == url

    def test_a_name_that_becomes_known_is_reached(self, make, monkeypatch):
        """A host that is unknown at first is asked for again while something waits for it."""
        answers = iter([[], [], ["127.0.0.1"]])
        here, there = make(), make()
        port = free_port()
        there.transport.listen(f"tcp://127.0.0.1:{port}")
        monkeypatch.setattr("pycmbs.transport.zeromq.resolver.resolve", lambda host: next(answers))
        here.transport.send(f"tcp://late.example:{port}", b"x")
        there.inbox.wait(1)

    def test_a_name_that_moves_is_followed(self, make, monkeypatch):
        """A name is resolved again by and by, also while someone answers where it led: it may be another's address now. One
        that still means that address among others, or none just now, is left in peace."""
        monkeypatch.setattr("pycmbs.transport.zeromq.transport.RESOLVE_SECONDS", 0.0)
        found, asked = ["127.0.0.1"], []
        monkeypatch.setattr("pycmbs.transport.zeromq.resolver.resolve", lambda host: asked.append(host) or list(found))
        here, old, new = make(), make(echo=True), make(echo=True)
        port = free_port()
        old.transport.listen(f"tcp://127.0.0.1:{port}")
        new.transport.listen(f"tcp://127.0.0.2:{port}")
        url = f"tcp://moves.example:{port}"
        for answer in (["127.0.0.1"], ["127.0.0.3", "127.0.0.1"], []):
            found[:] = answer
            here.transport.send(url, b"stays")
            asked.clear()
            until(lambda: len(asked) > 1)
        old.inbox.wait(3)
        found[:] = ["127.0.0.2"]

        asked.clear()
        until(lambda: len(asked) > 1)
        here.transport.send(url, b"moved")
        new.inbox.wait(1)

    def test_ipv6(self, make):
        """An IPv6 address works where the machine has it."""
        if not socket.has_ipv6 or not resolve("::1"):
            pytest.skip("no IPv6 here")
        try:
            with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
                url = f"tcp://[::1]:{probe.getsockname()[1]}"
        except OSError:
            pytest.skip("no IPv6 loopback here")
        here, there = make(), make(echo=True)
        there.transport.listen(url)
        here.transport.send(url, b"x")
        here.inbox.wait(1)

    def test_a_file_is_not_removed(self, make, directory):
        """A path where something other than a socket is, is refused; libzmq alone would delete it."""
        precious = directory / "precious"
        precious.write_text("data")
        with pytest.raises(SocketUnavailable, match="not a socket"):
            make().transport.listen(f"ipc://{precious}")
        assert precious.read_text() == "data"

    def test_a_socket_left_behind_is_taken_over(self, make, directory):
        """The socket file of a process that died is no obstacle."""
        path = directory / "stale"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        here, there = make(), make()
        there.transport.listen(f"ipc://{path}")
        here.transport.send(f"ipc://{path}", b"x")
        there.inbox.wait(1)

    def test_a_missing_directory_is_refused(self, make, directory):
        """A path in no directory is SocketUnavailable, in plain words."""
        with pytest.raises(SocketUnavailable, match="no such directory"):
            make().transport.listen(f"ipc://{directory}/none/x")


class TestTrouble:
    def test_two_processes(self, make, address, echo_process):
        """Over tcp a datagram reaches another process and its answer comes back, a thousand times in order."""
        echo_process(address)
        here = make()
        for number in range(1000):
            here.transport.send(address, b"%d" % number)
        here.inbox.wait(1000)
        assert here.inbox.data() == [b"re: %d" % number for number in range(1000)]

    def test_an_address_of_another_process(self, make, address, directory, echo_process):
        """An address that another process listens on is refused at once, over tcp and ipc; the other keeps it."""
        here = make()
        for url in (address, f"ipc://{directory}/s"):
            echo_process(url)
            with pytest.raises(SocketUnavailable, match="address already in use"):
                here.transport.listen(url)
            here.transport.send(url, b"x")
        here.inbox.wait(2)

    def test_a_process_is_killed_and_comes_back(self, make, address, echo_process):
        """After a peer's process was killed and started again, later sends arrive without a forget."""
        process = echo_process(address)
        here = make()
        here.transport.send(address, b"one")
        here.inbox.wait(1)
        process.kill()
        process.wait()
        echo_process(address)

        def answered():
            here.transport.send(address, b"two")
            return b"re: two" in here.inbox.data()

        until(answered)

    def test_a_peer_that_accepts_and_stays_silent(self, make):
        """A peer that takes the connection and says nothing costs one bounded queue; forget empties it."""
        here = make(Limits(queue_messages=50))
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
            assert fill(here, url) == 50
            here.transport.forget(url)
            assert fill(here, url) == 50

    def test_a_peer_that_stops_reading(self, make, address):
        """A peer that speaks ZeroMQ and doesn't read ends in QueueFull, whatever the buffers between hold."""
        here = make(Limits(queue_messages=50))
        context = zmq.Context()
        deaf = context.socket(zmq.ROUTER)
        try:
            deaf.set(zmq.RCVHWM, 10)
            deaf.bind(address)
            assert fill(here, address, b"x" * 100_000) < 2000
        finally:
            deaf.close(0)
            context.term()

    def test_a_queue_is_bounded_in_bytes(self, make, address):
        """Few large datagrams fill a queue too; one of any allowed size always may wait."""
        here = make(Limits(queue_bytes=1000, max_size=5000))
        here.transport.send(address, b"x" * 5000)
        with pytest.raises(QueueFull):
            here.transport.send(address, b"x")

    def test_what_can_never_arrive_is_refused(self, make, address):
        """A datagram over ``max_size`` is TooLarge at the sender."""
        with pytest.raises(TooLarge):
            make(Limits(max_size=10)).transport.send(address, b"x" * 11)

    def test_an_oversize_frame_does_no_harm(self, make, address):
        """A peer that sends more than the listener takes is cut off; others are served, and it may come again."""
        there, big, small = make(Limits(max_size=1000)), make(), make()
        there.transport.listen(address)
        big.transport.send(address, b"x" * 100_000)
        small.transport.send(address, b"small")
        there.inbox.wait(1)

        def arrived():
            big.transport.send(address, b"again")
            return b"again" in there.inbox.data()

        until(arrived)
        assert set(there.inbox.data()) == {b"small", b"again"}

    @pytest.mark.parametrize(
        "garbage",
        [
            b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
            b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL" + b"\xff" * 500,
            b"\0" * 5000,
            b"",
        ],
        ids=["http", "tls", "zmtp and then not", "zeros", "nothing"],
    )
    def test_garbage_does_no_harm(self, make, address, garbage):
        """A listener to which another protocol speaks goes on serving the others."""
        here, there = make(), make()
        there.transport.listen(address)
        port = int(address.rpartition(":")[2])
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as wrong:
                wrong.sendall(garbage)
        here.transport.send(address, b"sound")
        until(lambda: b"sound" in there.inbox.data())

    def test_a_foreign_zeromq_peer(self, make, address):
        """Any DEALER can talk to a listener; what is not one frame is dropped, the rest arrives and can be answered."""
        there = make(echo=True)
        there.transport.listen(address)
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        try:
            dealer.connect(address)
            dealer.send_multipart([b"one", b"two"])
            dealer.send_multipart([b"", b"two", b"three"])
            dealer.send(b"sound")
            assert dealer.poll(int(DEADLINE * 1000))
            assert dealer.recv() == b"re: sound"
        finally:
            dealer.close(0)
            context.term()
        there.inbox.wait(1)  # the answer may be here before what it answers is noted
        assert there.inbox.data() == [b"sound"]

    def test_a_failing_turn_does_not_stop_the_thread(self, make, address, monkeypatch, caplog):
        """When something in the loop itself fails, it is logged, and the transport goes on."""
        here, there = make(), make()
        there.transport.listen(address)
        loop = there.transport._loop
        failed = threading.Event()
        orderly = loop._wait

        def fails():
            monkeypatch.setattr(loop, "_wait", orderly)
            failed.set()
            raise OSError("on purpose")

        monkeypatch.setattr(loop, "_wait", fails)
        loop.post(lambda: None)
        here.transport.send(address, b"x")
        there.inbox.wait(1)
        assert failed.wait(DEADLINE)
        here.transport.send(address, b"y")
        there.inbox.wait(2)
        assert "it carries on" in caplog.text


class TestGuests:
    """Whoever connects, whatever it does then."""

    @pytest.fixture
    def connect(self, address):
        """Plain connections to the address, which say what they are told to; all are closed in the end."""
        with contextlib.ExitStack() as connections:

            def open_(number, greeting=b""):
                opened = []
                for _ in range(number):
                    opened.append(
                        connections.enter_context(socket.create_connection(address.removeprefix("tcp://").split(":")))
                    )
                    opened[-1].sendall(greeting)
                return opened

            yield open_

    @staticmethod
    def over(connections):
        """How many were ended by the other side."""
        ended = 0
        for one in connections:
            one.setblocking(False)
            try:
                while data := one.recv(4096):
                    pass
                ended += not data
            except BlockingIOError:
                pass
            except ConnectionError:
                ended += 1
        return ended

    def test_the_silent_give_way(self, make, address, connect, caplog):
        """So many connections from one address may be silent: one more ends the oldest, with one line for all of them, and
        members get through."""
        here, there = make(), make()
        there.transport.listen(address)
        silent = connect(3 * zeromq_guests.SILENT_OF_ONE)
        wait_until(
            lambda: self.over(silent) == len(silent) - zeromq_guests.SILENT_OF_ONE, what="the oldest to be ended"
        )
        assert self.over(silent[-zeromq_guests.SILENT_OF_ONE :]) == 0
        here.transport.send(address, b"x")
        there.inbox.wait(1)
        assert caplog.text.count("is closed") == 1

    def test_who_speaks_stays(self, make, address, connect, caplog):
        """Connections that begin as ZeroMQ does are not among the silent, however many there are."""
        there = make()
        there.transport.listen(address)
        greeting = b"\xff" + bytes(8) + b"\x7f"
        members = connect(2 * zeromq_guests.SILENT_OF_ONE, greeting)
        silent = connect(2 * zeromq_guests.SILENT_OF_ONE)
        wait_until(lambda: self.over(silent) == zeromq_guests.SILENT_OF_ONE, what="silent ones to be ended")
        assert self.over(members) == 0

    @pytest.mark.parametrize("bound", ["one", "all"])
    def test_the_oldest_give_way(self, make, address, connect, bound, monkeypatch):
        """Connections are bounded for each address they come from, and altogether, whatever they say."""
        there = make()
        if bound == "one":
            monkeypatch.setattr(zeromq_guests, "MOST_OF_ONE", 10)
        else:
            there.transport._guests._most = 10
        there.transport.listen(address)
        # All have spoken when it is looked: otherwise the newest may be the one that says nothing yet.
        monkeypatch.setattr(zeromq_guests, "_received", lambda _guest: zeromq_guests._GREETING)
        members = connect(30)
        wait_until(lambda: self.over(members) == 20, what="the oldest to be ended")
        assert self.over(members[-10:]) == 0

    def test_those_that_went_are_forgotten(self, make, address, connect):
        """A connection that is over does not count any more."""
        there = make()
        there.transport.listen(address)
        for one in connect(20):
            one.close()
        guests = there.transport._guests
        wait_until(lambda: not guests._guests, what="them to be forgotten")
        assert (guests._by_address, guests._quiet) == ({}, {})


class TestLinks:
    def test_links_are_bounded(self, make, address, caplog):
        """Over the bound, the link unused for longest is given up; the others keep what waits."""
        here, there = make(Limits(links=16)), make()
        here.transport.send(address, b"kept")
        ports = [free_port() for _ in range(40)]
        for port in ports:
            here.transport.send(f"tcp://127.0.0.1:{port}", b"x")
            here.transport.send(address, b"kept")
        assert len(here.transport._links) == 16
        there.transport.listen(address)
        there.inbox.wait(41)
        assert "unused for longest" in caplog.text

    def test_idle_links_are_closed(self, make, address):
        """A link without traffic is closed after a while; the next send makes a new one."""
        here, there = make(Limits(idle=0.01)), make()
        there.transport.listen(address)
        here.transport.send(address, b"one")
        there.inbox.wait(1)
        until(lambda: not here.transport._links)
        here.transport.send(address, b"two")
        there.inbox.wait(2)

    def test_hundreds_of_peers(self, make):
        """Three hundred listeners at once each get their datagram and answer it."""
        here, there = make(), make(echo=True)
        urls = [f"inproc://member-{number}" for number in range(300)]
        for url in urls:
            there.transport.listen(url)
        for url in urls:
            here.transport.send(url, url.encode())
        here.inbox.wait(300)
        assert sorted(here.inbox.data()) == sorted(b"re: " + url.encode() for url in urls)

    def test_an_idle_transport_sleeps(self, make, address):
        """With open connections and nothing to do, the thread takes next to no processor time."""
        here, there = make(), make(echo=True)
        there.transport.listen(address)
        here.transport.send(address, b"x")
        here.inbox.wait(1)
        fill(here, f"tcp://127.0.0.1:{free_port()}")
        before, began = time.process_time(), time.monotonic()
        until(lambda: time.monotonic() - began > 0.5)
        # until() itself wakes 500 times a second.
        assert time.process_time() - before < 0.25


def test_a_transport_that_never_started_closes():
    """Close without start is no error."""
    ZeroMQTransport().close()
