"""Handlers for one entity: GET, PUT, POST and DELETE at its path (GFD.223 5.6)."""

from __future__ import annotations

from webob import Response

from pycmbs.errors import MalformedBody
from pycmbs.occi.entity import Draft
from pycmbs.services.entities.selection import EVERYTHING
from pycmbs.services.entities.service import EntityService
from pycmbs.wsgi.exchange import Exchange
from pycmbs.wsgi.presenter import Presenter
from pycmbs.wsgi.watching import Watchers


class Entities:
    """Handlers of paths that do not end with '/'."""

    def __init__(self, entities: EntityService, watchers: Watchers) -> None:
        self._watchers = watchers
        self._entities = entities
        self._presenter = Presenter(entities)

    def get(self, exchange: Exchange) -> Response:
        """Read it; with ``?watch`` tell how it changes."""
        if exchange.query.watch is not None:
            exchange.refuse_action()
            exchange.refuse_filters()
            exchange.refuse_windows()
            return self._watchers.get(exchange, EVERYTHING)
        exchange.refuse_parameters()
        return self._presenter.one(exchange, self._entities.get(exchange.path))

    def put(self, exchange: Exchange) -> Response:
        """Create it here, or replace it."""
        exchange.refuse_parameters()
        entity, new = self._entities.put(exchange.path, self._draft(exchange), exchange.precondition)
        return self._presenter.created(exchange, [entity]) if new else self._presenter.one(exchange, entity)

    def post(self, exchange: Exchange) -> Response:
        """Change a part of it, or with ``?action=`` act on it."""
        if exchange.query.action is None:
            exchange.refuse_parameters()
            entity = self._entities.update(exchange.path, self._draft(exchange), exchange.precondition)
            return self._presenter.one(exchange, entity)
        exchange.refuse_key()
        invocation = exchange.invocation(exchange.query.action)
        return exchange.report(*self._entities.acted(exchange.path, invocation, exchange.precondition))

    def delete(self, exchange: Exchange) -> Response:
        """Delete it."""
        exchange.refuse_parameters()
        self._entities.delete(exchange.path, exchange.precondition)
        return exchange.answer(b"")

    def check_there(self, path: str, *, makes: bool) -> None:
        """Raises UnknownEntity unless there is one, or, if ``makes``, a kind's location where it could be made."""
        self._entities.check_path(path, makes=makes)

    def _draft(self, exchange: Exchange) -> Draft:
        inline = b'"links"' in exchange.body and self._entities.is_resource(exchange.path)
        drafts = exchange.drafts(inline=inline)
        if len(drafts) > 1:
            raise MalformedBody(f"the body describes {len(drafts)} entities, and {exchange.path} is one")
        return drafts[0]
