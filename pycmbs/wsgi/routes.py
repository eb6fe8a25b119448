"""The URL map: which handler serves which path and method."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from webob import Response

from pycmbs.errors import MethodNotAllowed
from pycmbs.wsgi.collections import Collections
from pycmbs.wsgi.descriptions import Descriptions
from pycmbs.wsgi.entities import Entities
from pycmbs.wsgi.exchange import Exchange
from pycmbs.wsgi.observation import Observation
from pycmbs.wsgi.query_interface import QueryInterface

Handler = Callable[[Exchange], Response]

QUERY_PATHS = ("/-/", "/.well-known/org/ogf/occi/-/")
OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""What is answered without asking who asks, where no entity of an earlier version is."""
_NAMES = dict.fromkeys(QUERY_PATHS, "query") | dict.fromkeys(OPEN_PATHS, "health") | {"/metrics": "metrics"}

_STREAMED = re.compile(r"(?:^|&)(?:watch|tail)(?:[=&]|$)")


def route_name(path: str, query: str) -> str:
    """What a request is for, as metrics call it: one of a few words, whatever clients ask."""
    if name := _NAMES.get(path):
        return name
    if query:  # few requests have one
        if _STREAMED.search(query):
            return "stream"
        if "action=" in query:
            return "action"
    return "collection" if path.endswith("/") else "entity"


class Routes:
    """Paths to handlers."""

    def __init__(
        self,
        query: QueryInterface,
        collections: Collections,
        entities: Entities,
        observation: Observation,
        descriptions: Descriptions,
        taken: Collection[str] = (),
    ) -> None:
        """``taken``: of the broker's own paths, those at which an earlier version let entities be made: these stay there."""
        self._methods = collections.methods
        self._check_collection, self._check_entity = collections.check_there, entities.check_there
        self.query: dict[str, Handler] = {
            "GET": query.get,
            "POST": query.post,
            "PUT": query.put,
            "DELETE": query.delete,
        }
        self.collection: dict[str, Handler] = {
            "GET": collections.get,
            "POST": collections.post,
            "PUT": collections.put,
            "DELETE": collections.delete,
        }
        self.entity: dict[str, Handler] = {
            "GET": entities.get,
            "PUT": entities.put,
            "POST": entities.post,
            "DELETE": entities.delete,
        }
        self.observation, self.descriptions = observation.handlers, descriptions.handlers
        self.own: dict[str, dict[str, Handler]] = {
            **dict.fromkeys(QUERY_PATHS, self.query),
            **{path: {"GET": handler} for path, handler in {**self.observation, **self.descriptions}.items()},
        }
        """Of the paths at which no entities are."""
        for path in taken:
            self.own.pop(path, None)
        self.open_paths = OPEN_PATHS - set(taken)
        """What is answered without asking who asks."""

    def find(self, method: str, path: str) -> Handler:
        """The handler of a request. Raises MethodNotAllowed."""
        table = self.own.get(path) or (self.collection if path.endswith("/") else self.entity)
        handler = table.get("GET" if method == "HEAD" else method)
        if handler is None:
            methods = self._methods(path) if table is self.collection else {*table, "HEAD", "OPTIONS"}
            allowed = ", ".join(sorted(methods))
            if method == "OPTIONS":
                return lambda exchange: exchange.answer(b"", headers=[("Allow", allowed)])
            raise MethodNotAllowed(f"{path[:300]} has no {method[:20]}", hint=f"It has {allowed}.", allow=allowed)
        return handler

    def check_there(self, method: str, path: str) -> None:
        """Raises UnknownLocation or UnknownEntity where nothing is at a path; a PUT makes the entity there."""
        if path in self.own or method == "OPTIONS":
            return
        if path.endswith("/"):
            self._check_collection(path)
        elif method != "PUT":
            self._check_entity(path, makes=method not in self.entity and method != "HEAD")
