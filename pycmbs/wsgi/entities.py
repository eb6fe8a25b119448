"""Entities: one resource or link (GFD.223 5.6)."""

from __future__ import annotations

from webob import Response

from pycmbs.errors import MalformedBody
from pycmbs.occi.entity import Draft, Entity
from pycmbs.occi.rendering import EntityView
from pycmbs.services.entities import EntityService
from pycmbs.wsgi.exchange import Exchange


class Entities:
    """Handlers of paths that do not end with '/'."""

    def __init__(self, entities: EntityService) -> None:
        self._entities = entities

    def get(self, exchange: Exchange) -> Response:
        """Read it."""
        exchange.refuse_parameters()
        return self._shown(exchange, self._entities.get(exchange.path))

    def put(self, exchange: Exchange) -> Response:
        """Create it here, or replace it."""
        exchange.refuse_parameters()
        entity, new = self._entities.put(exchange.path, self._draft(exchange))
        return exchange.created([entity.path]) if new else self._shown(exchange, entity)

    def post(self, exchange: Exchange) -> Response:
        """Change a part of it, or with ``?action=`` act on it."""
        if exchange.query.action is None:
            return self._shown(exchange, self._entities.update(exchange.path, self._draft(exchange)))
        self._entities.stored(exchange.path)  # what is not there is a 404, whatever the body says
        invocation = exchange.reader.invocation(exchange.body, exchange.query.action)
        return exchange.report(self._entities.act(exchange.path, invocation))

    def delete(self, exchange: Exchange) -> Response:
        """Delete it."""
        exchange.refuse_parameters()
        self._entities.delete(exchange.path)
        return exchange.answer(b"")

    def _draft(self, exchange: Exchange) -> Draft:
        drafts = exchange.reader.drafts(exchange.body)
        if len(drafts) > 1:
            raise MalformedBody(f"the body describes {len(drafts)} entities, and {exchange.path} is one")
        return drafts[0]

    def _shown(self, exchange: Exchange, entity: Entity) -> Response:
        actions = {one.identifier: one.title for one in self._entities.actions(entity).values()}
        view = EntityView(entity, exchange.url(entity.path), actions)
        return exchange.answer(exchange.rendition.writer.entity(view, pretty=exchange.rendition.pretty))
