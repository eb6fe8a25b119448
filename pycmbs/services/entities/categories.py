"""Categories: registered, replaced, bound to backends and removed while the broker runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from pycmbs.backends.base import Backend
from pycmbs.errors import CategoryConflict, Forbidden, InvalidCategory, InvalidRequest
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import (
    CORE_KINDS,
    CORE_NAME,
    LINK,
    Action,
    Category,
    Kind,
    Mixin,
    bind,
    covers,
    parse_category,
)
from pycmbs.occi.naming import is_reserved
from pycmbs.occi.registry import Registry
from pycmbs.occi.rendering import ProviderBinding
from pycmbs.occi.rendering.json_2012 import category_document, shown_document
from pycmbs.services.access.access import Access, Rules
from pycmbs.services.access.rules import CATEGORIES, SHIPPED
from pycmbs.services.records.entities import ENTITY, entity_from, entity_write
from pycmbs.services.records.retrying import retried
from pycmbs.store.base import Document, Query, Store, Write

CATEGORY = "category"
_GUARD = "guard:categories"
_CORE = frozenset(kind.identifier for kind in CORE_KINDS)


class CategoryService:
    """Categories in the store, and a snapshot of them in memory that follows every change, of any process."""

    def __init__(
        self,
        store: Store,
        backends: Mapping[str, Backend],
        rules: Rules,
    ) -> None:
        """``rules``: who may do what, as :class:`~pycmbs.services.access.access.Access` has them."""
        self._store = store
        self._backends = backends
        self._token: str | None = None
        self._registry = Registry(CORE_KINDS, self._extras, self._owned)
        self.access = Access(rules, self._registry)
        self._stored: dict[str, Document] = {}

    def _extras(self, kind: Kind) -> Mapping[str, AttributeDefinition]:
        backend = self._backends.get(kind.provider)
        return backend.attributes if backend else {}

    def _owned(self, kind: Kind) -> Collection[str]:
        backend = self._backends.get(kind.provider)
        return backend.owned if backend else ()

    def registry(self) -> Registry:
        """The categories as they are now. One point read of the store when nothing changed."""
        token = self._store.change_token(CATEGORY)
        if token != self._token:
            documents = self._store.find(Query(CATEGORY))
            self._stored = {document.body["identifier"]: document for document in documents}
            self._registry = Registry([*CORE_KINDS, *(_category(one) for one in documents)], self._extras, self._owned)
            self.access.registry = self._registry
            self._token = token
        return self._registry

    @property
    def snapshot(self) -> Registry:
        """The categories as of the last :meth:`registry`: for the rest of an operation that began with one."""
        return self._registry

    def backend(self, kind: Kind | None) -> Backend:
        """The backend that serves a kind; the dummy one if its own is not installed here, or if the kind has gone."""
        return self._backends.get(kind.provider if kind else "dummy", self._backends["dummy"])

    def actions(self, kind: Kind, mixins: Iterable[str]) -> dict[str, Action]:
        """The actions that apply to such an entity, by term: those declared and those the backend knows."""
        return {**self.backend(kind).actions, **self._registry.actions(kind, mixins)}

    def listed(self, wanted: Mapping[str, list[dict[str, Any]]] | None = None) -> list[Category]:
        """All categories, or those that match one of the partial ones given for their class.

        A class named with an empty list gives all of that class; a class not named gives none.
        """
        registry = self.registry()
        self.access.check_kind("read", CATEGORIES)
        if wanted is None:
            return list(registry)
        return [
            one
            for one in registry
            if one.class_ in wanted
            and (not wanted[one.class_] or any(_matches(one, partial) for partial in wanted[one.class_]))
        ]

    # What changes

    def ship(self, categories: Iterable[Category]) -> None:
        """Have the broker's own definitions registered as this version has them, but for those that a client replaced."""
        wanted = list(categories)

        def plan(registry: Registry) -> list[Write]:
            del registry  # the call has brought what is stored up to date
            writes = []
            for category in wanted:
                stored = self._stored.get(category.identifier)
                if stored is None or (
                    stored.body["shipped"] and stored.body["definition"] != category_document(category)
                ):
                    writes.append(_write(category, shipped=True, stored=stored))
            return writes

        self._change(plan)

    def register(self, categories: Iterable[Category]) -> None:
        """Add categories, all or none. One that the registered one covers changes nothing.

        Raises CategoryConflict (contradicts the registered one; location taken) or InvalidCategory (refers to what is not
        there).
        """
        wanted = list(categories)

        def plan(registry: Registry) -> list[Write]:
            writes: dict[str, Write] = {}
            for category in wanted:
                registered = registry.get(category.identifier)
                if registered is None:
                    self.access.check_kind("create", CATEGORIES)
                    if category.identifier in writes:
                        raise CategoryConflict(
                            f"{category.identifier} is described twice", category=category.identifier
                        )
                    writes[category.identifier] = _write(category)
                elif not covers(registered, category):
                    raise CategoryConflict(
                        f"{category.identifier} is registered, and this definition contradicts it",
                        hint="PUT it to /-/ to replace the registered one, or GET /-/ to see that.",
                        category=category.identifier,
                    )
            _check_references(registry, [one for one in wanted if one.identifier in writes])
            return list(writes.values())

        self._change(plan)

    def replace(self, categories: Iterable[Category]) -> None:
        """Add categories or put them in the place of the registered ones, all or none. A kind keeps its backend.

        Raises Forbidden for a core kind, CategoryConflict, InvalidCategory.
        """
        wanted = list(categories)

        def plan(registry: Registry) -> list[Write]:
            writes = {}
            for category in wanted:
                registered = registry.get(category.identifier)
                self._check_may("replace", category.identifier)
                _refuse_core(category.identifier)
                if registered is not None and registered.class_ != category.class_:
                    raise CategoryConflict(
                        f"{category.identifier} is a {registered.class_} and cannot become a {category.class_}",
                        hint="DELETE it first.",
                        category=category.identifier,
                    )
                if isinstance(registered, Kind) and isinstance(category, Kind):
                    if registered.location != category.location:
                        self._refuse_used(registered)
                    category = bind(category, registered.provider, registered.remote_providers)  # noqa: PLW2901
                stored = self._stored.get(category.identifier)
                writes[category.identifier] = _write(category, stored=stored)
            _check_references(registry, wanted)
            return list(writes.values())

        self._change(plan)

    def bind(self, bindings: Iterable[ProviderBinding]) -> None:
        """Have kinds served by the named backends, all or none. Raises UnknownCategory, InvalidRequest, Forbidden."""
        wanted = list(bindings)

        def plan(registry: Registry) -> list[Write]:
            writes = {}
            for binding in wanted:
                kind = registry.kind(binding.kind)
                _refuse_core(kind.identifier)
                local = binding.local[0] if binding.local else "dummy"
                if local not in self._backends or len(binding.local) > 1:
                    raise InvalidRequest(
                        f"{', '.join(binding.local)} is not a backend that can serve {kind.identifier}",
                        hint=f"Name one of {', '.join(sorted(self._backends))}.",
                        provider=local,
                    )
                bound = bind(kind, local, binding.remote)
                stored = self._stored[kind.identifier]
                if bound != kind:
                    self._check_may("replace", kind.identifier)
                    writes[kind.identifier] = _write(bound, shipped=stored.body["shipped"], stored=stored)
            return list(writes.values())

        self._change(plan)

    def remove(self, identifiers: Iterable[str]) -> None:
        """Remove categories, all or none; removed mixins leave their entities.

        Raises UnknownCategory, Forbidden (the broker's own), CategoryConflict (a kind with entities, or one that others
        refer to).
        """
        wanted = list(dict.fromkeys(identifiers))
        if not wanted:
            raise InvalidRequest("the body names no category to delete", hint='Send {"mixins": [{"term", "scheme"}]}.')

        def plan(registry: Registry) -> list[Write]:
            for one in wanted:
                self._check_may("delete", one)
            self._check_removable(registry, wanted)
            return [
                Write(_document_id(one), CATEGORY, revision=self._stored[one].revision, delete=True) for one in wanted
            ]

        registry = self.registry()
        for one in wanted:
            self._check_may("delete", one)
        self._check_removable(registry, wanted)  # first, so that a refusal leaves the entities alone
        for identifier in wanted:
            if isinstance(self._registry.get(identifier), Mixin):
                self._dissociate(identifier)
        self._change(plan)

    def _check_may(self, operation: str, identifier: str) -> None:
        """Raises Forbidden unless the principal may do this to a category, or to one of the broker's own."""
        stored = self._stored.get(identifier)
        self.access.check_kind(operation, SHIPPED if stored is not None and stored.body["shipped"] else CATEGORIES)

    def _check_removable(self, registry: Registry, identifiers: Sequence[str]) -> None:
        going = set(identifiers)
        users: dict[str, list[str]] = {}
        for one in registry:
            for name in _references(one) & going if one.identifier not in going else ():
                users.setdefault(name, []).append(one.identifier)
        for identifier in identifiers:
            category = registry.category(identifier)
            _refuse_core(identifier)
            if self._stored[identifier].body["shipped"]:
                raise Forbidden(
                    f"{identifier} is the broker's own definition",
                    hint="PUT replaces it; a broker started with preload = none does not have it.",
                    category=identifier,
                )
            if used_by := users.get(identifier):
                raise CategoryConflict(
                    f"{identifier} is used by {', '.join(used_by)}", category=identifier, used_by=used_by
                )
            if isinstance(category, Kind):
                self._refuse_used(category)

    def _refuse_used(self, kind: Kind) -> None:
        number = self._store.count(Query(ENTITY, {"kind": kind.identifier}))
        if number:
            some = number if self.access.always("list", kind.identifier) else "some"
            raise CategoryConflict(
                f"there are {some} entities of {kind.identifier}",
                hint=f"DELETE {kind.location} first.",
                category=kind.identifier,
            )

    def _dissociate(self, mixin: str) -> None:
        while documents := self._store.find(Query(ENTITY, {"mixin": mixin}, limit=200)):
            batches = []
            for document in documents:
                current = entity_from(document)
                entity = current.copy()
                entity.mixins = tuple(one for one in entity.mixins if one != mixin)
                entity.attributes = self._registry.described(entity.kind, entity.mixins).known(entity.attributes)
                along = self.backend(self._registry.kind(entity.kind)).update(current, entity)
                batches.append([*along, entity_write(entity, revision=document.revision)])
            self._store.write_batches(batches)  # what conflicted is found again

    def _change(self, plan: Callable[[Registry], list[Write]]) -> None:
        """Write what ``plan`` says. The guard's revision makes plans of several processes take turns, so that two
        definitions cannot claim one location or remove what the other refers to. Raises Conflict when they do without end."""

        def attempt() -> None:
            guard = self._store.get(_GUARD)
            writes = plan(self.registry())
            if writes:
                turn = (guard.body["turn"] if guard else 0) + 1
                guarding = Write(_GUARD, "guard", {"turn": turn}, revision=guard.revision if guard else None)
                self._store.write([*writes, guarding])

        retried("/-/", attempt)


