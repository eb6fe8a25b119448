"""Authorization: decides by the rules whether a principal (a user, or the sender of a message) may do something.

The principal is known to the thread, green or real, that works for it.

A service that a principal's request reaches asks :class:`Access` before it tells or changes anything. Where there is none (the
broker does something by itself; there are no users) everything is allowed, and that costs one look. Where several ask at once
(a user has the content of a member's message executed) all of them must be allowed it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from pycmbs.errors import Forbidden
from pycmbs.occi import cmbs
from pycmbs.occi.category import Kind
from pycmbs.occi.entity import Entity
from pycmbs.occi.registry import Registry
from pycmbs.scope import current, entered
from pycmbs.services.access import rules as grammar
from pycmbs.services.access.principal import OPEN, Principal
from pycmbs.services.access.rulebook import SHIPPED
from pycmbs.services.access.rules import OWN, RECEIVED, SEND, Part, Rule

BY = "@by"
"""Key of an entity that a principal made: who that was, as rules name it. No attribute has such a name."""
TENANT = "@tenant"
"""Key that is kept free for a gateway that tells projects apart: within a broker there are none, a home is a tenant."""
NO_KIND = "-"
"""Stands for the kind of what has none: only a rule for any kind matches it."""
_MOST_REMEMBERED = 10_000
"""Answers that are remembered for each version of rules and categories: clients choose the kinds."""

_LOOKING = ("list", "read")
_CHANGING_ROLES = frozenset(rule.subject.removeprefix("role:") for rule in SHIPPED if rule.operation not in _LOOKING)
"""Roles that come with more than looking: whether rules have narrowed that is seen where it is asked."""

Keys = dict[str, str]


class asking:  # noqa: N801 - a context, and one of a generator costs three times as much
    """Inside this, the thread acts for a principal, in addition to those for which it acts already."""

    __slots__ = ("_before", "_principal", "_scope", "_token")

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def __enter__(self) -> None:
        self._scope, self._token = entered()
        self._before = self._scope.principals
        if self._principal is not OPEN:
            self._scope.principals = (*self._before, self._principal)

    def __exit__(self, *_raised: object) -> None:
        self._scope.principals = self._before
        if self._token is not None:
            current.reset(self._token)


def who() -> tuple[Principal, ...]:
    """The principals for whom this thread works; none where everything is allowed."""
    scope = current.get()
    return scope.principals if scope is not None else ()


class Grant(NamedTuple):
    """One way in which something is allowed: for entities that have these keys, and, for a send, by this rule."""

    keys: tuple[tuple[str, str], ...]
    rule: Rule


class Rules(Protocol):
    """The rules of a broker besides those that come with roles."""

    @property
    def due(self) -> float:
        """When to look again whether they changed, on the monotonic clock."""

    @property
    def own(self) -> Sequence[Rule]:
        """They, as of the last look; the same object while they are the same."""

    def look(self, now: float) -> None:
        """See whether they changed."""


class Access:
    """Answers from the rules as they are now."""

    def __init__(self, rules: Rules, registry: Registry) -> None:
        """``rules``: of this broker; ``registry``: the categories there are now."""
        self._rules = rules
        self.registry = registry
        """The categories, which their service keeps as new as the operation that asks."""
        self._remembered: tuple[tuple[object, object], dict[tuple[Principal, str, str], tuple[Grant, ...]]] = (
            (None, None),
            {},
        )
        """Of which rules and categories, and what: one object, for threads."""
        self._generation = 0

    # What there is to ask

    @property
    def asked(self) -> bool:
        """Whether there is a principal that may not do everything."""
        return bool(who())

    @property
    def key(self) -> object:
        """Differs for those who may see different things, and with the rules that were last asked."""
        asking = who()
        return (self._generation, *((one.subject, one.roles) for one in asking)) if asking else ()

    @property
    def subject(self) -> str:
        """The principal, as rules name it; empty where everything is allowed."""
        asking = who()
        return asking[0].subject if asking else ""

    def permits(self, operation: str, entity: Entity) -> bool:
        """Whether it is allowed with this entity; a send, on some condition."""
        scope = current.get()
        if scope is None or not scope.principals:
            return True
        of, remembered = self._remembered  # as _now, which costs more than the rest
        if time.monotonic() >= self._rules.due or of[0] is not self._rules.own or of[1] is not self.registry:
            remembered = self._now()
        for one in scope.principals:  # with every request, and more than once
            grants = remembered.get((one, operation, entity.kind))
            for grant in self._grants(one, operation, entity.kind) if grants is None else grants:
                if not grant.keys or _has(entity, grant.keys):
                    break
            else:
                return False
        return True

    def knows(self, entity: Entity) -> bool:
        """Whether the principal may know what an entity is: who may change it is told what it is then."""
        return self.permits("read", entity) or self.permits("update", entity)

    def conceivable(self, operation: str, kind: str) -> bool:
        """Whether it is allowed with some entity of a kind (its identifier; :data:`NO_KIND`)."""
        return all(self._grants(one, operation, kind) for one in who())

    def always(self, operation: str, kind: str) -> bool:
        """Whether it is allowed with every entity of a kind."""
        return all(any(not grant.keys for grant in self._grants(one, operation, kind)) for one in who())

    def may_change(self, principal: Principal) -> bool:
        """Whether a principal may do more than look."""
        return not _CHANGING_ROLES.isdisjoint(principal.roles) or self._changes(principal)

    def may(self, operation: str, names: Collection[str], target: str | None = None) -> bool:
        """Whether it is allowed on some condition. ``names``: of the kind, or none for a handler, whose ``target`` decides,
        too; None: for some target."""
        self._now()
        return all(
            any(target is None or rule.aims(target) for rule in self._deciding(one, operation, names)) for one in who()
        )

    def check(self, operation: str, entity: Entity) -> None:
        """Raises Forbidden unless it is allowed with this entity."""
        if not self.permits(operation, entity):
            raise forbidden(operation)

    def made(self, entity: Entity) -> None:
        """Note on a new entity who makes it. Raises Forbidden unless the principal may."""
        scope = current.get()
        if scope is not None and scope.principals:
            entity.private["by"] = scope.principals[0].subject
            if not self.permits("create", entity):
                raise forbidden("create")

    def check_kind(self, operation: str, kind: str) -> None:
        """Raises Forbidden unless it is allowed with some entity of a kind, or at one of the places that rules know."""
        if not self.conceivable(operation, kind):
            raise forbidden(operation)

    def check_handler(self, name: str, target: str) -> None:
        """Raises Forbidden unless the principal may have a handler called with a target."""
        if not self.may(name, (), target):
            raise forbidden(name)

    def check_parts(self, message: Entity, layer: str, parts: Iterable[Part]) -> None:
        """Raises Forbidden unless the principal may send a message for every one of these."""
        for one in who():
            grants = [
                grant for grant in self._grants(one, f"act:send_{layer}", message.kind) if _has(message, grant.keys)
            ]
            for part in parts:
                if not any(grant.rule.carries(part) for grant in grants):
                    raise forbidden(SEND)

    def scope(self, operations: Sequence[str], kind: str) -> list[Keys]:
        """With which entities of a kind all of these operations are allowed: those that have the keys of one of the
        alternatives. ``{}`` is every one, no alternative none."""
        asking = who()
        found: list[Keys] = [{}]
        for one, operation in itertools.product(asking, operations):
            grants = {grant.keys for grant in self._grants(one, operation, kind)}
            if () in grants:
                continue
            merged = (_merged(keys, dict(more)) for keys in found for more in sorted(grants))
            found = [keys for keys in merged if keys is not None]
        return found

    # How it is answered

    def _changes(self, principal: Principal) -> bool:
        """Whether a rule lets a principal do more than look."""
        self._now()
        subjects = {grammar.ANY, principal.subject, *(f"role:{role}" for role in principal.roles)}
        every = (*SHIPPED, *self._rules.own)
        return any(rule.subject in subjects and rule.operation not in _LOOKING for rule in every)

    def _now(self) -> dict[tuple[Principal, str, str], tuple[Grant, ...]]:
        """What is remembered of the rules and the categories as they are."""
        rules, registry = self._rules, self.registry
        now = time.monotonic()
        if now >= rules.due:
            rules.look(now)
        of, remembered = self._remembered
        if of[0] is not rules.own or of[1] is not registry:
            self._remembered = of, remembered = (rules.own, registry), {}
            self._generation += 1
        return remembered

    def _grants(self, principal: Principal, operation: str, kind: str) -> tuple[Grant, ...]:
        remembered = self._now()
        key = (principal, operation, kind)
        found = remembered.get(key)
        if found is None:
            rules = self._deciding(principal, operation, names_of(self.registry, kind))
            found = tuple(Grant(_keys(rule, principal), rule) for rule in rules)
            if len(remembered) >= _MOST_REMEMBERED:
                remembered.clear()
            remembered[key] = found
        return found

    def _deciding(self, principal: Principal, operation: str, names: Collection[str]) -> list[Rule]:
        """The rules that decide whether a principal may do this with what has these names."""
        shipped = [rule for rule in SHIPPED if rule.speaks(operation, names)]
        return deciding(principal, shipped, [rule for rule in self._rules.own if rule.speaks(operation, names)])


def deciding(principal: Principal, shipped: Sequence[Rule], own: Sequence[Rule]) -> list[Rule]:
    """Of the rules that speak of an operation and a kind, those that decide about a principal.

    This broker's rules for a user by name replace what the user's roles may; what they say of a role, the place of
    what comes with that. Rules for ``*`` are added to these.
    """
    found = [rule for rule in own if rule.subject == grammar.ANY]
    named = [rule for rule in own if rule.subject == principal.subject]
    if named:
        return [*found, *named]
    for role in principal.roles:
        subject = f"role:{role}"
        of_role = [rule for rule in own if rule.subject == subject]
        found += of_role or [rule for rule in shipped if rule.subject == subject]
    return found


def names_of(registry: Registry, kind: str) -> list[str]:
    """All names of a kind and its parents, as rules may call it; what is none has :data:`NO_KIND`, a place its own."""
    if kind in grammar.PLACES:
        return [kind]
    found = registry.get(kind)
    if not isinstance(found, Kind):
        return [NO_KIND]
    return [word for one in registry.lineage(found) for word in (one.identifier, one.term)]


def forbidden(operation: str) -> Forbidden:
    """The refusal. It names nothing that is here."""
    asking = who()
    subject = asking[-1].subject if asking else "nobody"
    return Forbidden(
        f"{subject} may not {operation[:100]} this",
        hint="Roles and rules decide that: pycmbs rule list shows them.",
        operation=operation[:100],
    )


def _keys(rule: Rule, principal: Principal) -> tuple[tuple[str, str], ...]:
    if rule.whose == OWN:
        return ((BY, principal.subject),)
    return ((cmbs.STATE, cmbs.RECEIVED),) if rule.whose == RECEIVED else ()


def _has(entity: Entity, keys: Collection[tuple[str, str]]) -> bool:
    return all(
        (entity.private.get("by") if name == BY else entity.attributes.get(name)) == value for name, value in keys
    )


def _merged(one: Keys, other: Keys) -> Keys | None:
    """Both; None when nothing can have both."""
    return None if any(one.get(name, value) != value for name, value in other.items()) else {**one, **other}
