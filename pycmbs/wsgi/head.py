"""The head of a request: its bytes checked and read by llhttp, the parser of Node.js, and what WSGI makes of it.

Where RFC 9112 leaves a choice between refusing and guessing, it is refused: two servers on one way must not see different
requests in the same bytes.
"""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from pycmbs.errors import (
    CmbsError,
    ExpectationFailed,
    HeadersTooLarge,
    InvalidRequest,
    NotImplementedHere,
    UnsupportedProtocol,
)

MOST_HEAD = 65_536
"""Bytes of a head."""
MOST_LINE = 8_191
"""Bytes of a request line."""
MOST_FIELDS = 100
RAW_PATH = "pycmbs.raw_path"
"""Where in the environment a path stands as it came, if something in it is encoded."""

_VERSIONS = ("1.1", "1.0")
_ANY_VERSION = re.compile(rb"\S+ \S+ HTTP/\d\.\d\r\n")
_ANY_METHOD = re.compile(rb"[A-Za-z][A-Za-z-]{0,30} \S+ HTTP/1\.[01]\r\n")
_CODING = re.compile(rb"\r\nTransfer-Encoding:[ \t]*([^\r\n]*)", re.IGNORECASE)
_CONTINUE = "100-continue"


class Head:
    """A request's head. What is not HTTP as it should be raises an error with which the connection ends: InvalidRequest,
    HeadersTooLarge, NotImplementedHere, UnsupportedProtocol, ExpectationFailed."""

    __slots__ = (
        "_complete",
        "_fields",
        "_target",
        "chunked",
        "continues",
        "environ",
        "keep_alive",
        "length",
        "method",
        "old",
    )

    def __init__(self, data: bytes, base: dict[str, Any]) -> None:
        """``data``: from the request line up to and with the blank line. ``base``: what of the WSGI environment is the same for
        all requests of a connection."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._target = b""
        self._complete = False
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # an offer that is not taken up (RFC 9110 7.8)
        except httptools.HttpParserError as exc:
            raise self._refusal(data, exc) from exc
        if not self._complete:
            raise InvalidRequest("this is not the head of an HTTP request")
        version = parser.get_http_version()
        if version not in _VERSIONS:
            raise UnsupportedProtocol(f"this is HTTP/{version}, and the broker speaks HTTP/1.1")
        self.old = version == "1.0"
        method = parser.get_method()
        if not data.startswith(b"%s %s HTTP/" % (method, self._target)):
            raise InvalidRequest("the request line has more than one space between its parts")
        self.method = method.decode("ascii")
        if self.method == "CONNECT":
            raise NotImplementedHere("the broker is not a proxy: there is no CONNECT")
        self.environ = environ = base.copy()
        environ["REQUEST_METHOD"] = self.method
        environ["SERVER_PROTOCOL"] = "HTTP/1.0" if self.old else "HTTP/1.1"
        hosts = self._read_fields()
        self._read_target()
        if hosts > 1 or (hosts == 0 and not self.old):
            raise InvalidRequest(f"the request has {hosts or 'no'} Host header{'s' * (hosts > 1)}, and must have one")
        self.chunked = self._is_chunked()
        self.length = int(environ.get("CONTENT_LENGTH", 0))
        self.keep_alive = self._stays_open()
        self.continues = self._waits()

    # What the parser calls

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """The end of the head."""
        self._complete = True

    # What it comes to

    def _refusal(self, data: bytes, error: Exception) -> CmbsError:
        line = data.partition(b"\r\n")[0] + b"\r\n"
        codings = _CODING.findall(data)
        if codings and "Transfer-Encoding" in str(error) and "Content-Length" not in str(error):
            return _not_chunked(b", ".join(codings).decode("latin-1"))
        if isinstance(error, httptools.HttpParserInvalidMethodError) and _ANY_METHOD.fullmatch(line):
            return NotImplementedHere(f"{line.partition(b' ')[0].decode()} is not a method of HTTP")
        if not self._fields and _ANY_VERSION.fullmatch(line) and b" HTTP/1." not in line:
            return UnsupportedProtocol("the broker speaks HTTP/1.1")
        return InvalidRequest(f"this is not HTTP: {error}"[:300])

    def _read_fields(self) -> int:
        """Into the environment; how many name a host."""
        if len(self._fields) > MOST_FIELDS:
            raise HeadersTooLarge(f"the request has more than {MOST_FIELDS} headers")
        environ, hosts = self.environ, 0
        for name, value in self._fields:
            key = _key(name)
            if key is None:
                continue
            text = value.strip(b" \t").decode("latin-1")
            if key == "HTTP_HOST":
                hosts += 1
            environ[key] = f"{environ[key]},{text}" if key in environ else text
        return hosts

    def _read_target(self) -> None:
        target, environ = self._target, self.environ
        if target[:4].lower() == b"http":  # a whole URL: its authority is the host (RFC 9112 3.2.2)
            scheme, _, rest = target.partition(b"://")
            host, slash, path = rest.partition(b"/")
            if scheme.lower() not in (b"http", b"https") or not host or b"?" in host:
                raise InvalidRequest("the request's target is not a URL")
            target = slash + path or b"/"
            environ["HTTP_HOST"] = host.decode("latin-1")
        elif target[:1] not in (b"/", b"*"):
            raise InvalidRequest("the request's target does not begin with '/'")
        path, _, query = target.partition(b"?")
        environ["QUERY_STRING"] = query.decode("latin-1")
        if b"%" in path:
            environ[RAW_PATH] = path.decode("latin-1")
            path = unquote_to_bytes(path)
        environ["PATH_INFO"] = path.decode("latin-1")

    def _is_chunked(self) -> bool:
        coding = self.environ.get("HTTP_TRANSFER_ENCODING")
        if coding is None:
            return False
        if self.old:
            raise InvalidRequest("HTTP/1.0 has no Transfer-Encoding")
        if coding.lower() != "chunked":
            raise _not_chunked(coding)
        if "CONTENT_LENGTH" in self.environ:
            raise InvalidRequest("there is a Content-Length beside a Transfer-Encoding")
        return True

    def _stays_open(self) -> bool:
        said = self.environ.get("HTTP_CONNECTION")
        if said is None:
            return not self.old
        words = {word.strip() for word in said.lower().split(",")}
        return "close" not in words and (not self.old or "keep-alive" in words)

    def _waits(self) -> bool:
        """Whether the client waits to be told to go on before it sends the body (RFC 9110 10.1.1)."""
        expected = self.environ.get("HTTP_EXPECT")
        if expected is None or self.old:
            return False
        if expected.lower() != _CONTINUE:
            raise ExpectationFailed(f"the broker cannot do what is expected: {expected[:100]!r}")
        return self.chunked or self.length > 0


def _not_chunked(coding: str) -> CmbsError:
    return NotImplementedHere(f"the Transfer-Encoding is {coding[:40]!r}, and the broker reads only a single 'chunked'")


@functools.lru_cache(maxsize=1024)
def _key(name: bytes) -> str | None:
    """The name of a field in the environment. None for one with an underscore, which would mean another field there."""
    if b"_" in name:
        return None
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
