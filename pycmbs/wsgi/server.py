"""The HTTP server: eventlet's WSGI server with the settings its defaults get wrong. One of two modules that know eventlet."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import eventlet
import eventlet.greenio
import eventlet.wsgi
from eventlet.hubs import trampoline

from pycmbs.wsgi.errors import protocol_refusal

log = logging.getLogger(__name__)

_KEEP_ALIVE_SECONDS = 75
_HEADER_SECONDS = 60
_MOST_CONNECTIONS = 10_000  # the default of 1024 lets the next client hang without a word
_BACKLOG = 1024
_LINGER_SECONDS = 2.0

_SENTENCES = {
    b"Header Line Too Long": (431, "a header of the request is longer than 8191 bytes"),
    b"Headers Too Large": (431, "the headers of the request are larger than 65536 bytes"),
    b"Request URI Too Long": (414, "the URL is longer than 8191 bytes"),
    b"Bad Request": (400, "the Content-Length is not a number, or is there beside a Transfer-Encoding"),
}
"""What eventlet refuses, by the reason in its status line."""


class _Answers:
    """The file that answers are written to. eventlet calls ``write`` only for refusals of its own, which say nothing."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.refused = False

    def write(self, data: bytes) -> int:
        """Writes a refusal, in the broker's words."""
        reason = data.partition(b"\r\n")[0].partition(b" ")[2].partition(b" ")[2]
        self.refused = True
        if reason in _SENTENCES:
            data = protocol_refusal(*_SENTENCES[reason])
        written: int = self._file.write(data)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Protocol(eventlet.wsgi.HttpProtocol):  # type: ignore[misc] # eventlet is untyped
    """HTTP, where every refusal has the broker's error body and reaches its client."""

    def setup(self) -> None:
        """Opens the connection's files."""
        super().setup()
        self.wfile: _Answers = _Answers(self.wfile)

    def handle_one_request(self) -> None:
        """One request, and after one that waited for nothing the others' turn: a connection whose next one is always there
        would keep them out. A write has waited for its commit."""
        super().handle_one_request()
        if getattr(self, "command", None) in ("GET", "HEAD"):
            eventlet.sleep(0)

    def parse_request(self) -> bool:
        """Refuses, too, what another server on the way could take for a body of another length (RFC 9112 6.3)."""
        if not super().parse_request():
            self.close_connection = True
            return False
        lengths = set(self.headers.get_all("Content-Length", ()))
        if len(lengths) > 1 or not all(one.isascii() and one.isdigit() for one in lengths):
            said = ", ".join(sorted(lengths))
            self.send_error(400, f"the Content-Length {said[:40]!r} is not a number")
            return False
        encodings = self.headers.get_all("Transfer-Encoding", ())
        if encodings and [one.strip().lower() for one in encodings] != ["chunked"]:
            self.send_error(501, f"the Transfer-Encoding {', '.join(encodings)[:40]!r} is not chunked")
            return False
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses while it parses."""
        del explain
        self.close_connection = True
        self.wfile.write(protocol_refusal(code, (message or "this is not HTTP")[:300]))

    def finish(self) -> None:
        """Reads what was left unread before closing, for a while: a connection closed over it loses the answer."""
        if self._unread():
            with contextlib.suppress(OSError), eventlet.Timeout(_LINGER_SECONDS, False):
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_WR)
                while self.connection.recv(65536):
                    pass
        super().finish()

    def _unread(self) -> bool:
        if self.wfile.refused:
            return True
        body = getattr(self, "environ", {}).get("eventlet.input")
        if body is None or not body.chunked_input:
            return body is not None and body.position < (body.content_length or 0)
        return bool(body.chunk_length)


def listen(host: str, port: int) -> eventlet.greenio.GreenSocket:
    """A listening socket that shares its port with the other front processes: the kernel spreads the connections, where a
    shared listening socket sometimes gives one process all of them. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    plain = socket.socket(family, socket.SOCK_STREAM)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    plain.bind((host, port))
    plain.listen(_BACKLOG)
    return eventlet.greenio.GreenSocket(plain)


def serve(
    listener: eventlet.greenio.GreenSocket,
    application: Callable[..., Any],
    *,
    started: Callable[[], None],
    drain_seconds: float,
) -> None:
    """Serve until SIGTERM, then let requests under way finish, for at most ``drain_seconds``.

    ``started`` is called once connections are accepted.
    """
    terminated = _termination_pipe()
    server = eventlet.spawn(
        eventlet.wsgi.server,
        listener,
        application,
        protocol=_Protocol,
        log=log,
        log_output=False,
        debug=False,  # or tracebacks go to clients
        max_size=_MOST_CONNECTIONS,
        keepalive=_KEEP_ALIVE_SECONDS,
        socket_timeout=_HEADER_SECONDS,
    )
    started()
    trampoline(terminated, read=True)
    log.info("draining")
    server.kill(SystemExit)  # its own way to stop: idle connections are closed, busy ones finish
    with eventlet.Timeout(drain_seconds, False):
        server.wait()


def _termination_pipe() -> int:
    """A descriptor that becomes readable at SIGTERM. A handler that talked to the hub would have to wait for its poll."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    return reader
