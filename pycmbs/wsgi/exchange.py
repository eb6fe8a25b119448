"""One request and what handlers make of it: the parts they need, checked, and the answers they give."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from webob import Request, Response

from pycmbs.errors import InvalidRequest, TooLarge
from pycmbs.occi.rendering import Reader
from pycmbs.wsgi.negotiation import Rendition, reader

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_SAFE = "/~!$&'()*+,;=:@-._"


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of the URL."""

    action: str | None = None
    categories: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


class Exchange:
    """A request, read with care, and the answers it can get."""

    def __init__(self, request: Request, rendition: Rendition, *, max_body: int, base: str) -> None:
        """``base``: scheme and authority of the broker's URLs for a client whose Host header is none."""
        self.request = request
        self.rendition = rendition
        self._max_body = max_body
        self._base = base

    # What was asked

    @functools.cached_property
    def path(self) -> str:
        """The path, decoded. Raises InvalidRequest for one that is no text."""
        try:
            path = self.request.environ.get("PATH_INFO", "/").encode("latin-1").decode("utf-8")
        except UnicodeError as exc:
            raise InvalidRequest("the path is not UTF-8") from exc
        if not path.isprintable():
            raise InvalidRequest(f"the path {path[:200]!r} has a control character")
        return path or "/"

    @functools.cached_property
    def query(self) -> Query:
        """The parameters. Raises InvalidRequest for one that is not known: a mistyped filter must not select everything."""
        action, categories, attributes = None, [], []
        name = None
        try:
            items = list(self.request.GET.items())
        except UnicodeError as exc:
            raise InvalidRequest("the query is not UTF-8") from exc
        for key, value in items:
            if key == "action":
                action = value
            elif key == "category":
                categories.append(value)
            elif key == "attribute" and name is None:
                name = value
            elif key == "value" and name is not None:
                attributes.append((name, value))
                name = None
            else:
                raise InvalidRequest(
                    f"the query has no use for {key[:100]!r} here",
                    hint="It knows action=…, category=…, and attribute=…&value=… in pairs.",
                    parameter=key[:100],
                )
        if name is not None:
            raise InvalidRequest(f"attribute={name[:100]} has no value", hint="Add &value=….", parameter="value")
        return Query(action, tuple(categories), tuple(attributes))

    def refuse_action(self) -> None:
        """Raises InvalidRequest for ``?action=`` with a method that performs none: nothing would happen, silently."""
        if self.query.action is not None:
            raise InvalidRequest(f"{self.request.method} performs no action", hint="Use -X POST.", parameter="action")

    def refuse_parameters(self) -> None:
        """Raises InvalidRequest for any parameter, where none has a meaning."""
        self.refuse_action()
        if self.query.categories or self.query.attributes:
            raise InvalidRequest(f"{self.path} is one entity: there is nothing to filter", parameter="category")

    @functools.cached_property
    def body(self) -> bytes:
        """The whole body. Raises TooLarge without reading more than the limit, InvalidRequest when it breaks off."""
        length = self.request.environ.get("CONTENT_LENGTH") or ""
        chunked = "chunked" in self.request.environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        if not chunked and not length:
            return b""
        if length and not (length.isascii() and length.isdigit() and len(length) < 20):
            raise InvalidRequest(f"the Content-Length {length[:40]!r} is not a number")
        wanted = int(length) if length and not chunked else self._max_body + 1
        if length and int(length) > self._max_body:
            raise self._too_large()
        try:
            body: bytes = self.request.environ["wsgi.input"].read(wanted)
        except (OSError, ValueError) as exc:
            raise InvalidRequest(f"the body breaks off: {exc}") from exc
        if len(body) > self._max_body:
            raise self._too_large()
        if not chunked and len(body) < wanted:
            raise InvalidRequest(f"the body breaks off after {len(body)} of {wanted} bytes")
        return body

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than {self._max_body} bytes", hint="The setting max_body says how large it may be."
        )

    @property
    def reader(self) -> Reader:
        """The reader of the body. An empty one needs no type. Raises UnsupportedMediaType."""
        return reader(self._content_type() if self.body.strip() else "application/json")

    def _content_type(self) -> str | None:
        # The server puts text/plain where the header is missing, and that is a rendering of OCCI's own.
        raw = self.request.environ.get("headers_raw")
        if raw is None:
            found: str | None = self.request.environ.get("CONTENT_TYPE")
            return found
        return next((value for name, value in raw if name.lower() == "content-type"), None)

    # What is answered

    @functools.cached_property
    def base(self) -> str:
        """Scheme and authority, as the client used them."""
        host = self.request.environ.get("HTTP_HOST", "")
        if not _HOST.fullmatch(host):
            return self._base
        return f"{self.request.environ.get('wsgi.url_scheme', 'http')}://{host}"

    def url(self, path: str) -> str:
        """The URL of a path."""
        return self.base + quote(path, safe=_SAFE)

    def answer(self, body: bytes, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Response:
        """An answer in the rendition that was negotiated."""
        response = Response(body, status=status)
        response.headers["Content-Type"] = self.rendition.content_type
        for name, value in headers:
            response.headers[name] = value
        return response

    def report(self, document: dict[str, Any]) -> Response:
        """What an action had to tell."""
        return self.answer(self.rendition.writer.report(document, pretty=self.rendition.pretty))

    def listing(self, paths: Sequence[str]) -> Response:
        """A collection."""
        urls = [self.url(path) for path in paths]
        return self.answer(self.rendition.writer.listing(urls, pretty=self.rendition.pretty))

    def created(self, paths: Sequence[str]) -> Response:
        """What was made: all of it in the body, the first in the Location header (GFD.223 5.5.2)."""
        urls = [self.url(path) for path in paths]
        body = self.rendition.writer.created(urls, pretty=self.rendition.pretty)
        return self.answer(body, 201, [("Location", urls[0])])


def local_path(url: str) -> str:
    """The path of an entity from its URL or path as a client sent it."""
    return unquote(urlsplit(url).path) if "://" in url else unquote(url)
