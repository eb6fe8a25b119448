"""The WSGI application: one request in, one answer out, every error an answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from webob import Request, Response

from pycmbs.errors import CmbsError, MethodNotAllowed, NotAcceptable, Unavailable, UnsupportedMediaType
from pycmbs.occi.rendering.text import error_header
from pycmbs.wsgi.errors import SERVER, status_of
from pycmbs.wsgi.exchange import Exchange
from pycmbs.wsgi.manners import compressed, request_id
from pycmbs.wsgi.negotiation import DEFAULT, WRITERS, default, rendition
from pycmbs.wsgi.routes import Routes

log = logging.getLogger(__name__)

_FAILED = CmbsError("the broker failed to do this", hint="Its log says more.")


class Application:
    """WSGI (PEP 3333)."""

    def __init__(self, routes: Routes, *, max_body: int, base: str) -> None:
        """``max_body``: bytes. ``base``: the broker's own URL without a path."""
        self._routes = routes
        self._max_body = max_body
        self._base = base

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        request = Request(environ)
        exchange = Exchange(request, DEFAULT, max_body=self._max_body, base=self._base)
        id = request_id(environ)
        try:
            response = self._respond(exchange)
        except CmbsError as exc:
            response = self._refused(exchange, exc)
        except Exception:
            log.exception("%s %s failed (request %s)", request.method, environ.get("PATH_INFO"), id)
            response = self._refused(exchange, _FAILED)
        # The last of what it varies by says which version of OCCI.
        response.headerlist.extend(
            (("Server", SERVER), ("X-Request-Id", id), ("Vary", "Accept, Accept-Encoding, User-Agent"))
        )
        compressed(response, environ.get("HTTP_ACCEPT_ENCODING"))
        answer: Iterable[bytes] = response(environ, start_response)
        return answer

    def _respond(self, exchange: Exchange) -> Response:
        environ = exchange.request.environ
        exchange.rendition = default(exchange.sent)
        exchange.rendition = rendition(environ.get("HTTP_ACCEPT"), environ.get("HTTP_USER_AGENT", ""), exchange.sent)
        return self._routes.find(exchange.request.method, exchange.path)(exchange)

    def _refused(self, exchange: Exchange, error: CmbsError) -> Response:
        status = status_of(error)
        writer, pretty = exchange.rendition.writer, exchange.rendition.pretty
        document = {"status": status, **error.to_dict()}
        response = exchange.answer(writer.error(document, pretty=pretty), status)
        response.headers["X-OCCI-Error"] = error_header(document)
        if isinstance(error, NotAcceptable | UnsupportedMediaType):
            response.headers["Accept"] = ", ".join(WRITERS)
        if isinstance(error, Unavailable):
            response.headers["Retry-After"] = str(error.retry_after)
        if isinstance(error, MethodNotAllowed):
            response.headers["Allow"] = error.data["allow"]
        return response
