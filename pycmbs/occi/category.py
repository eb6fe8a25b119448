"""Kinds, mixins and actions (GFD.221 4.2 to 4.5), and the three kinds that every OCCI server has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from pycmbs.errors import InvalidCategory
from pycmbs.occi import naming
from pycmbs.occi.attribute import AttributeDefinition, is_definition, parse_definition
from pycmbs.occi.pattern import enumeration

CORE, CORE_NAME = "http://schemas.ogf.org/occi/core#", "occi.core"

Attributes = Mapping[str, AttributeDefinition]


@dataclass(frozen=True, slots=True)
class Category:
    """What kinds, mixins and actions have in common."""

    class_: ClassVar[str] = ""

    scheme: str
    term: str
    title: str = ""
    attributes: Attributes = field(default_factory=dict)
    identifier: str = field(init=False, repr=False, compare=False)
    """Scheme and term: unique among all categories."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "identifier", self.scheme + self.term)


@dataclass(frozen=True, slots=True)
class Action(Category):
    """Something that can be done to an entity (GFD.221 4.5.4)."""

    class_: ClassVar[str] = "action"


@dataclass(frozen=True, slots=True)
class Kind(Category):
    """What an entity is (GFD.221 4.4.1). ``provider`` is the local backend that serves it."""

    class_: ClassVar[str] = "kind"

    parent: str = CORE + "resource"
    actions: tuple[str, ...] = ()
    location: str = ""
    provider: str = "dummy"
    remote_providers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mixin(Category):
    """What an entity also is (GFD.221 4.4.2)."""

    class_: ClassVar[str] = "mixin"

    depends: tuple[str, ...] = ()
    applies: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    location: str = ""


def _beside(**mutable: bool) -> dict[str, AttributeDefinition]:
    """Attributes that stand beside the others in an entity (GFD.221 4.5.1, 4.5.2)."""
    return {
        f"{CORE_NAME}.{name}": AttributeDefinition(f"{CORE_NAME}.{name}", mutable=one) for name, one in mutable.items()
    }


ENTITY = Kind(
    scheme=CORE,
    term="entity",
    title="Entity",
    attributes=_beside(id=False, title=True),
    parent="",
    location="/entity/",
)
RESOURCE = Kind(
    scheme=CORE,
    term="resource",
    title="Resource",
    attributes=_beside(summary=True),
    parent=ENTITY.identifier,
    location="/resource/",
)
_ENDS = {"source": True, "source.kind": False, "target": True, "target.kind": False}
LINK = Kind(
    scheme=CORE,
    term="link",
    title="Link",
    attributes={
        f"occi.core.{end}": AttributeDefinition(f"occi.core.{end}", mutable=False, required=required)
        for end, required in _ENDS.items()
    },
    parent=ENTITY.identifier,
    location="/link/",
)
CORE_KINDS = (ENTITY, RESOURCE, LINK)
"""GFD.221 4.4.1: present from the start; ``entity`` is never instantiated, so nothing is at its location: clients of other
people read no model in which a kind has none."""


def parse_attributes(document: Any, category: str) -> dict[str, AttributeDefinition]:
    """Attribute definitions by full name, from the nested form of 2012 or the flat one of 1.2. Raises InvalidCategory."""
    found: dict[str, AttributeDefinition] = {}
    if document in (None, ""):
        return found
    if not isinstance(document, dict):
        raise InvalidCategory(f"the attributes of {category} must be an object", field="attributes")

    def descend(level: dict[str, Any], prefix: str, depth: int) -> None:
        for key, value in level.items():
            name = naming.canonical(prefix + key)
            if not isinstance(value, dict) or not key or depth > 16:
                raise InvalidCategory(
                    f"attribute {name!r} of {category} must be described by an object",
                    attribute=name,
                    field="attributes",
                )
            if is_definition(value):
                found[naming.check_attribute(name, category)] = parse_definition(name, value)
            else:
                descend(value, prefix + key + ".", depth + 1)

    descend(document, "", 0)
    return found


