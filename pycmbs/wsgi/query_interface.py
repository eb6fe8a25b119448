"""Handlers for the query interface ``/-/``, where categories are listed and changed (GFD.223 5.4; PUT as in pyOCNI, 2012)."""

from __future__ import annotations

from webob import Response

from pycmbs.errors import UnknownCategory
from pycmbs.occi.category import Category
from pycmbs.services.entities.categories import CategoryService
from pycmbs.wsgi.descriptions import LINK
from pycmbs.wsgi.exchange import MOST_CATEGORIES, Exchange


class QueryInterface:
    """Handlers of ``/-/``."""

    def __init__(self, categories: CategoryService) -> None:
        self._categories = categories

    def get(self, exchange: Exchange) -> Response:
        """List the categories: all, those of ``?category=``, or those that a body describes in part."""
        wanted = exchange.reader.category_filter(exchange.body)
        found: list[Category] = self._categories.listed(wanted)
        exchange.refuse_action()
        exchange.refuse_watch()
        if named := exchange.query.categories:
            found = [one for one in found if one.identifier in named or one.term in named]
            missing = [name for name in named if not any(name in (one.identifier, one.term) for one in found)]
            if missing:
                raise UnknownCategory(f"there is no category {missing[0][:300]!r}", category=missing[0][:300])
        writer = exchange.rendition.writer
        response = exchange.fresh(writer.categories(found, pretty=exchange.rendition.pretty), most=MOST_CATEGORIES)
        response.headerlist.append(LINK)
        return response

    def post(self, exchange: Exchange) -> Response:
        """Register categories."""
        exchange.check_whole()
        posted = exchange.reader.categories(exchange.body)
        if posted.categories:
            self._categories.register(posted.categories)
        self._categories.bind(posted.providers)
        return exchange.answer(b"")

    def put(self, exchange: Exchange) -> Response:
        """Replace categories, or bind kinds to backends."""
        exchange.check_whole()
        posted = exchange.reader.categories(exchange.body)
        if posted.categories:
            self._categories.replace(posted.categories)
        self._categories.bind(posted.providers)
        return exchange.answer(b"")

    def delete(self, exchange: Exchange) -> Response:
        """Remove categories."""
        exchange.check_whole()
        self._categories.remove(exchange.reader.category_names(exchange.body))
        return exchange.answer(b"")
