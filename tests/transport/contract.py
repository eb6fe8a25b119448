"""The contract of a transport, as tests: a test class per implementation derives from :class:`TransportContract`."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pycmbs.errors import InvalidAddress, QueueFull, SocketUnavailable, UnknownKey
from pycmbs.transport.base import Arrival, Transport
from tests.transport.rings import Ring, acquainted

DEADLINE = 10.0
"""Seconds until a test gives up waiting for what must happen."""


class Collector:
    """A receiver that keeps what arrives, and lets a test wait for it."""

    def __init__(self):
        self.arrivals: list[Arrival] = []
        self.threads: set[str] = set()
        self._changed = threading.Condition()

    def __call__(self, arrivals: list[Arrival]) -> None:
        with self._changed:
            self.arrivals.extend(arrivals)
            self.threads.add(threading.current_thread().name)
            self._changed.notify_all()

    def wait(self, count: int, seconds: float = DEADLINE) -> list[Arrival]:
        """At least ``count`` arrivals, or the test fails."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self.arrivals) >= count, seconds)
        assert enough, f"{len(self.arrivals)} of {count} arrived within {seconds} s"
        return list(self.arrivals)

    def data(self) -> list[bytes]:
        return [arrival.data for arrival in self.arrivals]


class Node:
    """A started transport with its collecting receiver; ``echo`` makes it answer whatever is not an answer."""

    def __init__(self, transport: Transport, *, echo: bool = False):
        self.transport = transport
        self.inbox = Collector()
        transport.start(self._echo if echo else self.inbox)

    def _echo(self, arrivals):
        for arrival in arrivals:
            if not arrival.answer:
                self.transport.reply(arrival.peer, b"re: " + arrival.data)
        self.inbox(arrivals)


Make = Callable[..., Node]


def until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Wait for a condition that nothing announces, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        threading.Event().wait(0.002)


def fill(node: Node, url: str, data: bytes = b"x", most: int = 100_000) -> int:
    """Send until the bound towards ``url`` is reached; how many went in."""
    sent, refused = 0, None
    while refused is None:
        assert sent < most, f"no bound after {most} datagrams"
        try:
            node.transport.send(url, data)
            sent += 1
        except QueueFull as error:
            refused = error
    assert refused.data["url"] == url
    return sent


