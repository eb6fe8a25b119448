"""``text/plain``, ``text/occi+plain`` and, in headers, ``text/occi`` (GFD.229; GFD.185 3.6.1).

What the text forms do not have is left out: types, patterns, defaults and descriptions of attributes, and all dependencies of a
mixin but the first; and of what kind the ends of a link are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pycmbs.errors import InvalidRequest, MalformedBody
from pycmbs.occi import naming
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import LINK, Action, Category, Kind, Mixin, parse_category, references
from pycmbs.occi.entity import Draft, Entity, Invocation
from pycmbs.occi.rendering import CategorySet, EntityView, ProviderBinding
from pycmbs.occi.rendering import fields as f

_PARAMETERS = {"scheme", "class", "title", "rel", "location", "attributes", "actions"}
_CLASSES = ("kind", "mixin", "action")
_MOST_HEADER = 4096
"""Bytes of an error in a header."""
_MOST_MESSAGE = 500
"""Characters of its sentence there."""
_ATTRIBUTE = re.compile(r"([^\s{}]+)(?:\{([^{}]*)\})?")
_LINK_OWN = ("rel", "self", "category")
_BELOW = frozenset({"occi.core.source.kind", "occi.core.target.kind"})
"""Not written: who reads names as a tree, as rOCCI does, loses the end itself, whose name is the beginning of this one. Of what
kind an end is, the end itself says."""


class TextReader:
    """A :class:`~pycmbs.occi.rendering.Reader` of lines."""

    def categories(self, body: bytes) -> CategorySet:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        found = [_category(text) for text in _only(body, f.CATEGORY)]
        if not found:
            raise MalformedBody(
                "the body names no category", hint='Send Category: term; scheme="…#"; class="mixin"; ….'
            )
        providers: list[ProviderBinding] = []
        return CategorySet(found, providers)

    def category_names(self, body: bytes) -> list[str]:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        return [_identified(text)[0] for text in _only(body, f.CATEGORY)]

    def category_filter(self, body: bytes) -> dict[str, list[dict[str, Any]]] | None:
        """See :class:`~pycmbs.occi.rendering.Reader`. The class narrows, where it is given (GFD.223 5.4.1)."""
        wanted: dict[str, list[dict[str, Any]]] = {}
        for text in _only(body, f.CATEGORY):
            identifier, parameters = _identified(text)
            scheme, term = naming.split_identifier(identifier)
            for class_ in [parameters["class"]] if "class" in parameters else _CLASSES:
                wanted.setdefault(class_, []).append({"term": term, "scheme": scheme})
        return wanted or None

    def drafts(self, body: bytes, *, inline: bool = False) -> list[Draft]:
        """See :class:`~pycmbs.occi.rendering.Reader`. One entity: text has no form for several."""
        del inline
        found = _read(body)
        if not found:
            raise MalformedBody(
                "the body is empty", hint='Send Category: …; scheme="…#"; class="kind" and what else there is.'
            )
        return [_draft(found)]

    def entity_filter(self, body: bytes) -> list[Draft]:
        """See :class:`~pycmbs.occi.rendering.Reader`. Kinds, mixins and attributes, all of which must hold (GFD.185 3.4.4)."""
        found = _read(body)
        return [_draft(found)] if found else []

    def locations(self, body: bytes) -> list[str] | None:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        return _read(body).get(f.LOCATION)

    def invocation(self, body: bytes, term: str) -> Invocation:
        """See :class:`~pycmbs.occi.rendering.Reader`. An empty body means the action alone."""
        found = _read(body)
        named = [_identified(text)[0] for text in found.get(f.CATEGORY, [])]
        if len(named) > 1:
            raise MalformedBody("the body names more than one action", field="Category")
        term = naming.canonical(term)
        if named and naming.split_identifier(named[0])[1] != term:
            raise InvalidRequest(
                f"the URL asks for the action {term!r}, the body for {named[0]!r}", hint="Name the same action in both."
            )
        return Invocation(term, named[0] if named else "", dict(map(f.pair, found.get(f.ATTRIBUTE, []))))


def _read(body: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in f.fields(body):
        found.setdefault(name, []).append(value)
    return found


def _only(body: bytes, wanted: str) -> list[str]:
    found = _read(body)
    others = found.keys() - {wanted}
    if others:
        raise MalformedBody(f"the query interface takes {wanted}, not {min(others)}", field=min(others))
    return found.get(wanted, [])


def _identified(text: str) -> tuple[str, dict[str, str]]:
    """The identifier of a category, and its parameters."""
    term, *rest = f.parts(text)
    parameters = f.parameters(rest)
    if parameters.get("class", "kind") not in _CLASSES:
        raise MalformedBody(
            f"a category's class is {', '.join(_CLASSES)}, not {parameters['class'][:40]!r}", field="class"
        )
    return naming.identifier(parameters.get("scheme", ""), term), parameters


def _category(text: str) -> Category:
    identifier, parameters = _identified(text)
    unknown = parameters.keys() - _PARAMETERS
    if unknown:
        raise MalformedBody(f"a category has no {min(unknown)!r}", field=min(unknown))
    class_ = parameters.get("class", "mixin")
    scheme, term = naming.split_identifier(identifier)
    document: dict[str, Any] = {"term": term, "scheme": scheme, "title": parameters.get("title", "")}
    document["attributes"] = _definitions(parameters.get("attributes", ""))
    if class_ != "action":
        document["actions"] = parameters.get("actions", "").split()
        document["related"] = parameters.get("rel", "").split()[:1]
        if parameters.get("location"):
            document["location"] = naming.local_path(parameters["location"])
    return parse_category(class_, document)


def _definitions(text: str) -> dict[str, Any]:
    found = {}
    for match in _ATTRIBUTE.finditer(text):
        properties = set((match[2] or "").split())
        if properties - {"immutable", "required"}:
            raise MalformedBody(f"an attribute is immutable or required, not {match[2][:40]!r}", field="attributes")
        found[match[1]] = {
            "type": "any",
            "mutable": "immutable" not in properties,
            "required": "required" in properties,
        }
    return found


def _draft(found: Mapping[str, list[str]]) -> Draft:
    if f.LOCATION in found:
        raise MalformedBody(
            f"{f.LOCATION} names entities where one is described",
            hint="It belongs to a mixin's location.",
            field=f.LOCATION,
        )
    kinds: list[str] = []
    mixins: list[str] = []
    for text in found.get(f.CATEGORY, []):
        identifier, parameters = _identified(text)
        class_ = parameters.get("class", "mixin" if kinds else "kind")
        if class_ == "action":
            raise MalformedBody(f"{identifier} is an action, and an entity has a kind and mixins", field="Category")
        (kinds if class_ == "kind" else mixins).append(identifier)
    if len(set(kinds)) > 1:
        raise MalformedBody(f"an entity has one kind, not {', '.join(kinds)}", field="Category")
    attributes: dict[str, Any] = {}
    for text in found.get(f.ATTRIBUTE, []):
        name, given = f.pair(text)
        attributes[name] = given
    links = [link for text in found.get(f.LINK, []) if (link := _link(text)) is not None]
    return Draft(
        kind=kinds[0] if kinds else None,
        mixins=tuple(dict.fromkeys(mixins)) if kinds or mixins else None,
        adds_mixins=True,
        links=links if f.LINK in found else None,
        **_core(attributes),
    )


def _core(attributes: dict[str, Any]) -> dict[str, Any]:
    """What stands among the attributes in text and beside them in a draft."""
    found: dict[str, Any] = {}
    for name in ("id", "title", "summary"):
        given = attributes.pop(f"occi.core.{name}", None)
        if given is not None:
            text = str(given)
            if "\0" in text:
                raise MalformedBody(f"occi.core.{name} contains a NUL character", field=name)
            found[name] = naming.bare_id(text) if name == "id" and text else text or None
    return {"attributes": attributes or None, **found}


def _link(text: str) -> Draft | None:
    """An inline link (GFD.229 4.3); None for the link to an action, which a client sends back as it got it."""
    target, *rest = f.parts(text)
    if not (target.startswith("<") and target.endswith(">")):
        raise MalformedBody(f"a link begins with its target as <URL>, not with {target[:60]!r}", field="Link")
    if "?action=" in target:
        return None
    attributes = dict(map(f.pair, rest))
    own = {name: str(attributes.pop(name, "")) for name in _LINK_OWN}
    categories = references(own["category"].split(), "the link", "category")
    relation = references(own["rel"].split()[:1], "the link", "rel")
    ends: dict[str, Any] = {"occi.core.target": target[1:-1]}
    if relation:
        ends["occi.core.target.kind"] = relation[0]
    core = _core(attributes)
    return Draft(
        kind=categories[0] if categories else LINK.identifier,
        mixins=categories[1:],
        id=core.pop("id", None) or (naming.bare_id(own["self"].rpartition("/")[2]) if own["self"] else None),
        **{**core, "attributes": {**(core["attributes"] or {}), **ends}},
    )


class TextWriter:
    """A :class:`~pycmbs.occi.rendering.Writer` of lines."""

    full = False

    def categories(self, categories: list[Category], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        del pretty
        return f.lines((f.CATEGORY, category_line(one)) for one in categories)

    def entity(self, view: EntityView, *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`. The short form of categories: stricter parsers refuse the long one."""
        del pretty
        entity = view.entity
        found = [
            (f.CATEGORY, _short(entity.kind, "kind")),
            *((f.CATEGORY, _short(one, "mixin")) for one in entity.mixins),
        ]
        found += [(f.LINK, _link_line(link)) for link in view.links]
        found += [
            (f.LINK, f"<{_path(view.url)}?action={name.rpartition('#')[2]}>; rel={f.quote(name)}")
            for name in view.actions
        ]
        found += [(f.ATTRIBUTE, f"{name}={text}") for name, text in _attributes(view).items()]
        return f.lines(found)

    def entities(self, views: list[EntityView], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        return self.listing([view.url for view in views], pretty=pretty)

    def listing(self, urls: list[str], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        del pretty
        return f.lines((f.LOCATION, url) for url in urls)

    def created(self, urls: list[str], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        return self.listing(urls, pretty=pretty)

    def report(self, action: str, document: dict[str, Any], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`."""
        del action, pretty
        return f.lines((f.ATTRIBUTE, f"{name}={f.written(given, 'any')}") for name, given in document.items())

    def reports(self, action: str, reports: dict[str, dict[str, Any]], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`. Which entities they are of: text has no form for more."""
        del action
        return self.listing(list(reports), pretty=pretty)

    def error(self, document: dict[str, Any], *, pretty: bool) -> bytes:
        """See :class:`~pycmbs.occi.rendering.Writer`. One line for each field, to be read by people and by ``grep``."""
        del pretty
        shown = {"error": document["message"], **{name: one for name, one in document.items() if name != "message"}}
        return "".join(
            f"{name}: {one if isinstance(one, str) and one.isprintable() else f.written(one)}\n"
            for name, one in shown.items()
        ).encode("utf-8", "replace")


def error_header(document: Mapping[str, Any]) -> str:
    """An error as the value of the header ``X-OCCI-Error``: the fields of the other renderings as parameters, but for those
    that would make it too long for a header."""
    first = {"message": document["message"], "code": document["code"], "status": document["status"]}
    first["message"] = first["message"][:_MOST_MESSAGE]
    parts, left = [], _MOST_HEADER
    for name, one in {**first, **{name: one for name, one in document.items() if name not in first}}.items():
        part = f"{name}={f.written(one)}".encode("utf-8", "replace").decode("latin-1")
        left -= len(part)
        if left >= 0:
            parts.append(part)
    return "; ".join(parts)


def category_line(category: Category) -> str:
    """A category with all that text can say of it, in the order of the grammar (GFD.229 4.1)."""
    parts = [category.term, f"scheme={f.quote(category.scheme)}", f'class="{category.class_}"']
    names = {
        "title": category.title,
        "rel": category.parent if isinstance(category, Kind) else "",
        "location": "" if isinstance(category, Action) else getattr(category, "location", ""),
        "attributes": " ".join(_definition(one) for name, one in category.attributes.items() if name not in _BELOW),
        "actions": " ".join(getattr(category, "actions", ())),
    }
    if isinstance(category, Mixin) and category.depends:
        names["rel"] = category.depends[0]
    return "; ".join([*parts, *(f"{name}={f.quote(text)}" for name, text in names.items() if text)])


def _definition(definition: AttributeDefinition) -> str:
    said = ["immutable"] if not definition.mutable or definition.internal else []
    said += ["required"] if definition.required else []
    return f"{definition.name}{{{' '.join(said)}}}" if said else definition.name


def _short(identifier: str, class_: str) -> str:
    scheme, _, term = identifier.rpartition("#")
    return f'{term}; scheme={f.quote(scheme + "#")}; class="{class_}"'


def _path(url: str) -> str:
    return "/" + url.partition("://")[2].partition("/")[2] if "://" in url else url


def _attributes(view: EntityView) -> dict[str, str]:
    entity, definitions = view.entity, view.definitions
    given = {"occi.core.id": entity.id, "occi.core.title": entity.title, "occi.core.summary": entity.summary}
    found = {name: f.quote(text) for name, text in given.items() if text}
    for name, one in entity.attributes.items():
        if name in _BELOW:
            continue
        definition = definitions.get(name)
        found[name] = f.written(one, definition.type if definition else "string")
    return found


def _link_line(view: EntityView) -> str:
    link: Entity = view.entity
    relation = link.attributes.get("occi.core.target.kind") or "http://schemas.ogf.org/occi/core#resource"
    parts = [
        f"<{link.attributes.get('occi.core.target', '')}>",
        f"rel={f.quote(relation)}",
        f"self={f.quote(_path(view.url))}",
        f"category={f.quote(' '.join([link.kind, *link.mixins]))}",
    ]
    return "; ".join([*parts, *(f"{name}={text}" for name, text in _attributes(view).items() if text != '""')])
