"""The control socket: frames on literal bytes, and calls over a real socket."""

import contextlib
import socket
import threading
from concurrent.futures import Future

import pytest

from pycmbs.control import client as calls
from pycmbs.control import fronts, once
from pycmbs.control.client import ControlClient
from pycmbs.control.frames import Frames, encode, short_path
from pycmbs.control.server import ControlServer
from pycmbs.errors import EngineUnavailable, RemoteError, SocketUnavailable
from pycmbs.runtime import ThreadRuntime
from tests.harness import wait_until


def received(data):
    """What is read from a connection that brings these bytes and ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return Frames(ours).next()


def test_a_frame_is_its_length_and_an_object():
    """Four bytes, big-endian, then JSON."""
    assert encode({"id": 1}) == b'\x00\x00\x00\x08{"id":1}'
    assert received(b'\x00\x00\x00\x08{"id":1}') == {"id": 1}


def test_frames_follow_each_other():
    """What was sent together comes one by one, wherever it was divided on its way."""
    ours, theirs = socket.socketpair()
    data = encode({"a": 1}) + encode({"b": 2})
    with ours, theirs:
        theirs.sendall(data[:-3])
        frames = Frames(ours)
        assert frames.next() == {"a": 1}
        theirs.sendall(data[-3:])
        assert frames.next() == {"b": 2}


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x00\x08{", b"\x00\x00\x00\x01"])
def test_a_frame_that_breaks_off_is_the_end(data):
    """A connection that ends within a frame, or before one, is a ConnectionError."""
    with pytest.raises(ConnectionError):
        received(data)


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x01{", b"\x00\x00\x00\x00", b"HTTP/1.1 200"]
)
def test_what_is_no_frame_is_refused(data):
    """Neither a frame without an object nor one of gigabytes is read."""
    with pytest.raises(ValueError, match=r"."):
        received(data)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "engine.sock"


@pytest.fixture
def serve(path):
    """Starts a server of some operations; all are closed in the end."""
    servers = []

    def start(operations=None, wake=lambda: None, at=path):
        server = ControlServer(at, operations or {}, wake)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def client(path):
    return ControlClient(path, ThreadRuntime())


def test_a_call_is_answered(serve, client):
    """The operation gets the parameters, the caller what it returned."""
    serve({"double": lambda parameters: {"value": parameters["value"] * 2}})
    assert client.call("double", {"value": 21}, seconds=5) == {"value": 42}


def test_calls_share_a_connection(serve, client):
    """However many there are at a time, each gets its own answer over the one connection."""
    server = serve({"echo": lambda parameters: parameters})
    answers = {}

    def ask(first):
        for n in range(first, first + 25):
            answers[n] = client.call("echo", {"n": n}, seconds=5)["n"]

    asking = [threading.Thread(target=ask, args=(25 * at,)) for at in range(8)]
    for one in asking:
        one.start()
    for one in asking:
        one.join(10)
    assert answers == {n: n for n in range(200)}
    assert len(server._connections) == 1


def test_calls_run_side_by_side(serve, client):
    """A slow call does not hold up another one."""
    release = threading.Event()
    serve({"slow": lambda _: {"waited": release.wait(10)}, "fast": lambda _: {}})
    answers = []
    slow = threading.Thread(target=lambda: answers.append(client.call("slow", {}, seconds=10)))
    slow.start()
    assert client.call("fast", {}, seconds=5) == {}
    release.set()
    slow.join(10)
    assert answers == [{"waited": True}]


def test_an_error_crosses_the_socket(serve, client):
    """What the engine raises is raised in the front, with its class, sentence, hint and data."""

    def fail(_parameters):
        raise SocketUnavailable("in use", hint="stop the other", url="tcp://h:1")

    serve({"start": fail})
    with pytest.raises(SocketUnavailable, match="in use") as caught:
        client.call("start", {}, seconds=5)
    assert (caught.value.hint, caught.value.data) == ("stop the other", {"url": "tcp://h:1"})


def test_a_fault_is_an_error_without_details(serve, client):
    """An operation that breaks is answered, with nothing of the traceback."""

    def fail(_parameters):
        raise ZeroDivisionError("secret")

    serve({"x": fail})
    with pytest.raises(Exception, match="the engine failed") as caught:
        client.call("x", {}, seconds=5)
    assert "secret" not in str(caught.value.to_dict())


def test_an_unknown_operation_is_answered(serve, client):
    """A front of another version hears that the engine does not know what it asks."""
    serve()
    with pytest.raises(EngineUnavailable, match="nonsense"):
        client.call("nonsense", {}, seconds=5)


def test_a_call_may_have_to_wait(serve, client):
    """An operation that returns a future is answered when that is done, and holds no worker meanwhile."""
    future = Future()
    serve({"wait": lambda _: future, "other": lambda _: {}})
    answers = []
    waiting = [threading.Thread(target=lambda: answers.append(client.call("wait", {}, seconds=10))) for _ in range(20)]
    for one in waiting:
        one.start()
    assert client.call("other", {}, seconds=5) == {}
    future.set_result({"done": True})
    for one in waiting:
        one.join(10)
    assert answers == [{"done": True}] * 20


def test_a_wake_up_reaches_the_engine(serve, client):
    """Waking needs no answer and never blocks."""
    woken = threading.Event()
    serve(wake=woken.set)
    client.wake()
    assert woken.wait(5)


def test_waking_nobody_is_no_error(client):
    """A lost wake-up costs a poll and nothing else."""
    assert client.wake() is None


def test_an_engine_that_is_not_there_is_unavailable(client):
    """The error says that trying again helps."""
    with pytest.raises(EngineUnavailable) as caught:
        client.call("x", {}, seconds=1)
    assert "try again" in caught.value.hint


def test_an_engine_that_does_not_answer_is_unavailable(serve, client):
    """A call ends with its deadline."""
    serve({"never": lambda _: Future()})
    with pytest.raises(EngineUnavailable):
        client.call("never", {}, seconds=0.1)


def test_an_engine_that_was_restarted_is_found_again(serve, client):
    """Connections of an earlier engine are dropped, and the call is made on a new one."""
    first = serve({"echo": lambda parameters: parameters})
    client.call("echo", {"n": 1}, seconds=5)
    first.close()
    serve({"echo": lambda parameters: parameters})
    assert client.call("echo", {"n": 2}, seconds=5) == {"n": 2}


def test_closing_ends_calls_under_way(serve, client):
    """A front does not wait for an engine that stops."""
    entered = threading.Event()
    server = serve({"never": lambda _: entered.set() or Future()})
    closer = threading.Thread(target=lambda: entered.wait(5) and server.close())
    closer.start()
    with pytest.raises(EngineUnavailable):
        client.call("never", {}, seconds=10)
    closer.join(5)


def test_junk_on_the_socket_ends_that_connection_alone(serve, client, path):
    """Who speaks something else is cut off, and the others are served."""
    serve({"echo": lambda parameters: parameters})
    with ThreadRuntime().connect_unix(str(path)) as junk:
        junk.sendall(b"\xff\xff\xff\xffGET / HTTP/1.1\r\n\r\n")
        junk.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert junk.recv(1) == b""
    assert client.call("echo", {"n": 1}, seconds=5) == {"n": 1}


def test_what_a_killed_engine_left_is_in_nobodys_way(serve, client, path):
    """A socket file of an earlier engine is replaced."""
    path.touch()
    serve({"echo": lambda parameters: parameters})
    assert client.call("echo", {}, seconds=5) == {}


def test_a_home_may_be_deep(serve, tmp_path):
    """A path longer than a socket address can hold (107 bytes) works like any other."""
    deep = tmp_path / ("a" * 60) / ("b" * 60) / ("c" * 60)
    deep.mkdir(parents=True)
    path = deep / "engine.sock"
    serve({"echo": lambda parameters: parameters}, at=path)
    client = ControlClient(path, ThreadRuntime())
    assert client.call("echo", {"n": 1}, seconds=5) == {"n": 1}
    with short_path(path) as name:
        assert len(name) <= 107


def test_a_future_that_fails_is_an_error(serve, client):
    """An operation that fails after it had to wait is answered with its error."""
    future = Future()
    future.set_exception(RemoteError("it went wrong"))
    serve({"wait": lambda _: future})
    with pytest.raises(RemoteError):
        client.call("wait", {}, seconds=0.5)


def test_calls_under_way_when_an_engine_ends_are_made_of_the_next(serve, client):
    """Operations may be repeated: who waits on an engine that is replaced is answered by the new one."""
    entered = threading.Event()
    first = serve({"wait": lambda _: entered.set() or Future()})
    answers = []

    def ask():
        with contextlib.suppress(EngineUnavailable):  # it may try again before there is another
            answers.append(client.call("wait", {}, seconds=10))

    calling = threading.Thread(target=ask)
    calling.start()
    assert entered.wait(5)
    first.close()
    serve({"wait": lambda _: {"second": True}})
    calling.join(10)
    assert answers in ([{"second": True}], [])
    assert client.call("wait", {}, seconds=5) == {"second": True}


def test_a_front_that_takes_no_answers_is_let_go(serve, path, monkeypatch):
    """One that has stopped holds up no one for longer than an answer may take, and not again."""
    monkeypatch.setattr(fronts, "_ANSWER_SECONDS", 1)
    large = "x" * 1_000_000
    server = serve({"echo": lambda _: {"large": large}, "small": lambda _: {}})
    with ThreadRuntime().connect_unix(str(path)) as stopped:
        stopped.sendall(encode({"id": 1, "operation": "echo"}) * 3)
        wait_until(lambda: not server._connections, what="the connection to be ended")
    assert ControlClient(path, ThreadRuntime()).call("small", {}, seconds=5) == {}


def test_what_nobody_takes_is_bounded(path):
    """An engine that has stopped gets a bounded number of calls to read later; more are refused at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stopped:
        stopped.bind(str(path))
        stopped.listen()
        client = ControlClient(path, ThreadRuntime())
        line = client._connected()
        line._sending = True  # as if what goes out were stuck
        for _ in range(calls._BOUND):
            line.send(b"")
        with pytest.raises(EngineUnavailable, match="does not take"):
            client.call("x", {}, seconds=5)