class TransportContract:
    """Give ``transport`` and ``new_address`` as fixtures: factories of a transport, and of addresses not in use."""

    @pytest.fixture
    def make(self, transport) -> Iterator[Make]:
        made: list[Node] = []

        def factory(**options) -> Node:
            made.append(Node(transport(), **options))
            return made[-1]

        yield factory
        for node in made:
            node.transport.close()

    @pytest.fixture
    def address(self, new_address) -> str:
        return new_address()

    def test_a_datagram_arrives_at_the_listener(self, make, address):
        """What is sent to a URL arrives where that URL is listened on, unchanged, and says so."""
        here, there = make(), make()
        there.transport.listen(address)
        here.transport.send(address, b"\0 hello \xff")
        [arrival] = there.inbox.wait(1)
        assert (arrival.address, arrival.data, arrival.answer) == (address, b"\0 hello \xff", False)
        hash(arrival.peer)

    def test_a_reply_reaches_the_sender(self, make, address):
        """An answer arrives at the sender, marked as one, under the URL that was sent to."""
        here, there = make(), make(echo=True)
        there.transport.listen(address)
        here.transport.send(address, b"hello")
        [answer] = here.inbox.wait(1)
        assert (answer.address, answer.data, answer.answer) == (address, b"re: hello", True)

    def test_a_send_takes_no_arrival_with_it(self, make, address):
        """However often something is sent just when something arrives, all that arrives is handed over at once."""
        here, there = make(), make(echo=True)
        there.transport.listen(address)
        for round in range(1, 501):
            here.transport.send(address, b"x")
            for _ in range(round % 50 * 5):  # the answer is about to come, or comes, or is there
                pass
            here.transport.send(address, b"x")
            here.inbox.wait(2 * round)

    def test_a_reply_reaches_the_right_sender(self, make, address):
        """With many senders, each gets the answers to its own datagrams and to no other's."""
        there = make(echo=True)
        there.transport.listen(address)
        senders = [make() for _ in range(5)]
        for number, sender in enumerate(senders):
            for _ in range(20):
                sender.transport.send(address, b"%d" % number)
        for number, sender in enumerate(senders):
            sender.inbox.wait(20)
            assert sender.inbox.data() == [b"re: %d" % number] * 20

    def test_an_answer_can_be_answered(self, make, address):
        """The peer of an answer is good for a reply too; that arrives at the listener."""
        here, there = make(), make(echo=True)
        there.transport.listen(address)
        here.transport.send(address, b"one")
        [answer] = here.inbox.wait(1)
        here.transport.reply(answer.peer, b"two")
        assert there.inbox.wait(2)[1].data == b"two"

    def test_a_transport_reaches_itself(self, make, address):
        """Sender and listener may be the same transport."""
        node = make(echo=True)
        node.transport.listen(address)
        node.transport.send(address, b"me")
        assert [arrival.data for arrival in node.inbox.wait(2)] == [b"me", b"re: me"]

    def test_datagrams_of_any_size_arrive(self, make, address):
        """An empty datagram, a byte and a megabyte arrive as they are."""
        here, there = make(), make()
        there.transport.listen(address)
        sent = [b"", b"\0", b"x" * 1_000_000]
        for data in sent:
            here.transport.send(address, data)
        there.inbox.wait(3)
        assert there.inbox.data() == sent

    def test_order_per_address(self, make, address):
        """10000 datagrams to one address arrive all, in the order they were sent in."""
        here, there = make(), make()
        there.transport.listen(address)
        for number in range(10_000):
            self._send_when_possible(here, address, b"%d" % number)
        there.inbox.wait(10_000, 30)
        assert there.inbox.data() == [b"%d" % number for number in range(10_000)]

    def test_many_threads_may_send(self, make, address):
        """What many threads send at once arrives all, once, and in order per thread."""
        here, there = make(), make()
        there.transport.listen(address)

        def work(name):
            for number in range(300):
                self._send_when_possible(here, address, b"%d %d" % (name, number))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        there.inbox.wait(1800)
        for name in range(6):
            mine = [data for data in there.inbox.data() if data.startswith(b"%d " % name)]
            assert mine == [b"%d %d" % (name, number) for number in range(300)]

    def test_listen_is_idempotent(self, make, address):
        """Listening twice is listening once: each datagram arrives once, and one unlisten ends it."""
        here, there, other = make(), make(), make()
        there.transport.listen(address)
        there.transport.listen(address)
        here.transport.send(address, b"once")
        there.inbox.wait(1)
        there.transport.unlisten(address)
        there.transport.unlisten(address)
        other.transport.listen(address)
        assert there.inbox.data() == [b"once"]

    def test_an_address_in_use_is_refused_at_once(self, make, address):
        """Listening where someone else does raises SocketUnavailable with URL and reason, and the other keeps it."""
        here, there, late = make(), make(), make()
        there.transport.listen(address)
        began = time.monotonic()
        with pytest.raises(SocketUnavailable, match="address already in use") as caught:
            late.transport.listen(address)
        assert time.monotonic() - began < 5
        assert caught.value.data["url"] == address
        here.transport.send(address, b"still here")
        there.inbox.wait(1)

    def test_an_address_is_free_after_unlisten(self, make, address):
        """On return of unlisten another can listen there, twenty times in a row."""
        nodes = [make(), make()]
        for turn in range(20):
            nodes[turn % 2].transport.listen(address)
            nodes[turn % 2].transport.unlisten(address)

    def test_nothing_arrives_after_unlisten(self, make, new_address):
        """What is sent to an address after its unlisten doesn't arrive, while other addresses go on."""
        gone, kept = new_address(), new_address()
        here, there = make(), make()
        there.transport.listen(gone)
        there.transport.listen(kept)
        here.transport.send(gone, b"before")
        there.inbox.wait(1)
        there.transport.unlisten(gone)
        here.transport.send(gone, b"after")
        here.transport.send(kept, b"fence")
        there.inbox.wait(2)
        assert there.inbox.data() == [b"before", b"fence"]

    def test_unlisten_while_traffic_flows(self, make, address):
        """Unlisten under load returns, and not one arrival comes after it."""
        here, there = make(), make()
        stop = threading.Event()

        def work():
            while not stop.is_set():
                self._send_when_possible(here, address, b"load", stop)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for _ in range(5):
                there.transport.listen(address)
                there.inbox.wait(len(there.inbox.arrivals) + 100)
                there.transport.unlisten(address)
                count = len(there.inbox.arrivals)
                make().transport.unlisten(address)  # something that takes a moment
                assert len(there.inbox.arrivals) == count
        finally:
            stop.set()
            thread.join(DEADLINE)

    def test_what_was_sent_before_the_listener_came_arrives(self, make, address):
        """A datagram for an address where no one listens yet waits, within the bound."""
        here, there = make(), make()
        here.transport.send(address, b"early")
        there.transport.listen(address)
        assert there.inbox.wait(1)[0].data == b"early"

    def test_the_queue_towards_an_address_is_bounded(self, make, new_address):
        """Where no one listens, send raises QueueFull in the end; other addresses are not concerned."""
        dead, alive = new_address(), new_address()
        here, there = make(), make()
        there.transport.listen(alive)
        assert fill(here, dead) >= 10
        here.transport.send(alive, b"fine")
        there.inbox.wait(1)

    def test_forget_drops_what_is_queued(self, make, address):
        """After forget, what was queued is gone, and what is sent next arrives."""
        here, there = make(), make()
        fill(here, address, b"old")
        here.transport.forget(address)
        here.transport.send(address, b"new")
        there.transport.listen(address)
        there.inbox.wait(1)
        assert there.inbox.data() == [b"new"]

    def test_forget_is_idempotent(self, make, address):
        """To forget an address never sent to, or twice, is no error."""
        here = make()
        here.transport.forget(address)
        here.transport.send(address, b"x")
        here.transport.forget(address)
        here.transport.forget(address)

    def test_a_sender_reaches_the_next_listener(self, make, address):
        """When a listener goes and another comes at the same address, later datagrams reach the new one."""
        here, first, second = make(), make(), make(echo=True)
        first.transport.listen(address)
        here.transport.send(address, b"one")
        first.inbox.wait(1)
        first.transport.close()
        second.transport.listen(address)

        def answered():
            # At most once: what was under way may be lost, so say it again, as the layer above does.
            self._send_when_possible(here, address, b"two")
            return second.inbox.arrivals and here.inbox.arrivals

        until(answered)
        assert set(second.inbox.data()) == {b"two"}

    def test_a_reply_to_who_is_gone_is_lost_silently(self, make, address):
        """A reply whose sender has closed raises nothing, and the listener goes on."""
        here, there, other = make(), make(), make()
        there.transport.listen(address)
        here.transport.send(address, b"x")
        [arrival] = there.inbox.wait(1)
        here.transport.close()
        there.transport.reply(arrival.peer, b"anybody?")
        there.transport.unlisten(address)
        there.transport.reply(arrival.peer, b"anybody?")
        there.transport.listen(address)
        other.transport.send(address, b"y")
        there.inbox.wait(2)

    def test_a_reply_to_nonsense_is_lost_silently(self, make, address):
        """A peer that never was raises nothing."""
        node = make()
        for peer in (None, "", ("a", "b", "c"), (address, b"\0nobody"), ("dealer", 7)):
            node.transport.reply(peer, b"x")

    def test_a_failing_receiver_does_not_stop_the_transport(self, transport, make, address, caplog):
        """When the receiver raises, that is logged, and later datagrams still arrive."""
        seen = []

        def receiver(arrivals):
            seen.extend(arrivals)
            if len(seen) == 1:
                raise ValueError("on purpose")

        there, here = transport(), make()
        there.start(receiver)
        try:
            there.listen(address)
            here.transport.send(address, b"one")
            until(lambda: len(seen) == 1)
            here.transport.send(address, b"two")
            until(lambda: len(seen) == 2)
        finally:
            there.close()
        assert "receiver failed" in caplog.text

    def test_every_method_may_be_called_by_the_receiver(self, transport, make, new_address):
        """The receiver runs on the transport's own thread and may call each method there without a deadlock."""
        address, another, sink = new_address(), new_address(), new_address()
        there, here, third = transport(), make(), make()
        third.transport.listen(sink)
        done = threading.Event()

        def receiver(arrivals):
            there.listen(another)
            there.unlisten(another)
            there.forget(another)
            there.send(sink, b"from the receiver")
            there.reply(arrivals[0].peer, b"answer")
            done.set()

        there.start(receiver)
        try:
            there.listen(address)
            here.transport.send(address, b"go")
            assert done.wait(DEADLINE)
            here.inbox.wait(1)
            third.inbox.wait(1)
        finally:
            there.close()

    def test_close_may_be_called_by_the_receiver(self, transport, make, address):
        """To close a transport from its receiver ends it without a deadlock, and frees its addresses."""
        there, here = transport(), make()
        there.start(lambda arrivals: there.close())
        there.listen(address)
        here.transport.send(address, b"go")
        late = make()

        def free():
            try:
                late.transport.listen(address)
            except SocketUnavailable:
                return False
            return True

        until(free)

    def test_one_thread_delivers(self, make, new_address):
        """The receiver is called on one thread of the transport's own, whatever the address."""
        here, there = make(), make()
        for url in (new_address(), new_address()):
            there.transport.listen(url)
            here.transport.send(url, b"x")
        there.inbox.wait(2)
        assert len(there.inbox.threads) == 1
        assert threading.current_thread().name not in there.inbox.threads

    def test_close_frees_and_is_idempotent(self, make, address):
        """Close may be called twice; on its return the address is free and nothing arrives any more."""
        here, there, late = make(), make(), make()
        there.transport.listen(address)
        here.transport.send(address, b"one")
        there.inbox.wait(1)
        there.transport.close()
        there.transport.close()
        late.transport.listen(address)
        here.transport.forget(address)
        here.transport.send(address, b"two")
        late.inbox.wait(1)
        assert there.inbox.data() == [b"one"]

    def test_close_does_not_wait_for_what_is_unsent(self, make, address):
        """Close returns within two seconds though a full queue waits for no one."""
        here = make()
        fill(here, address)
        began = time.monotonic()
        here.transport.close()
        assert time.monotonic() - began < 5

    def test_no_method_of_a_closed_transport_hangs(self, make, address):
        """After close, sends vanish, listen is refused, the rest does nothing."""
        node = make()
        node.transport.close()
        node.transport.send(address, b"x")
        node.transport.reply(("dealer", address), b"x")
        node.transport.forget(address)
        node.transport.unlisten(address)
        with pytest.raises(SocketUnavailable):
            node.transport.listen(address)

    @pytest.mark.parametrize(
        "url", ["", "nonsense", "gopher://x:1", "tcp://", "tcp://*:1", "memory:", "ipc://", "inproc://"]
    )
    def test_what_is_no_address_is_refused(self, make, url):
        """Each method that takes a URL raises InvalidAddress for what is none."""
        transport = make().transport
        for refuse in (
            transport.listen,
            transport.unlisten,
            transport.forget,
            lambda url: transport.send(url, b""),
        ):
            with pytest.raises(InvalidAddress):
                refuse(url)

    def test_it_says_which_schemes_it_serves(self, transport, address):
        """Of the addresses that it takes."""
        assert address.partition(":")[0] in transport().schemes

    @staticmethod
    def _send_when_possible(node, url, data, stop=None):
        """Send; at the bound, wait until there is room."""
        end = time.monotonic() + 30
        while stop is None or not stop.is_set():
            try:
                node.transport.send(url, data)
            except QueueFull:
                assert time.monotonic() < end, "the queue stays full"
                threading.Event().wait(0.001)
            else:
                return


