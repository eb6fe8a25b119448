"""A pool of connections to a CouchDB server, with a deadline for a whole call.

A socket's own timeout is for one operation: a server that sends a byte now and then keeps a call for as long as it likes. So
the sockets here have an end, and what is left until then is the timeout of their next operation.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
import threading
import time
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import couchdb.http

_MOST_IDLE = 32
_LONGEST_IDLE = 2.0
"""Seconds. Servers close what is idle, some after five; a request that crosses with that is lost, and may have been done."""


class _EndingSocket(socket.socket):
    """A socket whose operations are over at ``ends``, on the monotonic clock. An answer is read with ``recv_into``."""

    ends = math.inf
    idle_since = 0.0
    """On the same clock: when it was given back."""

    def _limit(self) -> None:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left if left < math.inf else None)

    def recv_into(self, *arguments: Any) -> int:
        self._limit()
        return super().recv_into(*arguments)

    def send(self, *arguments: Any) -> int:
        self._limit()
        return super().send(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self._limit()
        super().sendall(*arguments)


class _EndingTlsSocket(_EndingSocket, ssl.SSLSocket):
    """The same over TLS."""


class ErrorAnswer(Exception):
    """An answer with a status from 400 on. ``args``: the status, and the body as it is."""


class _Reading(HTTPConnection):
    """A connection whose error answers are read whole and raised: CouchDB-Python takes each for an object with two names, and
    loses what a server says in any other way."""

    def getresponse(self) -> HTTPResponse:
        response = super().getresponse()
        if response.status >= 400:
            raise ErrorAnswer(response.status, response.read())
        return response


class _ReadingTls(_Reading, HTTPSConnection):
    """The same over TLS."""


class Pool(couchdb.http.ConnectionPool):  # type: ignore[misc]
    """Connections kept alive, at most so many idle; one that the server closed is not handed out."""

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)
        self.timeout: float
        self._using = threading.local()

    def begin(self) -> None:
        """This thread's call begins: from now on it has its time."""
        self._using.ends = time.monotonic() + self.timeout

    def get(self, url: str) -> HTTPConnection:
        """See CouchDB-Python."""
        parts = urlsplit(url)
        while True:
            with self.lock:
                idle = self.conns.setdefault((parts.scheme, parts.netloc), [])
                kept: HTTPConnection | None = idle.pop() if idle else None
            if kept is None or _is_fresh(kept):
                connection = kept or self._connected(parts.scheme, parts.netloc)
                sock: Any = connection.sock
                sock.ends = self._using.ends
                self._using.connection, self._using.url = connection, url
                return connection
            kept.close()

    def _connected(self, scheme: str, host: str) -> HTTPConnection:
        if scheme == "https":
            context = ssl.create_default_context()
            context.sslsocket_class = _EndingTlsSocket
            connection: HTTPConnection = _ReadingTls(host, timeout=self.timeout, context=context)
            connection.connect()
        else:
            connection = _Reading(host, timeout=self.timeout)
            connection.connect()
            connection.sock = _EndingSocket(fileno=connection.sock.detach())
        return connection

    def release(self, url: str, connection: HTTPConnection) -> None:
        """See CouchDB-Python."""
        self._using.connection = None
        sock: Any = connection.sock
        if sock is not None:
            sock.idle_since = time.monotonic()
        super().release(url, connection)
        with self.lock:
            surplus = [conns.pop(0) for conns in self.conns.values() if len(conns) > _MOST_IDLE]
        for one in surplus:
            one.close()

    def keep(self) -> None:
        """Give back the connection that this thread used, its answer being read."""
        connection = getattr(self._using, "connection", None)
        if connection is not None:
            self.release(self._using.url, connection)

    def discard(self) -> None:
        """Close the connection that this thread's failed request used."""
        connection = getattr(self._using, "connection", None)
        if connection is not None:
            self._using.connection = None
            connection.close()

    def close(self) -> None:
        """Close all that are idle."""
        with self.lock:
            idle = [one for conns in self.conns.values() for one in conns]
            self.conns.clear()
        for one in idle:
            one.close()


def _is_fresh(connection: HTTPConnection) -> bool:
    """Whether an idle connection can be used: not idle for long, and nothing to read, which would be its end."""
    sock: Any = connection.sock
    if sock is None or time.monotonic() - sock.idle_since > _LONGEST_IDLE:
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return not poll.poll(0)