def _document_id(identifier: str) -> str:
    return f"{CATEGORY}:{identifier}"


def _write(category: Category, *, shipped: bool = False, stored: Document | None = None) -> Write:
    body: dict[str, Any] = {
        "identifier": category.identifier,
        "class": category.class_,
        "definition": category_document(category),
        "shipped": shipped,
    }
    if isinstance(category, Kind):
        body |= {"provider": category.provider, "remote": list(category.remote_providers)}
    keys = {"class": (category.class_,)}
    return Write(_document_id(category.identifier), CATEGORY, body, keys, stored.revision if stored else None)


def _category(document: Document) -> Category:
    category = parse_category(document.body["class"], document.body["definition"])
    if isinstance(category, Kind):
        return bind(category, document.body["provider"], tuple(document.body["remote"]))
    return category


def _refuse_core(identifier: str) -> None:
    if identifier in _CORE:
        raise Forbidden(f"{identifier} is part of OCCI and cannot be changed", category=identifier)


def _references(category: Category) -> set[str]:
    found = set(getattr(category, "actions", ()))
    found |= set(getattr(category, "depends", ())) | set(getattr(category, "applies", ()))
    return found | ({category.parent} if isinstance(category, Kind) else set())


def _needs(category: Category) -> set[str]:
    """What must be there for the category to mean anything: a kind's parent, and actions. What a mixin depends on or applies to
    may come later, or never (GFD.185 3.4.1 refers to what no server has): it brings nothing until then."""
    return {*getattr(category, "actions", ()), *([category.parent] if isinstance(category, Kind) else [])}


