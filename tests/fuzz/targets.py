"""What is fuzzed: functions of bytes that raise nothing, whatever the bytes are."""

from __future__ import annotations

import contextlib
import functools
import io
import ipaddress
import itertools
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from pycmbs.errors import CmbsError
from pycmbs.occi.rendering.fields import as_headers, from_headers
from pycmbs.occi.rendering.json_2012 import JsonWriter
from pycmbs.occi.rendering.json_reader import JsonReader
from pycmbs.occi.rendering.text import TextReader, TextWriter
from pycmbs.occi.rendering.uri_list import UriListReader
from pycmbs.runtime import ThreadRuntime
from pycmbs.services.access.users import Users
from pycmbs.transport import envelope as envelopes
from pycmbs.wsgi import auth
from pycmbs.wsgi.client_certificates import ClientCertificates
from pycmbs.wsgi.guard import Guard
from pycmbs.wsgi.head import Head
from pycmbs.wsgi.negotiation import rendition
from pycmbs.wsgi.preconditions import tags
from pycmbs.wsgi.tls import Certificates, Session
from tests.harness import EXAMPLES

SEEDS = Path(__file__).with_name("seeds")
BETWEEN = b"\n====\n"
"""Between the requests of one input."""


def text(data: bytes) -> None:
    """OCCI's fields, as a body and as headers; categories that were read are written so that they are read again."""
    reader = TextReader()
    _every_reading(reader, data)
    with contextlib.suppress(CmbsError):
        found = reader.categories(data)
        written = TextWriter().categories(found.categories, pretty=False)
        assert reader.categories(written) == found, written
        assert reader.categories(from_headers(as_headers(written))) == found, written


def json(data: bytes) -> None:
    """Both forms of JSON; categories that were read are written so that they are read again."""
    reader = JsonReader()
    _every_reading(reader, data)
    with contextlib.suppress(CmbsError):
        found = reader.categories(data)
        if found.categories:
            written = JsonWriter().categories(found.categories, pretty=False)
            again = reader.categories(written).categories
            assert sorted(again, key=repr) == sorted(found.categories, key=repr), written


def uri_list(data: bytes) -> None:
    """Lists of URLs."""
    _every_reading(UriListReader(), data)


def _every_reading(reader: Any, data: bytes) -> None:
    for read in (
        reader.categories,
        reader.category_names,
        reader.category_filter,
        reader.drafts,
        reader.entity_filter,
        reader.locations,
        lambda body: reader.invocation(body, "start"),
    ):
        with contextlib.suppress(CmbsError):
            read(data)


def negotiation(data: bytes) -> None:
    """Lines of headers: Accept, User-Agent, the type of what was sent, and entity tags."""
    accept, agent, sent, tag, *_ = [*data.decode("latin-1").split("\n"), "", "", "", ""]
    with contextlib.suppress(CmbsError):
        rendition(accept or None, agent, sent)
    tags(tag)


def envelope(data: bytes) -> None:
    """What members send each other."""
    with contextlib.suppress(CmbsError):
        envelopes.decode(data)


class _World:
    """A broker over the memory store with the model of the infrastructure, recreated now and then."""

    def __init__(self) -> None:
        # Not at the top: what is instrumented is imported first.
        from tests.wsgi.conftest import Front

        self._make = Front
        self._uses = 0
        self.application = self._fresh()

    def _fresh(self) -> Callable[..., Any]:
        front = self._make()
        for name in ("compute", "storage", "network"):
            body = (EXAMPLES / "infrastructure" / f"post_category_{name}.json").read_bytes()
            assert front.request("POST", "/-/", body).status_code == 200
        for name, path in (("storage", "/storage/"), ("network", "/network/"), ("compute_with_links", "/compute/")):
            body = (EXAMPLES / "infrastructure" / f"post_{name}.json").read_bytes()
            assert front.request("POST", path, body).status_code == 201
        application: Callable[..., Any] = front.application
        return application

    def ask(self, environ: dict[str, Any]) -> tuple[str, dict[str, str], bytes]:
        """Status, headers and body of an answer."""
        answered: list[Any] = []
        body = b"".join(self.application(environ, lambda status, headers: answered.extend((status, headers))))
        return answered[0], {name.lower(): value for name, value in answered[1]}, body

    def renew(self) -> None:
        """Start again, so that an input does not depend on the many before it."""
        self._uses += 1
        if self._uses % 50 == 0:
            self.application = self._fresh()


_worlds: list[_World] = []


