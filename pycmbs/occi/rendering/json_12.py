"""``application/occi+json`` as of OCCI 1.2 (GFD.226): flat names, whole entities, patterns that are JSON Schemas.

What clients send in this form is read by :class:`~pycmbs.occi.rendering.json_reader.JsonReader`, together with that of 2012.
"""

from __future__ import annotations

import re
from typing import Any

from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import LINK, Category, Kind, Mixin
from pycmbs.occi.entity import Entity
from pycmbs.occi.naming import uri
from pycmbs.occi.pattern import enumeration
from pycmbs.occi.rendering import EntityView
from pycmbs.occi.rendering.json_2012 import JsonWriter, dump, without_ends

_SCHEMA = "http://json-schema.org/draft-04/schema#"
_BOUNDS = {
    "number": ("minimum", "maximum"),
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
}


def definition_document(definition: AttributeDefinition) -> dict[str, Any]:
    """An attribute definition (GFD.226 4.3). ``any`` is not a type of the standard: it is shown as ``object``, without a
    default, whose type would contradict it."""
    type = "object" if definition.type == "any" else definition.type
    document: dict[str, Any] = {
        "type": type,
        "mutable": definition.mutable and not definition.internal,
        "required": definition.required,
    }
    schema = _schema(definition)
    if schema:
        document["pattern"] = schema
    default = definition.initial()
    if default is not None and definition.type != "any":
        document["default"] = default
    if definition.description:
        document["description"] = definition.description
    return document


def _schema(definition: AttributeDefinition) -> dict[str, Any]:
    pattern = definition.pattern
    found: dict[str, Any] = dict(pattern) if isinstance(pattern, dict) else {}
    if isinstance(pattern, str) and definition.type in ("string", "array"):
        words = enumeration(pattern)
        text = f"^({'|'.join(map(re.escape, sorted(words)))})$" if words else pattern
        one = {"type": "string", "pattern": text}
        found |= {"type": "array", "items": one} if definition.type == "array" else one
    names = _BOUNDS.get(definition.type, ())
    bounds = (definition.minimum, definition.maximum)
    found |= {
        name: bound for name, bound in zip(names, bounds, strict=False) if bound is not None and name not in found
    }
    return {"$schema": _SCHEMA, **found} if found and not isinstance(pattern, dict) else found


def category_document(category: Category) -> dict[str, Any]:
    """A category (GFD.226 4.4 to 4.6)."""
    document: dict[str, Any] = {"term": category.term, "scheme": category.scheme}
    if category.title:
        document["title"] = category.title
    if category.attributes:
        document["attributes"] = {name: definition_document(one) for name, one in category.attributes.items()}
    if isinstance(category, Kind) and category.parent:
        document["parent"] = category.parent
    if isinstance(category, Mixin):
        document |= {name: list(ids) for name in ("depends", "applies") if (ids := getattr(category, name))}
    if isinstance(category, Kind | Mixin):
        if category.actions:
            document["actions"] = list(category.actions)
        if category.location:
            document["location"] = category.location
    return document


def entity_document(view: EntityView) -> dict[str, Any]:
    """A resource or a link (GFD.226 4.1, 4.2)."""
    entity = view.entity
    document: dict[str, Any] = {"kind": entity.kind, "id": uri(entity.path, entity.id)}
    if entity.mixins:
        document["mixins"] = list(entity.mixins)
    attributes = {
        name: value
        for name, value in without_ends(entity.attributes).items()
        if not _is_unset(value, view.definitions.get(name))
    }
    if attributes:
        document["attributes"] = attributes
    if view.actions:
        document["actions"] = list(view.actions)
    if entity.title:
        document["title"] = entity.title
    if is_link(entity):
        return document | {end: _end(entity, end) for end in ("source", "target")}
    if entity.summary:
        document["summary"] = entity.summary
    if view.links:
        document["links"] = [entity_document(link) for link in view.links]
    return document


def _is_unset(value: Any, definition: AttributeDefinition | None) -> bool:
    """Whether an attribute has no value. 2012 says so of an object by the empty string, which is not of the type shown."""
    if value == "" and definition is not None and definition.type in ("object", "any"):
        return definition.type == "object" or definition.initial() == ""
    return value is None


def is_link(entity: Entity) -> bool:
    """Whether the entity is a link: only those have a target."""
    return "occi.core.target" in entity.attributes or entity.kind == LINK.identifier


def _end(link: Entity, end: str) -> dict[str, str]:
    found = {"location": link.attributes.get(f"occi.core.{end}", "")}
    kind = link.attributes.get(f"occi.core.{end}.kind")
    return found | {"kind": kind} if kind else found


class Json12Writer(JsonWriter):
    """A :class:`~pycmbs.occi.rendering.Writer` of the 1.2 form."""

    full = True

    def categories(self, categories: list[Category], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        document: dict[str, list[Any]] = {"kinds": [], "mixins": [], "actions": []}
        for category in categories:
            document[category.class_ + "s"].append(category_document(category))
        return dump(document, pretty=pretty)

    def entity(self, view: EntityView, *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        return dump(entity_document(view), pretty=pretty)

    def entities(self, views: list[EntityView], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`. ``links`` is there when there are any; ``resources`` unless all are."""
        resources = [entity_document(view) for view in views if not is_link(view.entity)]
        links = [entity_document(view) for view in views if is_link(view.entity)]
        document = {"resources": resources} if resources or not links else {}
        return dump(document | ({"links": links} if links else {}), pretty=pretty)

    def report(self, action: str, document: dict[str, Any], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`. The standard has no form for it, so it is that of an invocation with the
        outcome as its attributes; a deletion leaves an empty collection."""
        return dump({"action": action, "attributes": document} if action else {"resources": []}, pretty=pretty)
