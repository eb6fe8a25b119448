"""A request with what handlers need to answer it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from webob import Response

from pycmbs.errors import PreconditionFailed, TooLarge
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.occi.rendering import EntityView
from pycmbs.occi.rendering import fields as f
from pycmbs.occi.rendering.cloud_events import event_of
from pycmbs.queues import Budget
from pycmbs.wsgi.negotiation import CLOUD_EVENT, DEFAULT, JSON, JSON_TYPES, PROBLEM, TEXT, URI_LIST, Rendition
from pycmbs.wsgi.preconditions import entity_tag, tags
from pycmbs.wsgi.question import Question

_SAFE = "/~!$&'()*+,;=:@-._"
_PLAIN = re.compile(r"[A-Za-z0-9/._-]*")
"""Paths in which there is nothing to quote, which most are."""
MOST_HEADERS = 8192
"""Bytes of fields in the headers of an answer (text/occi): with more, curl, Python or a proxy between refuses it."""
MOST_CATEGORIES = 61_440
"""The same for the categories, which have no pages, and which every client of text/occi begins with: Python takes 64 KiB."""
_LINES: dict[int, int | str] = {421: f"421 {HTTPStatus(421).phrase}"}
"""Statuses that webob has no words for."""
_READING = ("GET", "HEAD")


class Exchange(Question):
    """A request, and the answers it can get."""

    def __init__(self, environ: dict[str, Any], rendition: Rendition, *, max_body: int, bodies: Budget) -> None:
        """``rendition``: how it is answered; the others as for :class:`~pycmbs.wsgi.question.Question`."""
        super().__init__(environ, max_body=max_body, bodies=bodies)
        self.rendition = rendition

    def url(self, path: str) -> str:
        """The URL of a path."""
        return self.place.base + (path if _PLAIN.fullmatch(path) else quote(path, safe=_SAFE))

    def answer(
        self,
        body: bytes,
        status: int = 200,
        headers: Sequence[tuple[str, str]] = (),
        *,
        most: int = MOST_HEADERS,
    ) -> Response:
        """An answer in the rendition that was negotiated; ``most``: bytes of what is answered in headers. More is a change's
        answer in text/plain, and for a reading raises TooLarge."""
        if self.rendition.in_headers and status < 400:
            shown = f.as_headers(body)
            if sum(len(name) + len(value) for name, value in shown) <= most:
                headers, body = [*headers, *shown], b"OK\n"  # GFD.185 3.6.6.2
            elif self.method in _READING:
                raise TooLarge(
                    f"the answer does not fit into headers: it has more than {most} bytes, which clients and proxies refuse",
                    hint="Ask for a page with ?page=1&number=20, or Accept text/plain.",
                )
            else:
                self.rendition = DEFAULT
        fields = [("Content-Type", self._type_of(body, status)), ("Content-Length", str(len(body))), *headers]
        return Response(app_iter=[body], status=_LINES.get(status, status), headerlist=fields)

    def problem(self, body: bytes, status: int) -> Response:
        """An error as problem details."""
        fields = [("Content-Type", PROBLEM), ("Content-Length", str(len(body)))]
        return Response(app_iter=[body], status=_LINES.get(status, status), headerlist=fields)

    def _type_of(self, body: bytes, status: int) -> str:
        """The Content-Type. The charset is named where it matters: suites of 2011 compare the whole header."""
        type = self.rendition.content_type
        if type == CLOUD_EVENT:
            type = JSON  # only a message is read as an event
        if type == URI_LIST and status >= 400:
            type = TEXT  # an error is no list of URLs
        return type if type in JSON_TYPES or body.isascii() else f"{type}; charset=utf-8"

    def fresh(self, body: bytes, revision: str = "", *, most: int = MOST_HEADERS) -> Response:
        """The answer to a GET, or 304 without a body when the client has it (RFC 9110 13.1.2). Raises PreconditionFailed for
        another than it wanted (13.1.1)."""
        tag = entity_tag(revision, body)
        wanted, known = (tags(self.environ.get(name)) for name in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"))
        if wanted is not None and self.method in _READING and not {"*", tag.strip('"')} & wanted:
            raise PreconditionFailed(f"{self.path} is not what If-Match says", location=self.path)
        if known and self.method in _READING and ("*" in known or tag.strip('"') in known):
            response = Response(status=304)
            response.headers["ETag"] = tag
            response.headers.pop("Content-Type", None)
            return response
        return self.answer(body, headers=[("ETag", tag)], most=most)

    def entity(self, view: EntityView) -> Response:
        """One entity; in text/uri-list, which cannot read one, where it is that was changed."""
        if self.rendition.content_type == URI_LIST and self.method not in _READING:
            return self.listing([view.entity.path])
        if self.rendition.content_type == CLOUD_EVENT and self.method in _READING and view.entity.kind == cmbs.MESSAGE:
            response = self.fresh(event_of(view.entity, view.url), view.entity.revision)
            response.headers["Content-Type"] = CLOUD_EVENT
            return response
        body = self.rendition.writer.entity(view, pretty=self.rendition.pretty)
        return self.fresh(body, view.entity.revision)

    def report(self, action: str, document: dict[str, Any], *, made: Sequence[Entity] = ()) -> Response:
        """What an action, named by its identifier, or a deletion (``""``) had to tell. ``made``: what was created with it."""
        body = self.rendition.writer.report(action, document, pretty=self.rendition.pretty)
        return self._told(body, made)

    def reports(self, action: str, reports: Mapping[str, dict[str, Any]], *, made: Sequence[Entity] = ()) -> Response:
        """What an action on several entities had to tell, by path. ``made``: what was created with it."""
        by_url = {self.url(path): report for path, report in reports.items()}
        return self._told(self.rendition.writer.reports(action, by_url, pretty=self.rendition.pretty), made)

    def _told(self, body: bytes, made: Sequence[Entity]) -> Response:
        return self.answer(body, 201, [("Location", self.url(made[0].path))]) if made else self.answer(body)

    def listing(self, paths: Iterable[str]) -> Response:
        """A collection, as URLs."""
        urls = [self.url(path) for path in paths]
        return self.fresh(self.rendition.writer.listing(urls, pretty=self.rendition.pretty))

    def created(self, paths: Sequence[str]) -> Response:
        """What was made: all of it in the body, the first in the Location header (GFD.223 5.5.2)."""
        urls = [self.url(path) for path in paths]
        body = self.rendition.writer.created(urls, pretty=self.rendition.pretty)
        return self.answer(body, 201, [("Location", urls[0])])
