"""HTTP/1.1 connections (RFC 9112), independent of server and socket."""

from __future__ import annotations

import functools
import io
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any, Protocol

from pycmbs.errors import CmbsError, HeadersTooLarge, InvalidRequest, RequestTimeout, UriTooLong
from pycmbs.metrics.table import ERRORS, HTTP_REQUESTS
from pycmbs.wsgi.body import Body, Source
from pycmbs.wsgi.errors import FAILED, protocol_refusal, status_of
from pycmbs.wsgi.head import MOST_HEAD, MOST_LINE, Head

log = logging.getLogger(__name__)

_SKIPPED = 65_536
"""Bytes of an unread body that are discarded to keep the connection open; with more left, it is closed."""
_HEAD_SECONDS = 60.0
"""For a whole head, however it is divided: a client that drips one holds its connection no longer."""
_BODILESS = ("1", "204", "304")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINE = re.compile(rb"\S+ \S+ HTTP/\S+\r")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Channel(Protocol):
    """A connected socket, as the server has it."""

    @property
    def closing(self) -> bool:
        """Whether the server wants the connection to end with the request that is under way."""

    def receive(self, *, idle: bool) -> bytes:
        """Wait for bytes; nothing when there will be none. ``idle``: between requests."""

    def send(self, data: bytes) -> None:
        """Send it all. Raises OSError."""

    def give_way(self) -> None:
        """Let the other connections have their turn."""

    def linger(self) -> None:
        """Nothing more is sent: read what is still coming, for a while. A connection that is closed over it loses the
        answer."""


class Connection:
    """Serves one client until one of both has enough."""

    def __init__(self, channel: Channel, application: Application, environ: dict[str, Any]) -> None:
        """``environ``: what of the WSGI environment depends on the connection."""
        self._channel = channel
        self._application = application
        self._environ = {
            "SCRIPT_NAME": "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            **environ,
        }
        self._source = Source(functools.partial(channel.receive, idle=False))

    def serve(self) -> None:
        """Answer requests until the connection ends."""
        try:
            while self._serve_one():
                pass
        except CmbsError as refused:
            ERRORS.count(refused.code)
            HTTP_REQUESTS.count("unread", "other", str(status_of(refused)))
            self._channel.send(protocol_refusal(refused))
            self._channel.linger()
        except OSError:
            log.debug("a client went away")

    def _serve_one(self) -> bool:
        """Answer one request; whether there may be another."""
        data = self._next_head()
        if not data:
            return False
        head = Head(data, self._environ)
        body = self._body(head)
        answer = _Answer(self._channel, head, keeps=lambda: self._keeps(head, body))
        answer.give(self._application)
        if body is not None and not body.finished:
            if answer.keep_alive:
                self._skip(body)
            if not body.finished:
                self._channel.linger()
                return False
        return answer.keep_alive

    def _next_head(self) -> bytes:
        """The next head; nothing when the client has no more requests. Raises InvalidRequest as soon as it can be seen to be
        none, UriTooLong, HeadersTooLarge, RequestTimeout."""
        source, idle, begun = self._source, True, time.monotonic()
        while source.buffer[:2] == b"\r\n":  # of an old client (RFC 9112 2.2)
            source.buffer = source.buffer[2:]
        if source.buffer:
            self._channel.give_way()
        searched = 0
        while True:
            buffer = source.buffer
            end = buffer.find(b"\r\n\r\n", searched) + 4
            if end == 3:
                end = _bare_end(buffer, searched)
            if end > 0 and not (buffer[:2] == b"\r\n" and end == 4):
                break
            if len(buffer) > MOST_HEAD:
                raise _too_large(buffer)
            idle = not buffer
            if not idle:
                _check_line(buffer)
                _check_time(begun)
            searched = max(0, len(buffer) - 3)
            piece = self._channel.receive(idle=idle)
            if not piece:
                return b""
            begun = time.monotonic() if idle else begun
            source.buffer = (buffer + piece).lstrip(b"\r\n") if idle else buffer + piece
        if end > MOST_HEAD or buffer.find(b"\n", 0, MOST_LINE + 2) < 0:
            raise _too_large(buffer)
        source.buffer = buffer[end:]
        return buffer[:end]

    def _body(self, head: Head) -> Body | None:
        """Makes the application's input; None when all of it is there already."""
        source, length = self._source, head.length
        if not head.chunked and len(source.buffer) >= length:
            head.environ["wsgi.input"] = io.BytesIO(source.buffer[:length])
            source.buffer = source.buffer[length:]
            return None
        go_on = (lambda: self._channel.send(b"HTTP/1.1 100 Continue\r\n\r\n")) if head.continues else None
        body = Body(source, length=None if head.chunked else length, go_on=go_on)
        head.environ["wsgi.input"] = io.BufferedReader(body)
        return body

    def _keeps(self, head: Head, body: Body | None) -> bool:
        """Whether the connection stays open after the answer, as of when that is sent."""
        if not head.keep_alive or self._channel.closing:
            return False
        if body is None or body.finished:
            return True
        return not body.late and body.small is not None and body.small <= _SKIPPED

    def _skip(self, body: Body) -> None:
        while body.read(_SKIPPED):
            pass


