"""OCCI operations as data, from a message or a gateway: performed by the same services as requests over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from pycmbs.errors import InvalidRequest
from pycmbs.occi.category import LINK
from pycmbs.occi.entity import Draft, Entity, Invocation
from pycmbs.occi.naming import canonical, folder_of
from pycmbs.occi.rendering.json_2012 import entity_document
from pycmbs.occi.rendering.json_reader import draft
from pycmbs.occi.steps import bounded
from pycmbs.services.access import rules as allow
from pycmbs.services.access.access import names_of
from pycmbs.services.entities.categories import CategoryService
from pycmbs.services.entities.service import EntityService

_DESCRIBING = ("kind", "id", "mixins", "attributes", "title", "summary", "links")
_MEMBERS = frozenset({"operation", "target", "action", *_DESCRIBING})


class OperationService:
    """Performs ``{"operation": …, "target": …, "action": …, "attributes": …}``.

    ``operation`` is ``create`` (``target``: a kind's location), ``list`` (a collection), ``read``, ``replace``, ``update``,
    ``delete`` or ``act`` (an entity; ``action``: the term). What describes an entity stands beside them as in OCCI JSON.
    """

    def __init__(self, entities: EntityService, categories: CategoryService) -> None:
        self._access = categories.access
        self._entities = entities
        self._categories = categories
        performers = (self._create, self._list, self._read, self._replace, self._update, self._delete, self._act)
        self._verbs: dict[str, Callable[[str, Mapping[str, Any]], Entity | dict[str, Any]]] = dict(
            zip(allow.OPERATIONS, performers, strict=True)
        )

    def perform(self, operation: Any) -> dict[str, Any]:
        """Perform it, for the principal (:class:`~pycmbs.services.access.access.asking`); returns its result, as far as that
        may be read. Raises InvalidRequest for what is not an operation, and whatever the service raises."""
        if not isinstance(operation, dict) or not isinstance(operation.get("operation"), str):
            raise InvalidRequest(
                "the content is not an operation",
                hint='It looks like {"operation": "read", "target": "/cmbs/member/…"}.',
            )
        unknown = set(operation) - _MEMBERS
        if unknown:
            raise InvalidRequest(f"an operation has no member {min(unknown)!r}", field=min(unknown))
        verb, target = operation["operation"], operation.get("target")
        if verb not in self._verbs:
            raise InvalidRequest(f"there is no operation {verb[:40]!r}", hint=f"Known: {', '.join(self._verbs)}.")
        if not isinstance(target, str) or not target.startswith("/"):
            raise InvalidRequest("an operation needs a target: a path that starts with '/'", field="target")
        with bounded():
            found = self._verbs[verb](target, operation)
        if isinstance(found, dict):
            return found
        return entity_document(found) if self._access.knows(found) else {}

    def knows(self, verb: str) -> bool:
        """Whether this is one of the operations here, and not a handler's name."""
        return verb in self._verbs

    def subject(self, operation: Mapping[str, Any]) -> tuple[str, list[str]]:
        """What the operation is about, as rules name it: its verb (``act:`` and the term for an action), and the identifiers
        and terms of its target's kind and that one's parents; :data:`NO_KIND` when the target has none."""
        verb, target, term = (operation.get(name) for name in ("operation", "target", "action"))
        name = f"act:{canonical(term)}" if verb == "act" and isinstance(term, str) else str(verb)
        path = target if isinstance(target, str) else ""
        stored = self._entities.at(path)
        kind = self._categories.registry().at(folder_of(path)) if stored is None else None
        return name, self._names(stored.kind if stored is not None else kind.identifier if kind else "")

    def subjects(self, operation: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
        """The same, and what else the operation touches: the links that come with an entity, or go with it."""
        found = [self.subject(operation)]
        verb = operation.get("operation")
        if verb in ("create", "replace", "update"):
            with contextlib.suppress(InvalidRequest):  # what cannot be read makes nothing
                found += [
                    ("create", self._names(link.kind or LINK.identifier)) for link in _draft(operation).links or ()
                ]
        elif verb == "delete":
            links = self._entities.links_at(str(operation.get("target")))
            found += [("delete", self._names(link.kind)) for link in links]
        return found

    def _names(self, identifier: str) -> list[str]:
        return names_of(self._categories.registry(), identifier)

    def _create(self, target: str, operation: Mapping[str, Any]) -> dict[str, Any]:
        return {"location": self._entities.create(target, [_draft(operation)])[0].path}

    def _list(self, target: str, _operation: Mapping[str, Any]) -> dict[str, Any]:
        return {"locations": self._entities.find(target)}

    def _read(self, target: str, _operation: Mapping[str, Any]) -> Entity:
        return self._entities.get(target)

    def _replace(self, target: str, operation: Mapping[str, Any]) -> Entity:
        return self._entities.put(target, _draft(operation))[0]

    def _update(self, target: str, operation: Mapping[str, Any]) -> Entity:
        return self._entities.update(target, _draft(operation))

    def _delete(self, target: str, _operation: Mapping[str, Any]) -> dict[str, Any]:
        self._entities.delete(target)
        return {}

    def _act(self, target: str, operation: Mapping[str, Any]) -> dict[str, Any]:
        term, attributes = operation.get("action"), operation.get("attributes", {})
        if not isinstance(term, str) or not isinstance(attributes, dict):
            raise InvalidRequest("act needs an action's term, and attributes that are an object", field="action")
        if term == "execute":
            raise InvalidRequest("an operation cannot execute a message: that could go on for ever", action=term)
        return self._entities.act(target, Invocation(canonical(term), attributes=attributes))


def _draft(operation: Mapping[str, Any]) -> Draft:
    return draft({name: operation[name] for name in _DESCRIBING if name in operation})