def request(data: bytes) -> None:
    """Requests, one after the other: none is a 5xx, and what was made can be read and sent back in every rendering."""
    if not _worlds:
        _worlds.append(_World())
    world = _worlds[0]
    world.renew()
    for one in itertools.islice(data.split(BETWEEN), 4):
        for environ in _environ(one):
            status, headers, _ = world.ask(environ)
            assert status < "500" or status[:3] in ("501", "503"), (status, one)
            if status.startswith("201"):
                _there_and_back(world, headers["location"].partition("://")[2].partition("/")[2])


def _there_and_back(world: _World, path: str) -> None:
    for type in ("text/plain", "application/occi+json", "application/occi+json;version=1.2"):
        status, headers, body = world.ask(_asked("GET", f"/{path}", {"Accept": type}, b""))
        assert status.startswith("200"), (status, path, type)
        status, _, answer = world.ask(_asked("PUT", f"/{path}", {"Content-Type": headers["content-type"]}, body))
        assert status.startswith("200"), (status, path, type, body, answer)


def _environ(data: bytes) -> Iterator[dict[str, Any]]:
    """The request that a text is, or none: a line with method and target, lines with headers, an empty line, the body."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    method, _, target = first.partition(" ")
    if method.isalpha() and method.isascii() and target.startswith("/") and target.isprintable():
        pairs = (line.partition(":") for line in lines)
        yield _asked(method, target, {name.strip(): value.strip() for name, _, value in pairs if name.strip()}, body)


def _asked(method: str, target: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    path, _, query = target.partition("?")
    given = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    return {
        "HTTP_HOST": "localhost",
        **given,
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_TYPE": given.get("HTTP_CONTENT_TYPE", ""),
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
    }


def tls(data: bytes) -> None:
    """What a client sends that may know TLS: cut into pieces as large as its first bytes say, it is a handshake, or waits
    for more, or is an error of TLS."""
    sizes = [byte + 1 for byte in data[:4]] or [1]
    session = Session(_context())
    with contextlib.suppress(ssl.SSLError):
        for piece in _cut(data[4:], sizes):
            if session.ready:
                session.arrived(piece)
            else:
                session.shake(piece)
            session.outgoing()
    session.outgoing()
    session.farewell()


def _cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    for size in itertools.cycle(sizes):
        if not data:
            return
        yield data[:size]
        data = data[size:]


@functools.cache
def _context() -> ssl.SSLContext:
    from tests.certificates import Authority  # only this target needs what makes certificates

    with tempfile.TemporaryDirectory() as folder:
        cert, key = Authority(Path(folder)).issue("server")
        return Certificates(str(cert), str(key)).context


def head(data: bytes) -> None:
    """The head of a request, before anybody is asked who he is: it is one, or an error of the project's own."""
    with contextlib.suppress(CmbsError):
        Head(data, {})


def credentials(data: bytes) -> None:
    """Lines of Authorization, X-Auth-Token, X-Forwarded-For and Host: each request is someone's, or refused."""
    authorization, token, forwarded, host, *_ = [*data.decode("latin-1").split("\n"), "", "", "", ""]
    environ = {
        "REQUEST_METHOD": "GET", "REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": forwarded, "HTTP_HOST": host or "localhost",
        **({"HTTP_AUTHORIZATION": authorization} if authorization else {}), **({"HTTP_X_AUTH_TOKEN": token} if token else {}),
    }  # fmt: skip
    guard, ways = _door()
    with contextlib.suppress(CmbsError):
        guard.admit(environ)
        ipaddress.ip_address(environ["REMOTE_ADDR"])
        for way in ways:
            way.authenticate(environ)


@functools.cache
def _door() -> tuple[Guard, list[Any]]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from pycmbs.wsgi.jwt import WebTokens

    folder = Path(tempfile.mkdtemp())
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    (folder / "keys").write_bytes(
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    runtime = ThreadRuntime()
    given = {"issuer": "i", "audience": "a", "keys": str(folder / "keys"), "claim": "roles", "roles": "a=admin"}
    users = Users(folder)
    ways = [*auth.standard(users, runtime, folder), WebTokens.of(runtime, **given), ClientCertificates(users)]
    return Guard("http://localhost", proxies="10.0.0.0/8"), ways


TARGETS: dict[str, Callable[[bytes], None]] = {
    "text": text,
    "json": json,
    "uri_list": uri_list,
    "negotiation": negotiation,
    "envelope": envelope,
    "request": request,
    "tls": tls,
    "head": head,
    "credentials": credentials,
}


def seeds(target: str) -> list[Path]:
    """The folders with inputs that a target begins with."""
    own = [SEEDS / target] if (SEEDS / target).is_dir() else []
    return [*own, EXAMPLES, EXAMPLES / "infrastructure", EXAMPLES / "readme_2012"] if target == "json" else own