class _Answer:
    """One answer on its way."""

    def __init__(self, channel: Channel, head: Head, keeps: Callable[[], bool]) -> None:
        self._channel = channel
        self._head = head
        self._keeps = keeps
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._head_sent = False
        self._chunked = False
        self._silent = head.method == "HEAD"
        self.keep_alive = False

    def give(self, application: Application) -> None:
        """Have the application answer. Whatever it raises ends the connection, after a 500 if nothing was sent yet."""
        try:
            result = application(self._head.environ, self._start)
            try:
                self._send_all(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except OSError:
            raise
        except Exception:
            log.exception("an answer failed")
            self.keep_alive = False
            if not self._head_sent:
                self._channel.send(protocol_refusal(FAILED))

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        """WSGI's start_response."""
        if exc_info and self._head_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        self._status, self._headers = status, headers
        self._silent = self._silent or status.startswith(_BODILESS)
        return self._write

    def _send_all(self, result: Iterable[bytes]) -> None:
        if isinstance(result, list | tuple) and not self._head_sent:  # all of it is there: one send
            data = b"".join(result)
            self._channel.send(self._first(len(data)) + (b"" if self._silent else data))
            return
        for data in result:
            if data:
                self._write(data)
        if not self._head_sent:
            self._channel.send(self._first(0))
        elif self._chunked:
            self._channel.send(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        first = b"" if self._head_sent else self._first(None)
        if self._silent:
            data = b""
        elif self._chunked:
            data = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
        self._channel.send(first + data)

    def _first(self, length: int | None) -> bytes:
        """Status and headers. ``length``: of the body, if it is known."""
        self._head_sent = True
        lines = [f"HTTP/1.1 {self._status}", *[f"{name}: {value}" for name, value in self._headers]]
        said = "\n".join(lines).lower()
        sized, dated = "\ncontent-length:" in said, "\ndate:" in said
        self.keep_alive = self._keeps()
        if not sized and not self._silent:
            if length is not None:
                lines.append(f"Content-Length: {length}")
            elif self._head.old:
                self.keep_alive = False
            else:
                self._chunked = True
                lines.append("Transfer-Encoding: chunked")
        if not dated:
            lines.append(_date(int(time.time())))
        if not self.keep_alive:
            lines.append("Connection: close")
        elif self._head.old:
            lines.append("Connection: keep-alive")
        every = "".join(lines)
        if "\n" in every or "\r" in every:
            self._head_sent = False
            raise ValueError("a header of the answer has more than one line")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


@functools.lru_cache(maxsize=2)
def _date(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}"


def _check_time(begun: float) -> None:
    if time.monotonic() - begun > _HEAD_SECONDS:
        raise RequestTimeout(f"the head of the request was not complete within {_HEAD_SECONDS:g} s")


def _check_line(buffer: bytes) -> None:
    """Raises InvalidRequest for a head, not complete yet, that begins as none does: who speaks TLS here, or lets lines end
    without CR, waits for an answer that would never come."""
    line, newline, _ = buffer[: MOST_LINE + 2].partition(b"\n")
    if _CONTROL.search(line):
        raise InvalidRequest(
            "this is not HTTP: the request line has a control character", hint="Use http://, not https://."
        )
    if newline and not line.endswith(b"\r"):
        raise InvalidRequest("this is not HTTP: the request line ends without CR")
    if newline and not _LINE.fullmatch(line):
        Head(line + b"\n\r\n", {})  # most likely it knows better what is wrong
        raise InvalidRequest("this is not HTTP: the request line is not a method, target and version")


def _bare_end(buffer: bytes, searched: int) -> int:
    """Where a head ends whose lines end without CR: it will be refused, rather than waited for."""
    for end in (b"\n\n", b"\n\r\n"):
        at = buffer.find(end, searched)
        if at >= 0:
            return at + len(end)
    return 0


def _too_large(buffer: bytes) -> CmbsError:
    if buffer.find(b"\n", 0, MOST_LINE + 2) < 0:
        return UriTooLong(f"the URL is longer than {MOST_LINE} bytes")
    return HeadersTooLarge(f"the headers of the request are larger than {MOST_HEAD} bytes")
