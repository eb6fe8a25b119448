"""Collections: the locations of kinds and mixins, and ``/`` for everything (GFD.223 5.5)."""

from __future__ import annotations

from webob import Response

from pycmbs.errors import InvalidRequest
from pycmbs.occi.category import Mixin
from pycmbs.services.categories import CategoryService
from pycmbs.services.entities import EntityService
from pycmbs.services.selection import Selection
from pycmbs.wsgi.exchange import Exchange, local_path


class Collections:
    """Handlers of paths that end with '/'."""

    def __init__(self, entities: EntityService, categories: CategoryService) -> None:
        self._entities = entities
        self._categories = categories

    def get(self, exchange: Exchange) -> Response:
        """List the entities, all or those selected."""
        exchange.refuse_action()
        return exchange.listing(self._entities.find(exchange.path, self._selection(exchange)))

    def post(self, exchange: Exchange) -> Response:
        """Create entities; with ``?action=`` act on all; at a mixin's location give the mixin to entities."""
        if exchange.query.action is not None:
            invocation = exchange.reader.invocation(exchange.body, exchange.query.action)
            reports = self._entities.act_all(exchange.path, invocation, self._selection(exchange, body=False))
            return exchange.report({exchange.url(path): report for path, report in reports.items()})
        mixin = self._categories.registry().at(exchange.path)
        if isinstance(mixin, Mixin):
            self._entities.associate(mixin.identifier, self._named(exchange))
            return exchange.answer(b"")
        created = self._entities.create(exchange.path, exchange.reader.drafts(exchange.body))
        return exchange.created([entity.path for entity in created])

    def delete(self, exchange: Exchange) -> Response:
        """Delete the entities, all or those selected; at a mixin's location with locations in the body, take the mixin from
        those."""
        exchange.refuse_action()
        mixin = self._categories.registry().at(exchange.path)
        if isinstance(mixin, Mixin) and exchange.body.strip():
            self._entities.associate(mixin.identifier, self._named(exchange), member=False)
            return exchange.answer(b"")
        return exchange.report({"deleted": self._entities.delete_all(exchange.path, self._selection(exchange))})

    def _named(self, exchange: Exchange) -> list[str]:
        urls = exchange.reader.locations(exchange.body)
        if not urls:
            raise InvalidRequest(
                f"the body names no entity to give {exchange.path} to or take it from",
                hint='Send {"X-OCCI-Location": ["…"]}; POST new entities to the location of their kind.',
            )
        return [local_path(url) for url in urls]

    def _selection(self, exchange: Exchange, *, body: bool = True) -> Selection:
        query = exchange.query
        drafts = exchange.reader.entity_filter(exchange.body) if body else []
        registry = self._categories.registry()
        by_term = {one.term: one.identifier for one in registry}
        categories = tuple(name if registry.get(name) else by_term.get(name, name) for name in query.categories)
        return Selection(categories, dict(query.attributes), tuple(drafts))
