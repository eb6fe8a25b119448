"""The bad network does what it is told, to whom it is told."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.proxy import BACK, THERE, Faults, Proxy, owner

GREETING = b"g" * 64
MESSAGE = b"\x02\x00\x00\x00\x00\x00\x00\x10\x00" + b"x" * 4096
"""One frame of 4 kB, with nothing after it."""


@contextmanager
def echo(proxied: Faults) -> Iterator[tuple[Proxy, socket.socket]]:
    """A server that sends back what it gets, and a connection to it through the proxy."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    while data := connection.recv(65536):
                        connection.sendall(data)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        with Proxy(f"tcp://127.0.0.1:{listener.getsockname()[1]}", proxied) as proxy:
            host, _, port = proxy.url.removeprefix("tcp://").rpartition(":")
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                yield proxy, connection
        thread.join()


def whole(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("it ended")
        data += part
    return data


def talk(connection: socket.socket) -> float:
    """Send the message and get it back; the seconds it took."""
    began = time.monotonic()
    connection.sendall(MESSAGE)
    assert whole(connection, len(MESSAGE)) == MESSAGE
    return time.monotonic() - began


def test_a_good_network() -> None:
    """What goes in comes out."""
    with echo(Faults()) as (proxy, connection):
        connection.sendall(GREETING)
        assert whole(connection, 64) == GREETING
        talk(connection)
        assert not proxy.done


def test_a_slow_link() -> None:
    """4 kB at 20 kB a second need a fifth of a second, in each direction."""
    with echo(Faults()) as (proxy, connection):
        connection.sendall(GREETING)
        whole(connection, 64)
        proxy.faults = Faults(rate=20_000)
        assert talk(connection) >= 0.35
        assert proxy.done["slowed"]


@pytest.mark.parametrize("direction", [THERE, BACK])
def test_a_link_that_goes_one_way(direction: str) -> None:
    """What is held comes later, whole, once it is not held any more."""
    with echo(Faults()) as (proxy, connection):
        connection.sendall(GREETING)
        whole(connection, 64)
        proxy.faults = Faults(held=(direction,))
        connection.sendall(MESSAGE)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.faults = Faults()
        connection.settimeout(10)
        assert whole(connection, len(MESSAGE)) == MESSAGE


def test_faults_of_one_session_only() -> None:
    """A judge is asked with the session of whoever connected; who is reset finds the connection broken."""
    asked = []

    def judge(session: int) -> Faults:
        asked.append(session)
        return Faults()

    with echo(judge) as (proxy, connection):
        connection.sendall(GREETING)
        whole(connection, 64)
        talk(connection)
        assert set(asked) == {os.getsid(0)}
        proxy.reset(os.getsid(0) + 1)
        talk(connection)
        proxy.reset(os.getsid(0))
        with pytest.raises(OSError, match=r"reset|ended"):
            talk(connection)


def test_the_owner_of_a_port() -> None:
    """Whose connection it is; no one's is None."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as one:
        assert owner(one.getsockname()[1]) == os.getpid()
        port = one.getsockname()[1]
    assert owner(port) is None
