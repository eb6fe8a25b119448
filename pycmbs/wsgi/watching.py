"""``?watch``: server-sent events, or long polls for clients that accept JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webob import Response
from webob.acceptparse import create_accept_header

from pycmbs import codec
from pycmbs.errors import InvalidRequest, NotAcceptable, StoreUnavailable
from pycmbs.occi.entity import Entity
from pycmbs.occi.naming import uri
from pycmbs.occi.rendering import EntityView
from pycmbs.occi.rendering.json_12 import entity_document
from pycmbs.services.entities.feed import Told
from pycmbs.services.entities.selection import Selection
from pycmbs.services.entities.service import EntityService
from pycmbs.services.entities.watching import Watch, Watching
from pycmbs.wsgi.exchange import Exchange
from pycmbs.wsgi.negotiation import JSON, without_parameters
from pycmbs.wsgi.streams import EVENT_STREAM, Streams, event, pieces

MOST_WAIT = 60
"""Seconds that a long poll waits."""
_OFFERS = (EVENT_STREAM, JSON, "application/json")


class Watchers:
    """Handles ``?watch``."""

    def __init__(self, watching: Watching, streams: Streams) -> None:
        self._watching = watching
        self._streams = streams

    def get(self, exchange: Exchange, selection: Selection) -> Response:
        """Tell what changes from now on, or since the cursor that the client says."""
        type = _type(exchange.environ.get("HTTP_ACCEPT"))
        query = exchange.query.watch
        assert query is not None
        since = exchange.environ.get("HTTP_LAST_EVENT_ID") or query.get("since")
        wait = _seconds(query)
        watch = self._watching.watch(exchange.path, selection, str(since) if since is not None else None)
        if type == EVENT_STREAM:
            return self._streams.answer(exchange.environ, _Events(watch), [])
        self._streams.enter()
        try:
            return self._poll(exchange, watch, type, wait)
        finally:
            watch.close()
            self._streams.leave()

    def _poll(self, exchange: Exchange, watch: Watch, type: str, wait: float) -> Response:
        seen = watch.seen(wait)
        document: dict[str, Any] = {"events": [_document(told, shown) for told, shown in seen.events]}
        if watch.gap:
            document["gap"] = _gap(watch)
        document["cursor"] = seen.cursor
        body = codec.dumps(document)
        fields = [("Content-Type", type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        del exchange
        return Response(app_iter=[body], status=200, headerlist=fields)


class _Events:
    """What a stream tells of a watch."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    @property
    def position(self) -> str:
        """See :class:`~pycmbs.wsgi.streams.Source`."""
        return self._watch.cursor

    def begin(self) -> bytes:
        """See :class:`~pycmbs.wsgi.streams.Source`."""
        return event(codec.dumps(_gap(self._watch)), name="gap") if self._watch.gap else b""

    def more(self, seconds: float) -> list[bytes]:
        """See :class:`~pycmbs.wsgi.streams.Source`."""
        try:
            seen = self._watch.seen(seconds)
        except StoreUnavailable:
            return []  # it will be back, and nothing is lost until then
        found: list[bytes] | None = seen.kept.get(EVENT_STREAM)
        if found is None:  # else it was made for another who is told the same
            found = pieces([event(shown, name=told.event, id=told.cursor) for told, shown in seen.events])
            seen.kept[EVENT_STREAM] = found
        return found

    def close(self) -> None:
        """See :class:`~pycmbs.wsgi.streams.Source`."""
        self._watch.close()


class Shower:
    """Shows changes."""

    def __init__(self, entities: EntityService) -> None:
        self._entities = entities

    def __call__(self, told: Told, entity: Entity | None) -> bytes:
        """The entity in the flat form, with its path; of one that is gone its kind and id."""
        if entity is None:
            kind, id = (next(iter(told.keys.get(name, ())), "") for name in ("kind", "id"))
            return codec.dumps({"location": told.path, "kind": kind, "id": uri(told.path, id)})
        shown = self._entities.shown(entity)
        return codec.dumps({"location": told.path, **entity_document(self._view(shown))})

    def _view(self, entity: Entity) -> EntityView:
        actions = {one.identifier: one.title for one in self._entities.actions(entity).values()}
        links = tuple(map(self._view, entity.links))
        return EntityView(entity, entity.path, actions, links, self._entities.schema(entity).definitions)


def _type(accept: str | None) -> str:
    """How to answer. Raises NotAcceptable."""
    if accept is None or not accept.strip():
        return EVENT_STREAM
    found = create_accept_header(without_parameters(accept))
    offers = found.acceptable_offers(_OFFERS) if hasattr(found, "acceptable_offers") else []
    if not offers:
        raise NotAcceptable(
            f"changes cannot be watched as {accept[:200]!r}",
            hint=f"Accept {EVENT_STREAM} or {JSON}.",
            supported=list(_OFFERS),
        )
    best = max(quality for _, quality in offers)
    return next(one for one in _OFFERS if (one, best) in offers)


def _seconds(query: Mapping[str, Any]) -> float:
    wait = query.get("wait", 0)
    if not isinstance(wait, int | float) or isinstance(wait, bool) or not 0 <= wait <= MOST_WAIT:
        raise InvalidRequest(f"wait={str(wait)[:40]} is not a number of seconds up to {MOST_WAIT}", parameter="wait")
    return float(wait)


def _document(told: Told, shown: bytes) -> dict[str, Any]:
    return {"event": told.event, "cursor": told.cursor, "data": codec.loads(shown)}


def _gap(watch: Watch) -> dict[str, Any]:
    """What to say of a cursor that this store never gave out."""
    return {"asked": watch.asked, "reason": "rewound"}
