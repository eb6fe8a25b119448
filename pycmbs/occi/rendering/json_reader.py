"""``application/occi+json`` as clients send it: the form of May 2012 and that of 1.2, where they do not exclude each other.

Nested and flat attribute names, ``{"resources": […]}`` and a bare object, either form of an invocation, and every way in which
clients list locations are understood.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from pycmbs import codec
from pycmbs.depth import deeper
from pycmbs.errors import InvalidRequest, MalformedBody
from pycmbs.occi import naming
from pycmbs.occi.attribute import MOST_DEPTH
from pycmbs.occi.category import parse_category, references
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.occi.rendering import CategorySet, ProviderBinding

_COLLECTION = frozenset({"resources", "links"})
_CLASSES = {"kinds": "kind", "mixins": "mixin", "actions": "action"}
_ENTITY_MEMBERS = frozenset(
    {
        "kind",
        "id",
        "mixins",
        "attributes",
        "actions",
        "links",
        "title",
        "summary",
        "location",
        "source",
        "target",
        "rel",
    }
)
_LINK_MEMBERS = frozenset({"source", "target", "rel"})
_END_PARTS = {"location": "", "kind": ".kind"}
_EXAMPLE = 'Send {"resources": [{"kind": "http://houssem.org/cmbs#member", "attributes": {…}}]}.'


def load(body: bytes) -> Any:
    """The JSON value. Raises MalformedBody saying where it breaks."""
    try:
        value = codec.received(body)
    except codec.DecodeError as exc:
        raise MalformedBody(
            f"the body is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}",
            hint="With curl, -d@FILE sends a file.",
            line=exc.lineno,
            column=exc.colno,
        ) from exc
    if deeper(value, MOST_DEPTH, body):
        raise MalformedBody(f"the body nests deeper than {MOST_DEPTH} levels")
    return value


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    value = load(body)
    if not isinstance(value, dict):
        raise MalformedBody(f"the body must be a JSON object, not {_name(value)}")
    return value


def _name(value: Any) -> str:
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


def _list(document: dict[str, Any], member: str) -> list[Any]:
    value = document.get(member)
    if value in (None, ""):
        return []
    if not isinstance(value, list):
        raise MalformedBody(f"{member!r} must be an array, not {_name(value)}", field=member)
    return value


def _objects(document: dict[str, Any], member: str) -> list[dict[str, Any]]:
    found = _list(document, member)
    for item in found:
        if not isinstance(item, dict):
            raise MalformedBody(f"{member!r} must hold objects, not {_name(item)}", field=member)
    return found


class JsonReader:
    """A :class:`~pycmbs.occi.rendering.Reader` of both JSON forms, where they do not exclude each other."""

    def categories(self, body: bytes) -> CategorySet:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        document = _object(body)
        _only(document, {*_CLASSES, "providers"}, "the query interface")
        found = [
            parse_category(class_, item) for member, class_ in _CLASSES.items() for item in _objects(document, member)
        ]
        providers = [self._provider(item) for item in _objects(document, "providers")]
        if not found and not providers:
            raise MalformedBody(
                "the body names no category",
                hint='Send {"kinds": […], "mixins": […], "actions": […]} or {"providers": […]}.',
            )
        return CategorySet(found, providers)

    def _provider(self, item: dict[str, Any]) -> ProviderBinding:
        provider = item.get("Provider")
        if not isinstance(provider, dict):
            raise MalformedBody("a provider binding needs an object 'Provider'", field="Provider")
        kind = naming.whole(item.get("OCCI_ID", ""))
        names = {}
        for side in ("local", "remote"):
            names[side] = tuple(_list(provider, side))
            if not all(isinstance(name, str) for name in names[side]):
                raise MalformedBody(f"'Provider.{side}' must hold names", field=side)
        return ProviderBinding(kind, names["local"], names["remote"])

    def category_names(self, body: bytes) -> list[str]:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        document = _object(body)
        _only(document, set(_CLASSES), "the query interface")
        return [name for member in _CLASSES for name in references(_list(document, member), "the body", member)]

    def category_filter(self, body: bytes) -> dict[str, list[dict[str, Any]]] | None:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        document = _object(body)
        _only(document, set(_CLASSES), "the query interface")
        if not document:
            return None
        return {class_: _objects(document, member) for member, class_ in _CLASSES.items() if member in document}

    def drafts(self, body: bytes, *, inline: bool = False) -> list[Draft]:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        document = _object(body)
        if "resources" in document or (document.keys() == {"links"} and not inline):
            _only(document, _COLLECTION, "a collection of entities")
            items = _objects(document, "resources") + _objects(document, "links")
        else:
            items = [document] if document else []
        if not items:
            what = "describes no entity" if body.strip() else "is empty (with curl: does the file after -d@ exist?)"
            raise MalformedBody(f"the body {what}", hint=_EXAMPLE)
        return [draft(item) for item in items]

    def entity_filter(self, body: bytes) -> list[Draft]:
        """See :class:`~pycmbs.occi.rendering.Reader`. ``{}`` filters nothing (2012 let it match nothing)."""
        document = _object(body)
        items = [item for member in ("resources", "links") for item in _objects(document, member)]
        if any("location" in item for item in (document, *items)):
            raise MalformedBody("a filter has no 'location'", hint="Filter by 'id'.", field="location")
        return self.drafts(body) if document else []

    def locations(self, body: bytes) -> list[str] | None:
        """See :class:`~pycmbs.occi.rendering.Reader`."""
        document = load(body) if body.strip() else {}
        if isinstance(document, list):  # as rOCCI sends them
            document = {"locations": document}
        if not isinstance(document, dict):
            raise MalformedBody(f"the body must be an object or an array of URLs, not {_name(document)}")
        for member in ("X-OCCI-Location", "Location", "locations"):
            if member in document:
                urls = _list(document, member)
                if not all(isinstance(url, str) for url in urls):
                    raise MalformedBody(f"{member!r} must hold URLs", field=member)
                return urls
        items = [item for member in ("resources", "links") for item in _objects(document, member)]
        urls = [item.get("location") for item in items]
        if not urls and not ({"resources", "links"} & document.keys()):
            return None
        return urls if all(isinstance(url, str) for url in urls) else None

    def invocation(self, body: bytes, term: str) -> Invocation:
        """See :class:`~pycmbs.occi.rendering.Reader`. ``{}`` and an empty body mean the action alone, as in 2012."""
        document = _object(body)
        _only(
            document,
            {"action", "actions", "attributes", "category"},
            "an action invocation (options go into 'attributes')",
        )
        given = document.get("action") or document.get("category") or document.get("actions")
        if isinstance(given, str) and naming.canonical(given) == naming.canonical(term):
            given = None  # the term alone says no more than the URL
        named = references(given, "the body", "action")
        if len(named) > 1:
            raise MalformedBody("the body names more than one action", field="actions")
        attributes = document.get("attributes", {})
        if not isinstance(attributes, dict):
            raise MalformedBody(f"'attributes' must be an object, not {_name(attributes)}", field="attributes")
        term = naming.canonical(term)
        if named and naming.split_identifier(named[0])[1] != term:
            raise InvalidRequest(
                f"the URL asks for the action {term!r}, the body for {named[0]!r}", hint="Name the same action in both."
            )
        return Invocation(term, named[0] if named else "", attributes)


def draft(item: dict[str, Any]) -> Draft:
    """The entity that one JSON object describes. Raises MalformedBody, InvalidCategory, InvalidRequest."""
    if not _ENTITY_MEMBERS.issuperset(item):
        unknown = min(set(item) - _ENTITY_MEMBERS)
        raise MalformedBody(
            f"an entity has no member {unknown!r}",
            hint=f"It has: {', '.join(sorted(_ENTITY_MEMBERS))}. Attributes go into 'attributes'.",
            field=unknown,
        )
    attributes = item.get("attributes")
    if attributes is not None and not isinstance(attributes, dict):
        raise MalformedBody(f"'attributes' must be an object, not {_name(attributes)}", field="attributes")
    ends = _ends(item)
    attributes = _lifted(attributes) if attributes and "occi" in attributes else attributes
    attributes = {**ends, **(attributes or {})} if ends or attributes is not None else None
    title, summary = _text(item, attributes, "title"), _text(item, attributes, "summary")
    kind = item.get("kind")
    if isinstance(kind, list) and len(kind) == 1:
        kind = kind[0]
    given_id = item.get("id")
    if attributes is not None:
        given_id = attributes.pop("occi.core.id", given_id)
    return Draft(
        kind=None if kind is None else naming.whole(kind),
        id=None if given_id in (None, "") else naming.bare_id(given_id),
        mixins=references(_list(item, "mixins"), "the entity", "mixins") if "mixins" in item else None,
        attributes=attributes,
        links=[draft(link) for link in _objects(item, "links")] if "links" in item else None,
        title=title,
        summary=summary,
        location=_location(item),
    )


def _location(item: dict[str, Any]) -> str | None:
    """Where the entity is, as a path: no form of the standard has it, and other servers show it."""
    value = item.get("location")
    if value in (None, ""):
        return None
    path = naming.local_path(value) if isinstance(value, str) else ""
    if not path.startswith("/"):
        raise MalformedBody("'location' must be a URL or a path", field="location")
    return naming.canonical_path(path)


def _lifted(attributes: dict[str, Any]) -> dict[str, Any]:
    """Nested attributes of OCCI Core under their full names: they mean the same in every entity."""
    occi = attributes.get("occi")
    core = occi.get("core") if isinstance(occi, dict) else None
    if not isinstance(occi, dict) or not isinstance(core, dict):
        return attributes
    rest = {name: value for name, value in occi.items() if name != "core"}
    found = {**attributes, **{f"occi.core.{name}": value for name, value in core.items()}}
    return found | {"occi": rest} if rest else {name: value for name, value in found.items() if name != "occi"}


def _ends(item: dict[str, Any]) -> dict[str, Any]:
    """A link's source and target as attributes (GFD.229 4.3): strings in 2012, objects with location and kind in 1.2."""
    if _LINK_MEMBERS.isdisjoint(item):
        return {}
    found: dict[str, Any] = {}
    for end in ("source", "target"):
        value = item.get(end)
        if isinstance(value, dict):
            found |= {f"occi.core.{end}{part}": value[name] for name, part in _END_PARTS.items() if name in value}
        elif value is not None:
            found[f"occi.core.{end}"] = value
    if "rel" in item:
        found["occi.core.target.kind"] = item["rel"]
    return found


def _only(document: dict[str, Any], known: AbstractSet[str], where: str) -> None:
    if not document.keys() <= known:
        unknown = min(document.keys() - known)
        raise MalformedBody(
            f"{where} has no member {unknown!r}", hint=f"It has: {', '.join(sorted(known))}.", field=unknown
        )


def _text(item: dict[str, Any], attributes: dict[str, Any] | None, name: str) -> str | None:
    value = item.get(name)
    if attributes is not None:
        value = attributes.pop(f"occi.core.{name}", value)  # 1.2 knows them as attributes too
    if value is not None and (not isinstance(value, str) or "\x00" in value):
        raise MalformedBody(f"{name!r} must be a string without NUL", field=name)
    return value