def test_who_has_an_answer_waits_for_no_front(serve, path, monkeypatch):
    """Delivering an answer to a front that has stopped takes no time; beyond a bound of bytes it is let go at once."""
    monkeypatch.setattr(fronts, "_ANSWER_SECONDS", 600)
    waiting = [Future() for _ in range(40)]
    asked = iter(waiting)
    server = serve({"wait": lambda _: next(asked)})
    with ThreadRuntime().connect_unix(str(path)) as stopped:
        stopped.sendall(encode({"id": 1, "operation": "wait"}) * len(waiting))
        wait_until(lambda: next(asked, None) is None, what="all calls to be taken")
        delivering = threading.Thread(target=lambda: [one.set_result({"large": "x" * 1_000_000}) for one in waiting])
        delivering.start()
        delivering.join(60)
        assert not delivering.is_alive()
        wait_until(lambda: not server._connections, what="the connection to be ended")


def test_a_handler_is_called_once_when_the_connection_breaks(serve, client):
    """A call that must not be done twice is asked after on the next connection, and not made again."""
    handled, outcome = [], Future()
    server = serve({"handle": lambda parameters: handled.append(parameters) or outcome})
    answers = []
    calling = threading.Thread(target=lambda: answers.append(client.call("handle", {"message": "m"}, seconds=30)))
    calling.start()
    wait_until(lambda: handled, what="the call to arrive")
    first = client._line
    for front in list(server._connections):
        front.close()
    wait_until(lambda: client._line is not first and server._connections, what="the next connection")
    outcome.set_result({"result": 42})
    calling.join(30)
    assert answers == [{"result": 42}]
    assert handled == [{"message": "m"}]
    assert client.call("handle", {"message": "m"}, seconds=30) == {"result": 42}
    assert len(handled) == 2  # another call is another call


