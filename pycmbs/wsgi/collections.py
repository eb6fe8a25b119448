"""Handlers for collections: the locations of kinds and mixins, paths above them, and ``/`` for everything (GFD.223 5.5)."""

from __future__ import annotations

from webob import Response

from pycmbs.errors import InvalidRequest, MethodNotAllowed
from pycmbs.occi.category import Mixin
from pycmbs.occi.naming import local_path
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.entities.selection import Selection
from pycmbs.services.entities.service import EntityService
from pycmbs.wsgi.descriptions import LINK
from pycmbs.wsgi.exchange import Exchange
from pycmbs.wsgi.pages import page_headers
from pycmbs.wsgi.presenter import Presenter
from pycmbs.wsgi.query import NO_QUERY
from pycmbs.wsgi.watching import Watchers


class Collections:
    """Handlers of paths that end with '/'."""

    def __init__(self, entities: EntityService, categories: CategoryService, watchers: Watchers) -> None:
        self._watchers = watchers
        self._entities = entities
        self._categories = categories
        self._presenter = Presenter(entities)

    def get(self, exchange: Exchange) -> Response:
        """List the entities: all, those selected, or one page of either; with ``?watch`` tell how they change."""
        exchange.refuse_action()
        selection, window = self._selection(exchange), exchange.query.window
        if exchange.query.watch is not None:
            exchange.refuse_windows()
            return self._watchers.get(exchange, selection)
        whole = exchange.rendition.writer.full
        if whole:
            entities = self._entities.whole(exchange.path, selection, window)
            number, response = len(entities), self._presenter.several(exchange, entities)
        else:
            places = list(self._entities.listed(exchange.path, selection, window))
            number, response = len(places), exchange.listing(place.path for place in places)
        total: int | None = number
        if window is not None and window.number is not None:
            total = self._entities.total(exchange.path, selection, whole=whole)
        response.headerlist += page_headers(exchange, window, number, total)
        if exchange.path == "/":
            response.headerlist.append(LINK)
        return response

    def post(self, exchange: Exchange) -> Response:
        """Create entities, with ``?then=`` acting on them; with ``?action=`` act on all; at a mixin's location give the mixin
        to entities."""
        exchange.check_whole()
        query = exchange.query
        if query is not NO_QUERY:
            exchange.refuse_pages()
        if query.action is not None:
            exchange.refuse_key()
            invocation = exchange.invocation(query.action)
            selection = self._selection(exchange, body=False)
            return exchange.reports(*self._entities.act_all(exchange.path, invocation, selection))
        mixin = self._categories.registry().at(exchange.path)
        if isinstance(mixin, Mixin):
            exchange.refuse_then()
            return self._associated(exchange, mixin)
        if query.then is None and exchange.key is None:
            return self._presenter.created(exchange, self._entities.create(exchange.path, exchange.drafts()))
        return self._made(exchange, query.then)

    def _made(self, exchange: Exchange, term: str | None) -> Response:
        """Create entities, as a request that may be repeated; and act on them, with one commit, which is answered with what
        the action had to tell."""
        exchange.refuse_filters()
        following = exchange.following(term) if term is not None else None
        made = self._entities.make(exchange.path, exchange.drafts(), following, exchange.key)
        if following is None:
            response = self._presenter.created(exchange, made.entities)
        elif len(made.reports) == 1:
            response = exchange.report(made.action, *made.reports.values(), made=made.entities)
        else:
            response = exchange.reports(made.action, made.reports, made=made.entities)
        if made.repeated:
            response.headerlist.append(("Idempotent-Replayed", "true"))
        return response

    def _associated(self, exchange: Exchange, mixin: Mixin) -> Response:
        changed = self._entities.memberships.associate(mixin.identifier, self._named(exchange))
        if exchange.rendition.writer.full:
            return self._presenter.several(exchange, changed)
        return exchange.answer(b"")

    def methods(self, path: str) -> set[str]:
        """The methods that the collection at a path has: PUT is for mixins."""
        mixin = isinstance(self._categories.registry().at(path), Mixin)
        return {"DELETE", "GET", "HEAD", "OPTIONS", "POST"} | ({"PUT"} if mixin else set())

    def check_there(self, path: str) -> None:
        """Raises UnknownLocation unless there is such a collection."""
        self._entities.check_location(path)

    def put(self, exchange: Exchange) -> Response:
        """At a mixin's location: have exactly the named entities have the mixin (GFD.223 5.5.4)."""
        exchange.refuse_parameters()
        exchange.check_whole()
        mixin = self._categories.registry().at(exchange.path)
        if not isinstance(mixin, Mixin):
            raise MethodNotAllowed(
                f"{exchange.path[:300]} is not a mixin's location",
                hint="Only those have PUT.",
                allow=", ".join(sorted(self.methods(exchange.path))),
            )
        changed = self._entities.memberships.assign(mixin.identifier, self._named(exchange, none=True))
        if exchange.rendition.writer.full:
            return self._presenter.several(exchange, changed)
        return exchange.answer(b"")

    def delete(self, exchange: Exchange) -> Response:
        """Delete the entities, all or those selected; at a mixin's location with locations in the body, take the mixin from
        those."""
        exchange.check_whole()
        exchange.refuse_action()
        exchange.refuse_pages()
        mixin = self._categories.registry().at(exchange.path)
        if isinstance(mixin, Mixin) and exchange.body.strip():
            self._entities.memberships.associate(mixin.identifier, self._named(exchange), member=False)
            return exchange.answer(b"")
        number = self._entities.delete_all(exchange.path, self._selection(exchange))
        return exchange.report("", {"deleted": number})

    def _named(self, exchange: Exchange, *, none: bool = False) -> list[str]:
        """The paths of the entities that the body names, by URL or, as whole entities, by kind and id. ``none``: there may be
        none."""
        urls = exchange.reader.locations(exchange.body)
        if urls is None and exchange.body.strip():
            registry = self._categories.registry()
            named = [(one.kind, one.id) for one in exchange.reader.drafts(exchange.body)]
            urls = [registry.kind(kind).location + id for kind, id in named if kind and id]
        if not urls and not (none and urls is not None):
            raise InvalidRequest(
                f"the body names no entity to give {exchange.path} to or take it from",
                hint='Send {"X-OCCI-Location": ["…"]}; POST new entities to the location of their kind.',
            )
        return [local_path(url) for url in urls or ()]

    def _selection(self, exchange: Exchange, *, body: bool = True) -> Selection:
        query = exchange.query
        drafts = exchange.filters() if body else []
        attributes = {name: exchange.value(name, value) for name, value in query.attributes}
        registry = self._categories.registry()
        by_term = {one.term: one.identifier for one in registry}
        categories = tuple(name if registry.get(name) else by_term.get(name, name) for name in query.categories)
        return Selection(categories, attributes, tuple(drafts))
