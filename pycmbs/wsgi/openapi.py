"""Generates OpenAPI 3.1 from the categories there are now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pycmbs import __version__, errors
from pycmbs.errors import CmbsError
from pycmbs.occi import cmbs
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import ENTITY, Kind, Mixin
from pycmbs.occi.layers import layer_of
from pycmbs.occi.pattern import enumeration
from pycmbs.occi.registry import Registry
from pycmbs.occi.rendering import cloud_events
from pycmbs.wsgi.negotiation import CLOUD_EVENT, CLOUD_EVENTS, PROBLEM

Document = dict[str, Any]

_JSON_TYPES = ("application/occi+json", "application/json")
_TEXT_TYPES = ("text/plain", "text/occi", "text/uri-list")
_TYPES: Mapping[str, Document] = {
    "string": {"type": "string"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "array": {"type": "array"},
    "object": {"type": ["object", "string"]},
    "any": {},
}
"""Of attributes; the empty string stands for no object, as in 2012."""
_OBJECT: Document = {"type": "object"}
_ABOUT = (
    "A federated message broker with the Open Cloud Computing Interface. Each kind has a collection, and its entities are "
    "below that. "
    "JSON is nested and bare as in 2012, or flat and whole as in OCCI 1.2 for Accept: application/occi+json;version=1.2 "
    "or OCCI/1.2 in User-Agent. ?watch with a GET tells what changes, as text/event-stream. CloudEvents become messages, "
    "also those of the binary mode, with headers that begin with ce-. Who accepts application/problem+json gets errors so."
)
_PAGING: list[Document] = [
    {"name": name, "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": most}, "description": about}
    for name, most, about in (
        ("page", 999_999_999, "which page, with number"),
        ("number", 1000, "how many entities a page has, with page"),
    )
]
_PAGING.append(
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}, "description": "desc: the newest first"}
)
_KEY: Document = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "description": "what the client calls this creation: the same again makes nothing more",
}
_PREFER: Document = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string"},
    "description": "wait=5 is the parameter wait (RFC 7240)",
}
_FILTERS: list[Document] = [
    {
        "name": "category",
        "in": "query",
        "schema": {"type": "array", "items": {"type": "string"}},
        "description": "identifiers or terms of a kind and of mixins that the entities must have",
    },
]


def open_api(registry: Registry, base: str, *, secured: bool) -> Document:
    """The description of the interface at the URL ``base``. ``secured``: it asks who asks."""
    kinds = [one for one in registry if isinstance(one, Kind) and one.location and one.identifier != ENTITY.identifier]
    mixins = [one for one in registry if isinstance(one, Mixin) and one.location]
    paths = {"/": _everything(), "/-/": _categories()}
    schemas: Document = {"Error": _error(), "Locations": _locations(), "Categories": _OBJECT, "Report": _OBJECT}
    schemas |= {"Problem": _problem(), "CloudEvent": _cloud_event()}
    for kind in kinds:
        if re.search(r"[{}?#]", kind.location):
            continue
        name = _name(kind.location)
        schemas[name] = _entity(registry, kind)
        schemas[f"{name}.list"] = {"anyOf": [_ref("Locations"), _many(name)]}
        terms = sorted(registry.actions(kind, _applicable(registry, kind)))
        paths[kind.location] = _collection(kind, name, terms)
        paths[f"{kind.location}{{id}}"] = _member(kind, name, terms)
    for mixin in mixins:
        if mixin.location not in paths and not re.search(r"[{}?#]", mixin.location):
            paths[mixin.location] = {"get": _listing(f"list {mixin.location}", mixin.title or mixin.term, "Locations")}
    document: Document = {
        "openapi": "3.1.0",
        "info": {"title": "pyCMBS", "version": __version__, "description": _ABOUT},
        "servers": [{"url": base}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Error": _refusal()},
        },
    }
    if secured:
        document["components"]["securitySchemes"] = {
            "password": {"type": "http", "scheme": "basic"},
            "token": {"type": "http", "scheme": "bearer"},
        }
        document["security"] = [{"password": []}, {"token": []}]
    return document


def _applicable(registry: Registry, kind: Kind) -> list[str]:
    family = registry.family(kind)
    return [one.identifier for one in registry if isinstance(one, Mixin) and one.applies and family & set(one.applies)]


def _name(location: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", location.strip("/"))


def _ref(name: str, kind: str = "schemas") -> Document:
    return {"$ref": f"#/components/{kind}/{name}"}


def _answer(description: str, schema: str) -> Document:
    if not schema:
        return {"description": description}  # without a body
    content: Document = {type: {"schema": _ref(schema)} for type in _JSON_TYPES}
    content |= {type: {"schema": {"type": "string"}} for type in _TEXT_TYPES}
    return {"description": description, "content": content}


def _refusal() -> Document:
    answer = _answer("what was wrong, where, and what to do", "Error")
    answer["content"][PROBLEM] = {"schema": _ref("Problem")}
    return answer


def _operation(id: str, summary: str, answers: Mapping[str, tuple[str, str]], **more: Any) -> Document:
    responses: Document = {status: _answer(text, schema) for status, (text, schema) in answers.items()}
    responses["default"] = _ref("Error", "responses")
    return {"operationId": id, "summary": summary, **more, "responses": responses}


def _body(*schemas: Document, required: bool = True) -> Document:
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
    return {"required": required, "content": {_JSON_TYPES[0]: {"schema": schema}}}


# Schemas


def _attribute(definition: AttributeDefinition) -> Document:
    schema = dict(_TYPES[definition.type])
    words = enumeration(definition.pattern)
    if words is not None and definition.type == "string":
        schema["enum"] = sorted(words)
    if words is not None and definition.type == "array":
        schema["items"] = {"enum": sorted(words)}
    if definition.description:
        schema["description"] = definition.description
    if definition.internal:
        schema["readOnly"] = True
    return schema


def _entity(registry: Registry, kind: Kind) -> Document:
    """An entity in both forms of JSON: the names of attributes flat, or nested."""
    found: dict[str, AttributeDefinition] = dict(registry.schema(kind, ()).definitions)
    for identifier in _applicable(registry, kind):
        try:
            found |= registry.schema(kind, (identifier,)).definitions
        except CmbsError:  # a mixin that contradicts it does not apply
            continue
    flat = {name: _attribute(one) for name, one in found.items()}
    return {
        "type": "object",
        "title": kind.title or kind.term,
        "properties": {
            "kind": {"type": "string"},
            "id": {"type": "string"},
            "mixins": {"type": "array", "items": {"type": "string"}},
            "attributes": {"type": "object", "properties": flat},
            "title": {"type": "string"},
            "summary": {"type": "string"},
        },
    }


def _many(name: str) -> Document:
    some = {"type": "array", "items": _ref(name)}
    return {"type": "object", "properties": {"resources": some, "links": some}}


def _locations() -> Document:
    urls = {"type": "array", "items": {"type": "string"}}
    return {"type": "object", "properties": {"X-OCCI-Location": urls, "Location": urls}}


def _codes() -> list[str]:
    return sorted({one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, CmbsError)})


def _problem() -> Document:
    """An error as RFC 9457 has it."""
    texts = {name: {"type": "string"} for name in ("type", "title", "detail", "hint")}
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {**texts, "status": {"type": "integer"}, "code": {"enum": _codes()}},
    }


def _cloud_event() -> Document:
    """An event as CloudEvents 1.0 has it, which becomes a message with its type as the topic."""
    texts = {name: {"type": "string"} for name in ("subject", "time", "datacontenttype", "dataschema", "data_base64")}
    required = {name: {"type": "string", "minLength": 1} for name in cloud_events.REQUIRED}
    return {
        "type": "object",
        "required": [*required],
        "properties": {**required, "specversion": {"const": "1.0"}, **texts, "data": {}},
        "not": {"required": ["data", "data_base64"]},
    }


def _error() -> Document:
    error = {
        "type": "object",
        "required": ["status", "code", "message"],
        "properties": {
            "status": {"type": "integer"},
            "code": {"enum": _codes()},
            "message": {"type": "string"},
            "hint": {"type": "string"},
        },
    }
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


# Paths


def _everything() -> Document:
    return {
        "get": _listing("list /", "every entity", "Locations"),
        "post": _operation(
            "create /",
            "make entities of any kind, all or none",
            {"200": ("what came of it", "Report"), "201": ("where they are, or what", "Report")},
            requestBody=_body(_OBJECT),
        ),
    }


def _categories() -> Document:
    return {
        "get": _operation("list /-/", "the categories", {"200": ("kinds, mixins and actions", "Categories")}),
        "post": _operation("register /-/", "register categories", {"200": ("done", "")}, requestBody=_body(_OBJECT)),
    }


def _listing(id: str, what: str, schema: str) -> Document:
    return _operation(
        id, f"list {what}", {"200": ("where they are, or what", schema)}, parameters=[*_FILTERS, *_PAGING]
    )


def _acting(terms: list[str]) -> list[Document]:
    """What says which action is to be performed, and how."""
    if not terms:
        return []
    action = {
        "name": "action",
        "in": "query",
        "schema": {"enum": terms},
        "description": "what is to be done; the body or the query has the action's attributes then",
    }
    return [action, *(_sending() if _sends(terms) else [])]


def _sends(terms: list[str]) -> list[str]:
    return [term for term in terms if layer_of("send", term)]


def _sending() -> list[Document]:
    """What a send takes, with ``action`` or ``then``."""
    found: list[Document] = []
    for name, one in cmbs.SEND_OPTIONS.items():
        schema = _attribute(one)
        about = schema.pop("description")
        if one.maximum is not None:
            schema |= {"minimum": one.minimum, "maximum": one.maximum}
        found.append({"name": name, "in": "query", "schema": schema, "description": f"with a send: {about}"})
    return [*found, _PREFER]


def _creating(terms: list[str]) -> list[Document]:
    """What a creation may have besides what it makes."""
    sends = _sends(terms)
    then = {
        "name": "then",
        "in": "query",
        "schema": {"enum": sends},
        "description": "what is to be done with what is made, with the same commit",
    }
    return [*([then] if sends else []), _KEY]


def _collection(kind: Kind, name: str, terms: list[str]) -> Document:
    location, title = kind.location, kind.title or kind.term
    made = {"200": ("what came of the action", "Report"), "201": ("where they are, or what", f"{name}.list")}
    return {
        "get": _listing(f"list {location}", title, f"{name}.list"),
        "post": _operation(
            f"create {location}",
            f"make entities of {title}, all or none, or act on all",
            made,
            parameters=[*_acting(terms), *_creating(terms)],
            requestBody=_creation(kind, name),
        ),
        "delete": _operation(
            f"delete all {location}",
            f"delete the entities of {title}, all or those selected",
            {"200": ("how many", "Report")},
            parameters=_FILTERS,
        ),
    }


def _creation(kind: Kind, name: str) -> Document:
    """A body of a POST to a collection."""
    body = _body(_many(name), _ref(name))
    if kind.identifier == cmbs.MESSAGE:
        body["content"][CLOUD_EVENT] = {"schema": _ref("CloudEvent")}
        body["content"][CLOUD_EVENTS] = {"schema": {"type": "array", "minItems": 1, "items": _ref("CloudEvent")}}
    return body


def _member(kind: Kind, name: str, terms: list[str]) -> Document:
    location, title = kind.location, kind.title or kind.term
    reading = _operation(f"read {location}", f"read one of {title}", {"200": ("it", name)})
    if kind.identifier == cmbs.MESSAGE:
        reading["responses"]["200"]["content"][CLOUD_EVENT] = {"schema": _ref("CloudEvent")}
    id: Document = {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._~-]+$", "maxLength": 200},
    }
    return {
        "parameters": [id],
        "get": reading,
        "put": _operation(
            f"replace {location}",
            f"make one of {title} here, or replace it",
            {"200": ("it, replaced", name), "201": ("where it is, or what", f"{name}.list")},
            requestBody=_body(_ref(name)),
        ),
        "post": _operation(
            f"change {location}",
            f"change a part of one of {title}, or act on it",
            {"200": ("it, or what came of the action", "Report")},
            parameters=_acting(terms),
            requestBody=_body(_ref(name)),
        ),
        "delete": _operation(f"delete {location}", f"delete one of {title}", {"200": ("it is gone", "")}),
    }
