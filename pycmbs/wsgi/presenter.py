"""Answers with entities: one read or replaced is whole; new ones and lists are URLs, but whole in OCCI 1.2 JSON."""

from __future__ import annotations

from collections.abc import Sequence

from webob import Response

from pycmbs.occi.entity import Entity
from pycmbs.occi.rendering import EntityView
from pycmbs.services.entities.service import EntityService
from pycmbs.wsgi.exchange import Exchange


class Presenter:
    """Turns entities into views, and views into answers."""

    def __init__(self, entities: EntityService) -> None:
        self._entities = entities

    def one(self, exchange: Exchange, entity: Entity) -> Response:
        """An entity, complete; for a client that may not read it, only where it is."""
        if not self._entities.knows(entity):
            return exchange.listing([entity.path])
        return exchange.entity(self._view(exchange, entity))

    def several(self, exchange: Exchange, stored: Sequence[Entity]) -> Response:
        """A collection of entities as they are stored: where they are, or, in a rendering that has them whole, what."""
        if not exchange.rendition.writer.full or not all(map(self._entities.knows, stored)):
            return exchange.listing([entity.path for entity in stored])
        return exchange.fresh(self._whole(exchange, stored))

    def created(self, exchange: Exchange, stored: Sequence[Entity]) -> Response:
        """What was made."""
        if not exchange.rendition.writer.full or not all(map(self._entities.knows, stored)):
            return exchange.created([entity.path for entity in stored])
        return exchange.answer(self._whole(exchange, stored), 201, [("Location", exchange.url(stored[0].path))])

    def _whole(self, exchange: Exchange, stored: Sequence[Entity]) -> bytes:
        views = [self._view(exchange, self._entities.shown(entity)) for entity in self._entities.giving_way(stored)]
        return exchange.rendition.writer.entities(views, pretty=exchange.rendition.pretty)

    def _view(self, exchange: Exchange, entity: Entity) -> EntityView:
        return EntityView(
            entity,
            exchange.url(entity.path),
            {one.identifier: one.title for one in self._entities.actions(entity).values()},
            tuple(self._view(exchange, link) for link in entity.links),
            self._entities.schema(entity).definitions,
        )