def test_a_handler_is_not_called_again_by_the_next_engine(serve, client):
    """When the engine that was asked is gone, it is not known whether it was done, and so it is not done again."""
    handled = []
    server = serve({"handle": lambda parameters: handled.append(parameters) or Future()})
    failures = []

    def call():
        try:
            client.call("handle", {}, seconds=30)
        except EngineUnavailable as exc:
            failures.append(str(exc))

    calling = threading.Thread(target=call)
    calling.start()
    wait_until(lambda: handled, what="the call to arrive")
    server.close()
    serve({"handle": lambda parameters: handled.append(parameters) or Future()})
    calling.join(30)
    assert len(failures) == 1
    assert len(handled) == 1


def test_calls_that_are_over_are_forgotten_first(monkeypatch):
    """What is remembered of calls is bounded, and never those that are still under way."""
    monkeypatch.setattr(once, "_MOST", 2)
    calls_made = once.Once()
    open_, over = Future(), Future()
    over.set_result({})
    assert calls_made.perform("open", lambda: open_, again=False) is open_
    for key in ("a", "b", "c"):
        calls_made.perform(key, lambda: over, again=False)
    assert calls_made.perform("open", Future, again=True) is open_
    assert calls_made.perform("c", Future, again=True) is over
    with pytest.raises(EngineUnavailable, match="not known"):
        calls_made.perform("a", Future, again=True)


