"""The WSGI application: one request in, one answer out, every error an answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from webob import Response

from pycmbs.errors import (
    CmbsError,
    InvalidRequest,
    MethodNotAllowed,
    NotAcceptable,
    PreconditionFailed,
    TooManyAttempts,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)
from pycmbs.metrics.table import ERRORS, HTTP_REQUESTS, HTTP_SECONDS
from pycmbs.occi.naming import new_id
from pycmbs.occi.rendering.text import error_header
from pycmbs.occi.steps import MOST
from pycmbs.queues import Budget
from pycmbs.runtime import asked
from pycmbs.scope import Scope
from pycmbs.services.access.access import Access, forbidden
from pycmbs.services.access.principal import OPEN
from pycmbs.tracing import REQUEST_ID, said, tracing
from pycmbs.wsgi.access_log import AccessLog
from pycmbs.wsgi.auditor import CHANGING, Auditor
from pycmbs.wsgi.auth import PRINCIPAL, Gate
from pycmbs.wsgi.errors import FAILED, SERVER, problem, status_of
from pycmbs.wsgi.exchange import Exchange
from pycmbs.wsgi.guard import Guard
from pycmbs.wsgi.middleware import compressed
from pycmbs.wsgi.negotiation import DEFAULT, WRITERS, check_version, default, rendition, wants_problem
from pycmbs.wsgi.observation import Observation
from pycmbs.wsgi.routes import Routes, route_name
from pycmbs.wsgi.streams import EVENT_STREAM, without_events

log = logging.getLogger(__name__)

_BODIES = 256 * 1024 * 1024
"""Bytes of the bodies of all requests that are being answered: what they become on their way to the store is about as large."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""Those that metrics tell apart: clients choose others."""
_PRIVATE = ("Cache-Control", "private, no-cache")
"""What keeps others from an answer that is for one user."""
_OF_THE_REST = (InvalidRequest, MethodNotAllowed, UnsupportedMediaType, PreconditionFailed)
"""Errors about what else a request says than its path: where nothing is at the path, that is what is wrong."""


class Application:
    """WSGI (PEP 3333)."""

    def __init__(
        self,
        routes: Routes,
        guard: Guard,
        gate: Gate,
        access: Access,
        auditor: Auditor,
        observation: Observation,
        *,
        max_body: int,
        access_log: AccessLog,
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        """``observation`` is that of the routes. ``max_body``: bytes. ``ending`` is to be
        called when the process will end: see :attr:`ending`."""
        self.ending = ending
        """Ends what goes on by itself: streams."""
        self._access_log = access_log
        self._auditor = auditor
        self._access = access
        self._routes = routes
        self.observation = observation
        self._guard = guard
        self._gate = gate
        self._max_body = max_body
        self._bodies = Budget(_BODIES)
        self._always = (
            ("Server", SERVER),
            ("X-Content-Type-Options", "nosniff"),
            ("Vary", "Accept, Accept-Encoding, User-Agent" + guard.varies),  # User-Agent may say which version of OCCI
        )

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        begun = time.monotonic()
        exchange = Exchange(environ, DEFAULT, max_body=self._max_body, bodies=self._bodies)
        traced = said(environ)
        id = traced.get(REQUEST_ID) or new_id()
        token = tracing.set(traced) if traced else None
        try:
            with asked() as scope:
                response = self._respond(exchange, scope)
        except CmbsError as exc:
            response = self._refused(exchange, exc)
        except Exception:
            log.exception("%s %s failed (request %s)", exchange.method, environ.get("PATH_INFO"), id)
            response = self._refused(exchange, FAILED)
        finally:
            exchange.release()
            if token is not None:
                tracing.reset(token)
        headers, status = response.headerlist, response.status
        headers += self._always
        headers.append(("X-Request-Id", id))
        if "HTTP_ORIGIN" in environ:
            headers += self._guard.shared(environ)
        if (principal := environ.get(PRINCIPAL)) is not OPEN and (principal is not None or self._gate.required):
            headers.append(_PRIVATE)
            self._auditor.note(environ, id, status)
        if accepted := environ.get("HTTP_ACCEPT_ENCODING"):
            compressed(response, accepted)
        name = route_name(environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", ""))
        method = exchange.method
        HTTP_REQUESTS.count(name, method if method in _METHODS else "other", status[:3])
        seconds = time.monotonic() - begun
        HTTP_SECONDS.observe(seconds, name)
        if status >= self._access_log.least:
            self._access_log.note(environ, id, status, seconds, traced)
        # What webob would do besides is to make URLs absolute: they are.
        start_response(status, response.headerlist)
        answer: Iterable[bytes] = response.app_iter
        return answer if method != "HEAD" else []

    def close(self) -> None:
        """Nothing is answered any more: write what is still to be written of what was."""
        self._auditor.flush()
        self._access_log.flush()

    def _respond(self, exchange: Exchange, scope: Scope) -> Response:
        environ = exchange.environ
        exchange.rendition = default(exchange.sent)
        accept = environ.get("HTTP_ACCEPT")
        if accept is not None and EVENT_STREAM in accept and exchange.query.watch is not None:
            accept = without_events(accept)  # what is no event is an error
        exchange.rendition = rendition(accept, environ.get("HTTP_USER_AGENT", ""), exchange.sent)
        check_version(environ.get("HTTP_USER_AGENT", ""))
        exchange.place = self._guard.admit(environ)
        if exchange.method == "OPTIONS" and self._guard.is_preflight(environ):
            return exchange.answer(b"")
        if environ.get("PATH_INFO") in self._routes.open_paths:
            environ[PRINCIPAL] = OPEN
            return self._routes.find(exchange.method, exchange.path)(exchange)
        principal = environ[PRINCIPAL] = self._gate.admit(environ)
        scope.steps = MOST  # these two end with the scope: contexts for them would cost a hundredth of a request
        if principal is not OPEN:
            scope.principals = (principal,)
            if exchange.method in CHANGING and not self._access.may_change(principal):
                raise forbidden("change")  # before it is looked at
        try:
            return self._routes.find(exchange.method, exchange.path)(exchange)
        except _OF_THE_REST:
            self._routes.check_there(exchange.method, exchange.path)
            raise

    def _refused(self, exchange: Exchange, error: CmbsError) -> Response:
        ERRORS.count(error.code)
        status = status_of(error)
        writer, pretty = exchange.rendition.writer, exchange.rendition.pretty
        document = {"status": status, **error.to_dict()}
        if wants_problem(exchange.environ.get("HTTP_ACCEPT")):
            response = exchange.problem(problem(error), status)
        else:
            response = exchange.answer(writer.error(document, pretty=pretty), status)
        response.headers["X-OCCI-Error"] = error_header(document)
        if isinstance(error, NotAcceptable | UnsupportedMediaType):
            response.headers["Accept"] = ", ".join(WRITERS)
        if isinstance(error, Unauthenticated):
            response.headerlist.extend(self._gate.challenge(exchange.environ))
        if isinstance(error, Unavailable | TooManyAttempts):
            response.headers["Retry-After"] = str(error.retry_after)
        if isinstance(error, MethodNotAllowed):
            response.headers["Allow"] = error.data["allow"]
        return response
