"""Serves the OpenAPI document, and the links to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from webob import Response

from pycmbs import codec
from pycmbs.occi.registry import Registry
from pycmbs.services.entities.categories import CategoryService
from pycmbs.wsgi.exchange import Exchange
from pycmbs.wsgi.openapi import open_api

OPEN_API, CATALOG = "/openapi.json", "/.well-known/api-catalog"
LINK = ("Link", f'<{OPEN_API}>; rel="service-desc"; type="application/json"')
"""By which a client that only knows the root, or the categories, finds the description."""
_MOST_KEPT = 16
"""Descriptions that are kept: one for each URL by which clients call this broker."""


class Descriptions:
    """Handlers of what describes the interface."""

    def __init__(self, categories: CategoryService, secured: Callable[[], bool]) -> None:
        """``secured``: whether the broker asks who asks."""
        self._categories = categories
        self._secured = secured
        self._kept: tuple[Registry | None, dict[tuple[str, bool], bytes]] = (None, {})
        self.handlers = {OPEN_API: self.open_api, CATALOG: self.catalog}

    def open_api(self, exchange: Exchange) -> Response:
        """The interface as OpenAPI. Its tag changes with the categories."""
        exchange.refuse_parameters()
        self._categories.listed()  # raises for a principal that may not read them
        base, secured = exchange.place.base, self._secured()
        of, kept = self._kept
        registry = self._categories.snapshot
        if of is not registry or len(kept) >= _MOST_KEPT:
            kept = {}
            self._kept = registry, kept
        body = kept.get((base, secured))
        if body is None:
            body = kept[base, secured] = codec.dumps(open_api(registry, base, secured=secured))
        return _json(exchange, body, "application/json")

    def catalog(self, exchange: Exchange) -> Response:
        """Where the interface is described (RFC 9727)."""
        exchange.refuse_parameters()
        entry = {
            "anchor": exchange.url("/"),
            "service-desc": [{"href": exchange.url(OPEN_API), "type": "application/json"}],
        }
        return _json(exchange, codec.dumps({"linkset": [entry]}), "application/linkset+json")


def _json(exchange: Exchange, body: bytes, type: str) -> Response:
    exchange.rendition = replace(exchange.rendition, content_type=type)
    return exchange.fresh(body)