class KeyedContract:
    """Give ``keyed``, a factory of transports that are given a ring of keys, and ``address``, as fixtures."""

    @pytest.fixture
    def join(self, keyed) -> Iterator[Callable[..., Node]]:
        made: list[Node] = []

        def factory(ring, **options) -> Node:
            made.append(Node(keyed(ring), **options))
            return made[-1]

        yield factory
        for node in made:
            node.transport.close()

    def test_an_arrival_says_who_sent_it(self, join, address):
        """By its key, both ways round."""
        a, b = acquainted("a", "b")
        here, there = join(a), join(b, echo=True)
        there.transport.listen(address)
        here.transport.send(address, b"x", peer="b")
        assert [one.who for one in here.inbox.wait(1)] == ["b"]
        assert [one.who for one in there.inbox.wait(1)] == ["a"]

    def test_a_member_reaches_itself(self, join, address):
        """Its own key is its own member's."""
        node = join(Ring("a"), echo=True)
        node.transport.listen(address)
        node.transport.send(address, b"x", peer="a")
        assert [one.who for one in node.inbox.wait(2)] == ["a", "a"]

    def test_a_stranger_is_not_heard(self, join, address):
        """Whose key is not known, and who has none, delivers nothing; those beside it do."""
        a, b, x = acquainted("a", "b", "x")
        b.knows(a)
        there, stranger, here = join(b), join(x), join(a)
        there.transport.listen(address)
        stranger.transport.send(address, b"forged", peer="b")
        plain = join(None)
        plain.transport.send(address, b"plain")
        here.transport.send(address, b"x", peer="b")
        there.inbox.wait(1)
        for _ in range(20):
            here.transport.send(address, b"x", peer="b")
        there.inbox.wait(21)
        assert set(there.inbox.data()) == {b"x"}

    def test_a_new_key_is_used_once_that_is_said(self, join, address):
        """To listen and to connect; who knows that key reaches it, and is reached, at the same address."""
        a, b = acquainted("a", "b")
        here, there = join(a), join(b, echo=True)
        there.transport.listen(address)
        here.transport.send(address, b"1", peer="b")
        here.inbox.wait(1)
        new = Ring("b")
        b.public, b.secret = new.public, new.secret
        there.transport.rekey()
        a.knows(b)
        here.transport.send(address, b"2", peer="b")
        assert [one.who for one in here.inbox.wait(2)] == ["b", "b"]
        assert [one.who for one in there.inbox.wait(2)] == ["a", "a"]

    def test_whose_key_was_withdrawn_is_not_heard(self, join, address):
        """At once, on a connection that is open; and heard again when it is known again."""
        a, b, c = acquainted("a", "b", "c")
        there, here, beside = join(b, echo=True), join(a), join(c)
        there.transport.listen(address)
        here.transport.send(address, b"1", peer="b")
        here.inbox.wait(1)
        b.knows(c)
        here.transport.send(address, b"2", peer="b")
        for number in range(20):
            beside.transport.send(address, b"beside", peer="b")
            beside.inbox.wait(number + 1)
        assert b"2" not in there.inbox.data()
        b.knows(a, c)
        until(lambda: here.transport.send(address, b"3", peer="b") is not None and b"3" in there.inbox.data())

    def test_answers_of_whose_key_was_withdrawn_are_not_heard(self, join, address):
        """Who listens is known by its key as well."""
        a, b = acquainted("a", "b")
        here, there = join(a), join(b)
        there.transport.listen(address)
        here.transport.send(address, b"x", peer="b")
        [arrival] = there.inbox.wait(1)
        asked = []

        def who(key):  # withdrawn until it was asked for
            asked.append(key)
            return "b" if len(asked) > 1 else None

        a.who = who
        there.transport.reply(arrival.peer, b"forged")
        until(lambda: asked)
        there.transport.reply(arrival.peer, b"answer")
        here.inbox.wait(1)
        assert here.inbox.data() == [b"answer"]

    def test_another_one_at_the_address_gets_nothing(self, join, address):
        """What is for a member reaches only who has its key, whoever listens there."""
        a, _, c = acquainted("a", "b", "c")
        here, there = join(a), join(c)
        there.transport.listen(address)
        here.transport.send(address, b"for b", peer="b")
        here.transport.send(address, b"for c", peer="c")
        there.inbox.wait(1)
        for _ in range(20):
            here.transport.send(address, b"for c", peer="c")
        there.inbox.wait(21)
        assert set(there.inbox.data()) == {b"for c"}

    def test_nothing_is_sent_to_who_is_not_known(self, join, address):
        """The sender is told."""
        with pytest.raises(UnknownKey):
            join(Ring("a")).transport.send(address, b"x", peer="b")