def _check_references(registry: Registry, categories: list[Category]) -> None:
    """Everything that the new definitions need is there, and no two share a location."""
    new = {one.identifier for one in categories}
    after = Registry([*(one for one in registry if one.identifier not in new), *categories])
    holders: dict[str, list[str]] = {}
    for one in after:
        holders.setdefault(getattr(one, "location", ""), []).append(one.identifier)
    for category in categories:
        for name in _needs(category):
            if after.get(name) is None:
                raise InvalidCategory(
                    f"{category.identifier} refers to {name}, which is not registered",
                    hint="Send its definition along.",
                    category=category.identifier,
                    refers_to=name,
                )
        _check_core_attributes(after, category)
        location = getattr(category, "location", "")
        if is_reserved(location) and getattr(registry.get(category.identifier), "location", "") != location:
            raise InvalidCategory(
                f"the location {location!r} is the broker's own",
                hint="Give it another location.",
                category=category.identifier,
                field="location",
            )
        others = [one for one in holders[location] if one != category.identifier] if location else []
        if others:
            raise CategoryConflict(
                f"the location {location} belongs to {others[0]}",
                category=category.identifier,
                location=location,
            )
    if any(isinstance(one, Kind) for one in categories):
        for kind in after:  # those that descend from what is replaced, too
            if isinstance(kind, Kind):
                after.lineage(kind)


def _check_core_attributes(registry: Registry, category: Category) -> None:
    """What is OCCI Core's (``occi.core.``) a definition can repeat, where entities have it anyway, and not bring along: what
    has a source is a link. Raises InvalidCategory."""
    link = isinstance(category, Kind) and LINK.identifier in registry.family(category)
    known = {name for kind in CORE_KINDS if link or kind is not LINK for name in kind.attributes}
    foreign = sorted(name for name in category.attributes if name.startswith(f"{CORE_NAME}.") and name not in known)
    if foreign and not isinstance(category, Action):
        raise InvalidCategory(
            f"{category.identifier} cannot define {foreign[0]}: the names of {CORE_NAME}. are OCCI's own",
            hint="Choose another name.",
            category=category.identifier,
            attribute=foreign[0],
        )


def _matches(category: Category, partial: Mapping[str, Any]) -> bool:
    document = shown_document(category)
    return all(document.get(name) == value for name, value in partial.items())
