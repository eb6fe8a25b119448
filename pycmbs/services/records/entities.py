"""Entities as stored documents: ids, bodies and the keys they are found by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycmbs.ids import canonical_id
from pycmbs.occi.entity import Entity
from pycmbs.services.access.access import BY
from pycmbs.services.records.times import sort_key_of_time
from pycmbs.store.base import Document, Write

ENTITY = "entity"
SETTLED, KEPT = "@settled", "@kept"
"""Keys of a message of which nothing more is to come: since when, and that it is one of them. No attribute has such a name."""
LINKS = "links"
"""The private record of the paths of links that may start at an entity; None: of too many. Up to version 0.3 there was none."""
BEYOND = "@beyond"
"""Key of an entity with arrays of which not all items are keys: which arrays those are."""
REQUEST = "request"
"""The private record of the request with a key that made an entity: the key's name, and a digest of what it said."""
RECEIVED = "received"
"""The private record of when a message of another member was taken in, in seconds since the epoch."""
BY_REQUEST = "@request"
"""Key of such an entity: the key's name."""
_OWN = frozenset({"kind", "id", "mixin", "folder"})
"""Keys that say what an entity is and where: an attribute may be called so, and its key is another then."""
_LONGEST = 512
"""Characters of a text that is indexed."""
_MOST_ITEMS = 256
"""How many items of an array attribute are keys; who looks for others reads the entities that have more."""


def document_id(path: str) -> str:
    """The document of the entity at ``path``."""
    return f"{ENTITY}:{path}"


def path_of(document: str) -> str:
    """The path of the entity in the document of this id."""
    return document.removeprefix(f"{ENTITY}:")


def key_value(value: Any) -> str | None:
    """A scalar as a key: what a query string, a JSON filter and a stored value have in common. None for what is not a scalar,
    and for a text that is content rather than a value to look for."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
    return None


def attribute_key(name: str) -> str:
    """The key by which entities are found by an attribute: its name, but for one that is a key of the broker's own."""
    return f"={name}" if name in _OWN else name


def _array_keys(keys: dict[str, tuple[str, ...]], name: str, value: list[Any]) -> None:
    if not value:
        return
    texts = tuple(dict.fromkeys([text for item in value if (text := key_value(item))]))
    if texts:
        keys[name] = texts[:_MOST_ITEMS]
    if len(texts) > _MOST_ITEMS:
        keys[BEYOND] = (*keys.get(BEYOND, ()), name)


def _private_keys(keys: dict[str, tuple[str, ...]], private: dict[str, Any]) -> None:
    if by := private.get("by"):
        keys[BY] = (by,)
        if len(private) == 1:  # there is nothing else of most
            return
    if "folders" in private:  # it is not below its kind's location
        keys["folder"] = tuple(private["folders"])
    if made := private.get(REQUEST):
        keys[BY_REQUEST] = (made[0],)
    if (since := private.get("settled")) is not None:
        keys |= {SETTLED: (sort_key_of_time(since),), KEPT: ("1",)}


def keys_of(entity: Entity) -> dict[str, tuple[str, ...]]:
    """What the entity can be found by."""
    keys: dict[str, tuple[str, ...]] = {"kind": (entity.kind,), "id": (entity.id,)}
    if entity.private:
        _private_keys(keys, entity.private)
    if entity.mixins:
        keys["mixin"] = tuple(entity.mixins)
    attributes = entity.attributes
    if not _OWN.isdisjoint(attributes):
        attributes = {attribute_key(name): value for name, value in attributes.items()}
    for name, value in attributes.items():
        if isinstance(value, str):  # as most are
            if value and len(value) <= _LONGEST:
                keys[name] = (value,)
        elif isinstance(value, list):
            _array_keys(keys, name, value)
        elif text := key_value(value):
            keys[name] = (text,)
    if title := key_value(entity.title):
        keys["occi.core.title"] = (title,)
    return keys


def note_settled(message: Entity, at: float | None) -> None:
    """Note since when nothing more is to come of a message, in seconds since the epoch; None: something is."""
    message.private.pop("settled", None)
    if at is not None:
        message.private["settled"] = round(at, 3)


def entity_write(entity: Entity, *, revision: str | None) -> Write:
    """The write that stores the entity; ``revision`` as in :class:`~pycmbs.store.base.Write`."""
    private = entity.private
    if revision is None and LINKS not in private:
        private = {**private, LINKS: []}
    body: dict[str, Any] = {
        "id": entity.id,
        "kind": entity.kind,
        "path": entity.path,
        "mixins": list(entity.mixins),
        "attributes": entity.attributes,
        "title": entity.title,
        "summary": entity.summary,
        "private": private,
    }
    drawn = entity.drawn and revision is None
    return Write(document_id(entity.path), ENTITY, body, keys_of(entity), revision, drawn=drawn)


def take_place(entity: Entity, private: Mapping[str, Any]) -> None:
    """Have an entity that is written over another keep what is noted of that one's links. ``private``: its record."""
    if LINKS in private:
        entity.private[LINKS] = private[LINKS]


def entity_delete(entity: Entity) -> Write:
    """The write that deletes the entity as it was read. Its mark in the feed says what it could be found by, for those who
    watch."""
    return Write(document_id(entity.path), ENTITY, keys=keys_of(entity), revision=entity.revision, delete=True)


def entity_from(document: Document) -> Entity:
    """The entity that a document holds."""
    body = document.body
    return Entity(
        id=canonical_id(body["id"]),  # up to 0.3 a UUID was kept as it came
        kind=body["kind"],
        path=body["path"],
        mixins=tuple(body["mixins"]),
        attributes=dict(body["attributes"]),
        title=body["title"],
        summary=body["summary"],
        private=dict(body["private"]),
        revision=document.revision,
        number=document.number,
    )