def test_too_many_calls_are_refused(serve, client, monkeypatch):
    """Calls that wait for a thread of the engine are bounded; one more is refused at once."""
    monkeypatch.setattr("pycmbs.control.server._MOST_CALLS", 2)
    release, begun = threading.Event(), threading.Semaphore(0)

    def wait(_):
        begun.release()
        return {"waited": release.wait(30)}

    serve({"slow": wait})
    slow = [threading.Thread(target=lambda: client.call("slow", {}, seconds=30)) for _ in range(2)]
    for one in slow:
        one.start()
    assert all(begun.acquire(timeout=30) for _ in slow)

    def refused():
        try:
            client.call("slow", {}, seconds=0.2)
        except EngineUnavailable as exc:
            return "already" in str(exc)

    wait_until(refused, what="a refusal")
    release.set()
    for one in slow:
        one.join(30)


def test_an_engine_that_is_frozen_is_unavailable_at_once(path, client):
    """An engine that has the connection and gives no sign of life is noticed long before the call's own deadline; then calls
    fail at once, until it is heard again."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(EngineUnavailable, match="no sign of life"):
            client.call("x", {}, seconds=600)
        assert client._line.frozen
        with pytest.raises(EngineUnavailable, match="no sign of life"):
            client.call("x", {}, seconds=600)
        engine, _ = listener.accept()
        with engine:
            frames = Frames(engine)
            assert [frames.next()["operation"] for _ in range(2)] == ["x", "beat"]
            engine.sendall(encode({}))
            wait_until(lambda: not client._line.frozen, what="the engine to be heard")
            calling = threading.Thread(target=lambda: client.call("x", {}, seconds=30))
            calling.start()
            engine.sendall(encode({"id": frames.next()["id"], "answer": {}}))
            calling.join(30)
            assert not calling.is_alive()


def test_an_engine_that_takes_its_time_is_not_frozen(serve, client):
    """A call may take long: the engine says meanwhile that it is there."""
    future = Future()
    serve({"wait": lambda _: future})
    threading.Timer(2 * calls._MOST_MISSED * calls._LOOK_SECONDS, lambda: future.set_result({"done": True})).start()
    assert client.call("wait", {}, seconds=60) == {"done": True}


def test_an_answer_that_is_no_json_is_an_error(serve, client):
    """Whoever waits for an answer gets one, whatever the operation returned."""
    serve({"odd": lambda _: {"odd": object()}})
    with pytest.raises(Exception, match="the engine failed"):
        client.call("odd", {}, seconds=60)
