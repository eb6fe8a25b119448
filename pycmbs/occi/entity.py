"""Entities: resources and links as values (GFD.221 4.5), and drafts of them as clients send them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Entity:
    """A resource or a link.

    ``path`` is where it is read, always starting with '/'. ``attributes`` has full dotted names. ``links`` are the links that
    start here, on an entity as it is shown: they are entities of their own, and not stored with it. ``private`` is the broker's
    own record on it and is never rendered. ``revision`` is the store's, empty while it is not stored. ``drawn``: it is
    new, with an id that the broker drew.
    """

    id: str
    kind: str
    path: str
    mixins: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    summary: str = ""
    links: list[Entity] = field(default_factory=list)
    private: dict[str, Any] = field(default_factory=dict)
    revision: str = ""
    number: int = 0
    drawn: bool = False

    def copy(self) -> Entity:
        """A copy whose attributes, links and private record can be changed without changing this one's."""
        return Entity(
            self.id, self.kind, self.path, self.mixins, dict(self.attributes), self.title, self.summary,
            list(self.links), dict(self.private), self.revision, self.number,
        )  # fmt: skip


@dataclass(slots=True)
class Draft:
    """An entity as a client describes it: what is None was not given.

    ``attributes`` is as sent, nested or flat: which it is can only be told with the entity's definitions at hand. Those of OCCI
    Core are flat always. ``adds_mixins``: a partial change gives the entity ``mixins`` besides those it has, and not in their
    place. ``links`` are the inline links (GFD.226 4.2), whose source is this entity. ``location`` is the path where it is,
    or is to be.
    """

    kind: str | None = None
    id: str | None = None
    mixins: tuple[str, ...] | None = None
    attributes: dict[str, Any] | None = None
    title: str | None = None
    summary: str | None = None
    links: list[Draft] | None = None
    location: str | None = None
    adds_mixins: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Invocation:
    """A request to perform an action (GFD.223 5.5.4, 5.6.5): its term, its identifier if the body named it, its attributes.

    ``pinned``: it is about the entity as it was read, and not about what it is changed to meanwhile. ``preferred``: numbers
    that count as attributes, up to their maximum, where the action has such and they are not given.
    """

    term: str
    identifier: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    pinned: bool = False
    preferred: Mapping[str, float] = field(default_factory=dict)
