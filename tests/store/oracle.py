"""A model of a store, and random sequences of writes to hold one against it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from pycmbs.errors import RevisionConflict
from pycmbs.store.base import Batch, Query, Store, Write

_NAMES, _VALUES, _TYPES = ("x", "y", "z"), ("", "0", "1", "é"), ("t", "u")
_keys = some.dictionaries(some.sampled_from(_NAMES), some.lists(some.sampled_from(_VALUES), max_size=2, unique=True))


@dataclass(frozen=True)
class Step:
    """One write, before it is known which revision it needs."""

    id: str
    verb: str
    body: dict[str, int]
    keys: dict[str, list[str]]


_steps = some.builds(
    Step,
    id=some.sampled_from("abcde"),
    verb=some.sampled_from(("create", "create", "update", "update", "delete", "stale")),
    body=some.fixed_dictionaries({"n": some.integers(0, 9)}),
    keys=_keys,
)
_batches = some.lists(_steps, min_size=1, max_size=3, unique_by=lambda step: step.id)
_calls = some.lists(some.lists(_batches, min_size=1, max_size=3), min_size=1, max_size=6)


@dataclass
class Model:
    """A store in the fewest words: what is there, what changed in which order, and every cursor that was handed out."""

    prefix: str
    there: dict[str, Write] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    created: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    cursors: list[tuple[str, int]] = field(default_factory=list)
    clock: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    """In which call a document was changed last."""

    def type(self, id: str) -> str:
        """Types belong to ids here, and to one run."""
        return f"{self.prefix}{_TYPES[ord(id[-1]) % 2]}"

    def write(self, step: Step) -> Write:
        """The step as a write to the store."""
        id = self.prefix + step.id
        revision = {"create": None, "stale": "0"}.get(step.verb, self.revisions.get(id, "0"))
        keys = {name: tuple(values) for name, values in step.keys.items()}
        return Write(id, self.type(id), dict(step.body), keys, revision, delete=step.verb == "delete")

    def accepts(self, batch: Batch) -> bool:
        """Whether every condition of the batch holds."""
        return all(self.revisions.get(one.id) == one.revision for one in batch)

    def apply(self, write: Write, revision: str) -> None:
        """What the store says it wrote."""
        self.clock += 1
        self.changed[write.id] = self.clock
        self.there.pop(write.id, None)
        if write.delete:
            del self.revisions[write.id]
            return
        if write.revision is None:
            self.created[write.id] = self.clock
        self.there[write.id], self.revisions[write.id] = write, revision

    def matching(self, query: Query, after: int) -> list[str]:
        """The ids that match, in order of creation; ``after`` in the model's own numbers."""

        def matches(id: str) -> bool:
            one = self.there[id]
            return (
                one.type == query.type
                and self.created[id] > after
                and all(value in one.keys.get(name, ()) for name, value in query.equals.items())
            )

        return sorted(filter(matches, self.there), key=self.created.__getitem__)


def check(store: Store, runs: int = 40, share: int = 1) -> None:
    """Run random sequences on one store, each with ids and types of its own. ``share``: ask one of so many questions."""
    count = itertools.count()

    @settings(max_examples=runs, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(calls=_calls)
    def run(calls: list[list[list[Step]]]) -> None:
        number = next(count)
        model = Model(f"{number}/")
        model.cursors.append((_end(store), 0))
        for call in calls:
            _call(store, model, call)
            model.cursors.append((_end(store), model.clock))
        _compare(store, model, slice(number % share, None, share))

    run()


def _end(store: Store) -> str:
    cursor, changes = "", [object()]
    while changes:
        changes, cursor = store.changes(cursor, limit=10_000)  # type: ignore[assignment]
    return cursor


def _call(store: Store, model: Model, call: list[list[Step]]) -> None:
    batches = [[model.write(step) for step in batch] for batch in call]
    tokens = {type: store.change_token(model.prefix + type) for type in _TYPES}
    touched: set[str] = set()
    for batch, outcome in zip(batches, store.write_batches(batches), strict=True):
        assert model.accepts(batch) == (not isinstance(outcome, RevisionConflict)), batch
        if not isinstance(outcome, RevisionConflict):
            for write, document in zip(batch, outcome, strict=True):
                model.apply(write, document.revision)
                model.calls[write.id] = len(model.cursors)
                touched.add(write.type)
    changed = {type for type in _TYPES if store.change_token(model.prefix + type) != tokens[type]}
    assert {model.prefix + type for type in changed} == touched


def _compare(store: Store, model: Model, share: slice) -> None:
    known = [*model.changed, model.prefix + "never"]
    found = store.get_many(known)
    assert found == {id: one for id in known if (one := store.get(id)) is not None}
    assert {id: (one.body, one.revision) for id, one in found.items()} == {
        id: (one.body, model.revisions[id]) for id, one in model.there.items()
    }
    _compare_feed(store, model)
    pairs = list(itertools.product(_NAMES, _VALUES))
    equals = [{}, *(dict(some) for size in (1, 2, 3) for some in itertools.combinations(pairs, size))]
    for question in [Query(model.prefix + type, one) for type in _TYPES for one in equals][share]:
        _compare_query(store, model, question)
    for type, bound in itertools.product(_TYPES, (("x", "1"), ("y", "é"))):
        _compare_lowest(store, model, model.prefix + type, *bound)


def _compare_lowest(store: Store, model: Model, type: str, name: str, bound: str) -> None:
    there = [id for id in model.there if model.type(id) == type]
    pairs = sorted((v, model.created[id], id) for id in there for v in model.there[id].keys.get(name, ()) if v < bound)
    found = [one.id for one in store.lowest_by_key(type, name, bound, 100)]
    assert found == [id for _, _, id in pairs]
    assert [one.id for one in store.lowest_by_key(type, name, bound, 2)] == found[:2]


def _compare_query(store: Store, model: Model, query: Query) -> None:
    expected = model.matching(query, 0)
    found = store.find(query)
    assert [one.id for one in found] == expected, query
    if not query.equals or expected:
        assert store.count(query) == len(expected)
    for one in found[:2]:
        page: dict[str, Any] = {"after": one.number, "limit": 2}
        rest = store.find(Query(query.type, query.equals, **page))
        assert [each.id for each in rest] == model.matching(query, model.created[one.id])[:2]


def _compare_feed(store: Store, model: Model) -> None:
    for cursor, clock in model.cursors:
        expected = sorted((id for id in model.changed if model.changed[id] > clock), key=model.changed.__getitem__)
        changes, _ = store.changes(cursor)
        found = [one.id for one in changes]
        if not store.atomic:  # what one call writes may come in another order
            assert [model.calls[id] for id in found] == [model.calls[id] for id in expected]
            found.sort(key=model.changed.__getitem__)
            changes.sort(key=lambda one: model.changed[one.id])
        assert found == expected
        assert [one.document for one in changes] == [store.get(id) for id in expected]
        types = [model.prefix + "t"]
        narrowed = [one.id for one in store.changes(cursor, types=types)[0]]
        assert sorted(narrowed) == sorted(id for id in expected if model.type(id) in types)
