"""Renderings: pure functions from bytes to the model and back, one module a form.

Which of them reads a request and which writes its answer is decided in :mod:`pycmbs.wsgi.negotiation`. ``text/occi`` has no
functions of its own: it is ``text/plain`` with the lines in the headers (:mod:`pycmbs.occi.rendering.fields`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import Category
from pycmbs.occi.entity import Draft, Entity, Invocation


@dataclass(frozen=True, slots=True)
class ProviderBinding:
    """``PUT /-/`` with ``providers``: which backend serves a kind."""

    kind: str
    local: tuple[str, ...]
    remote: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CategorySet:
    """What a body on the query interface says."""

    categories: list[Category] = field(default_factory=list)
    providers: list[ProviderBinding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EntityView:
    """An entity and what of it depends on the moment: its URL, the actions that apply now (title by identifier), and the
    links that start at it. ``definitions`` are those of its attributes."""

    entity: Entity
    url: str
    actions: dict[str, str]
    links: tuple[EntityView, ...] = ()
    definitions: Mapping[str, AttributeDefinition] = field(default_factory=dict)


class Reader(Protocol):
    """Bytes in, model out. Every method raises :class:`~pycmbs.errors.MalformedBody` or a more exact InvalidRequest."""

    def categories(self, body: bytes) -> CategorySet:
        """Full categories, and provider bindings, of a POST or PUT on the query interface."""

    def category_names(self, body: bytes) -> list[str]:
        """Identifiers of the categories that a DELETE on the query interface names."""

    def category_filter(self, body: bytes) -> dict[str, list[dict[str, Any]]] | None:
        """Partial categories by class; None when the body filters nothing."""

    def drafts(self, body: bytes, *, inline: bool = False) -> list[Draft]:
        """The entities that the body describes; at least one. ``inline``: it is about one resource, whose links those are that
        it describes."""

    def entity_filter(self, body: bytes) -> list[Draft]:
        """Partial entities to filter a collection by; empty when the body filters nothing."""

    def locations(self, body: bytes) -> list[str] | None:
        """The URLs or paths that the body lists, or None when it lists none."""

    def invocation(self, body: bytes, term: str) -> Invocation:
        """The action invocation; ``term`` is the ``action`` of the query."""


class Writer(Protocol):
    """Model in, bytes out. ``pretty`` asks for what a person wants to read. A writer that has no form for something raises
    InvalidRequest."""

    full: bool
    """Whether collections and creations are answered with whole entities, by :meth:`entities`."""

    def categories(self, categories: list[Category], *, pretty: bool) -> bytes:
        """An answer of the query interface."""

    def entity(self, view: EntityView, *, pretty: bool) -> bytes:
        """One entity."""

    def entities(self, views: list[EntityView], *, pretty: bool) -> bytes:
        """Several whole entities."""

    def listing(self, urls: list[str], *, pretty: bool) -> bytes:
        """A collection: where its entities are."""

    def created(self, urls: list[str], *, pretty: bool) -> bytes:
        """What a creation made."""

    def report(self, action: str, document: dict[str, Any], *, pretty: bool) -> bytes:
        """The outcome of an action, which is named by its identifier, or of a deletion (``""``)."""

    def reports(self, action: str, reports: dict[str, dict[str, Any]], *, pretty: bool) -> bytes:
        """The outcomes of an action on a collection, by the entities' URLs."""

    def error(self, document: dict[str, Any], *, pretty: bool) -> bytes:
        """An error."""
