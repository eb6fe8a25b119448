"""``application/occi+json`` as of the draft of May 2012, which clients of 2012 get: how answers are written.

Attributes are nested objects, creation answers ``{"Location": […]}``, a collection ``{"X-OCCI-Location": […]}``, an entity
is a bare object whose actions are ``{title, href, category}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pycmbs import codec
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import LINK, Action, Category, Kind, Mixin
from pycmbs.occi.entity import Entity
from pycmbs.occi.rendering import EntityView
from pycmbs.occi.schema import nested


def dump(document: Any, *, pretty: bool) -> bytes:
    """JSON, ending with a newline."""
    return codec.dumps(document, pretty=True) if pretty else codec.dumps(document) + b"\n"


def definition_document(definition: AttributeDefinition) -> dict[str, Any]:
    """An attribute definition as JSON."""
    document: dict[str, Any] = {
        "type": definition.type,
        "mutable": definition.mutable,
        "required": definition.required,
    }
    if definition.pattern is not None:
        document["pattern"] = definition.pattern
    if definition.has_default:
        document["default"] = definition.default
    bounds = {"minimum": definition.minimum, "maximum": definition.maximum}
    document |= {name: bound for name, bound in bounds.items() if bound is not None}
    if definition.description:
        document["description"] = definition.description
    return document


def _definitions(category: Category) -> dict[str, Any]:
    """Nested, but for names with a part that looks like a field of a definition when it stands inside an object."""
    flat = {name: definition_document(one) for name, one in category.attributes.items()}
    mistakable = {name: one for name, one in flat.items() if {"pattern", "default"} & set(name.split(".")[1:])}
    return {**nested({name: one for name, one in flat.items() if name not in mistakable}), **mistakable}


def category_document(category: Category) -> dict[str, Any]:
    """A category as JSON, such that :func:`~pycmbs.occi.category.parse_category` reads the same category from it."""
    document: dict[str, Any] = {
        "term": category.term,
        "scheme": category.scheme,
        "title": category.title,
        "attributes": _definitions(category),
    }
    if isinstance(category, Kind):
        document["parent"] = category.parent
    elif isinstance(category, Mixin):
        document |= {"depends": list(category.depends), "applies": list(category.applies)}
    if not isinstance(category, Action):
        assert isinstance(category, Kind | Mixin)
        document["actions"] = list(category.actions)
        if category.location:
            document["location"] = category.location
    return document


def shown_document(category: Category) -> dict[str, Any]:
    """The same with ``related`` besides, as clients of 2012 and 2013 read what later is ``parent`` and ``depends``."""
    document = category_document(category)
    if isinstance(category, Kind):
        document["related"] = [category.parent] if category.parent else []
    elif isinstance(category, Mixin):
        document["related"] = list(category.depends)
    return document


def entity_document(entity: Entity) -> dict[str, Any]:
    """An entity as JSON, without what depends on where it is read: also the form in which members exchange it."""
    return {
        "kind": entity.kind,
        "mixins": list(entity.mixins),
        "attributes": nested(entity.attributes),
        "id": entity.id,
        "title": entity.title,
        "summary": entity.summary,
        "links": [link_document(link) for link in entity.links],
    }


def link_document(link: Entity) -> dict[str, Any]:
    """A link inside its source (draft of May 2012): its target beside its attributes."""
    document = entity_document(replace(link, attributes=without_ends(link.attributes)))
    del document["links"]
    return document | {"target": link.attributes.get("occi.core.target", "")}


def without_ends(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A link's attributes but for those that say what it links."""
    return {name: value for name, value in attributes.items() if name not in LINK.attributes}


class JsonWriter:
    """A :class:`~pycmbs.occi.rendering.Writer` of the 2012 form."""

    full = False

    def categories(self, categories: list[Category], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        document: dict[str, list[Any]] = {"kinds": [], "mixins": [], "actions": []}
        for category in categories:
            document[category.class_ + "s"].append(shown_document(category))
        return dump(document, pretty=pretty)

    def entity(self, view: EntityView, *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        document = entity_document(view.entity)
        document["actions"] = [
            {"title": title, "href": f"{view.url}?action={name.rpartition('#')[2]}", "category": name}
            for name, title in view.actions.items()
        ]
        return dump(document, pretty=pretty)

    def entities(self, views: list[EntityView], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        return self.listing([view.url for view in views], pretty=pretty)

    def listing(self, urls: list[str], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        return dump({"X-OCCI-Location": urls}, pretty=pretty)

    def created(self, urls: list[str], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        return dump({"Location": urls}, pretty=pretty)

    def report(self, action: str, document: dict[str, Any], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        del action
        return dump(document, pretty=pretty)

    def reports(self, action: str, reports: dict[str, dict[str, Any]], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        return self.report(action, reports, pretty=pretty)

    def error(self, document: dict[str, Any], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        return dump({"error": document}, pretty=pretty)