_MEMBERS = {
    "kind": {"term", "scheme", "title", "attributes", "parent", "related", "actions", "location"},
    "mixin": {"term", "scheme", "title", "attributes", "depends", "applies", "related", "actions", "location"},
    "action": {"term", "scheme", "title", "attributes"},
}


def parse_category(class_: str, document: Any) -> Category:
    """A kind, mixin or action from its JSON, 2012 or 1.2 form. Raises InvalidCategory."""
    if not isinstance(document, dict):
        raise InvalidCategory(f"a {class_} must be an object, not {document!r:.60}")
    scheme, term = document.get("scheme", ""), document.get("term", "")
    name = naming.identifier(scheme, term)
    unknown = set(document) - _MEMBERS[class_]
    if unknown:
        raise InvalidCategory(f"{class_} {name}: unknown member {min(unknown)!r}", category=name, field=min(unknown))
    common: dict[str, Any] = {
        "scheme": scheme,
        "term": naming.canonical(term),
        "title": _text(document.get("title", ""), name),
        "attributes": parse_attributes(document.get("attributes"), name),
    }
    if class_ == "action":
        return Action(**common)
    common["actions"] = references(document.get("actions"), name, "actions")
    common["location"] = naming.check_location(document.get("location") or f"/{common['term']}/", name)
    related = references(document.get("related"), name, "related")  # 2012's word for both parent and depends
    if class_ == "mixin":
        return Mixin(
            **common,
            depends=references(document.get("depends"), name, "depends") or related,
            applies=references(document.get("applies"), name, "applies"),
        )
    parent = references(document.get("parent"), name, "parent") or related
    return Kind(**common, parent=parent[0] if parent else RESOURCE.identifier)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise InvalidCategory(f"the title of {name} must be a string", category=name, field="title")
    return value


def references(value: Any, name: str, field: str) -> tuple[str, ...]:
    """Identifiers of other categories: strings, or objects with term and scheme. Raises InvalidCategory."""
    if value in (None, ""):
        return ()
    found = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            found.append(naming.identifier(item.get("scheme", ""), item.get("term", "")))
        else:
            try:
                found.append(naming.whole(item))
            except InvalidCategory as exc:
                raise InvalidCategory(f"{field} of {name}: {exc.message}", category=name, field=field) from exc
    return tuple(dict.fromkeys(found))


def covers(registered: Category, posted: Category) -> bool:
    """Whether ``posted`` says nothing that ``registered`` does not: a POST of it then changes nothing."""
    if registered.class_ != posted.class_:
        return False
    if getattr(registered, "location", "") != getattr(posted, "location", ""):
        return False
    if isinstance(registered, Kind) and isinstance(posted, Kind) and posted.parent != registered.parent:
        return posted.parent == RESOURCE.identifier and covers(replace(registered, parent=posted.parent), posted)
    for relation in ("actions", "depends", "applies"):
        if not set(getattr(posted, relation, ())) <= set(getattr(registered, relation, ())):
            return False
    return all(
        name in registered.attributes and _same_shape(registered.attributes[name], definition)
        for name, definition in posted.attributes.items()
    )


def _same_shape(registered: AttributeDefinition, posted: AttributeDefinition) -> bool:
    """``any`` says nothing of the type, as a text rendering does.

    Patterns and defaults may differ in writing (2012's contradict their own samples); an enumeration may not grow."""
    if registered.type != posted.type and "any" not in (registered.type, posted.type):
        return False
    if (registered.mutable, registered.required) != (posted.mutable, posted.required):
        return False
    ours, theirs = enumeration(registered.pattern), enumeration(posted.pattern)
    return ours is None or theirs is None or theirs <= ours


def bind(kind: Kind, local: str, remote: tuple[str, ...] = ()) -> Kind:
    """The same kind, served by another backend."""
    return replace(kind, provider=local, remote_providers=remote)
