"""Generates OpenAPI 3.1 from the categories there are now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pycmbs import __version__, errors
from pycmbs.errors import CmbsError
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import ENTITY, Kind, Mixin
from pycmbs.occi.layers import layer_of
from pycmbs.occi.pattern import enumeration
from pycmbs.occi.registry import Registry

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
    "or OCCI/1.2 in User-Agent. ?watch with a GET tells what changes, as text/event-stream."
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
            "responses": {"Error": _answer("what was wrong, where, and what to do", "Error")},
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


def _error() -> Document:
    codes = {one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, CmbsError)}
    error = {
        "type": "object",
        "required": ["status", "code", "message"],
        "properties": {
            "status": {"type": "integer"},
            "code": {"enum": sorted(codes)},
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
    if not terms:
        return []
    return [
        {
            "name": "action",
            "in": "query",
            "schema": {"enum": terms},
            "description": "what is to be done; the body has the action's attributes then",
        }
    ]


def _creating(terms: list[str]) -> list[Document]:
    """What a creation may have besides what it makes."""
    sends = [term for term in terms if layer_of("send", term)]
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
            requestBody=_body(_many(name), _ref(name)),
        ),
        "delete": _operation(
            f"delete all {location}",
            f"delete the entities of {title}, all or those selected",
            {"200": ("how many", "Report")},
            parameters=_FILTERS,
        ),
    }


def _member(kind: Kind, name: str, terms: list[str]) -> Document:
    location, title = kind.location, kind.title or kind.term
    id: Document = {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._~-]+$", "maxLength": 200},
    }
    return {
        "parameters": [id],
        "get": _operation(f"read {location}", f"read one of {title}", {"200": ("it", name)}),
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
