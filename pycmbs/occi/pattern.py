"""Patterns of attributes: enumerations, regular expressions (2012 form) and JSON Schemas (1.2 form).

All of them come from clients, and none of them can hang the process: regular expressions are matched by RE2, whose time is
linear in the input, also inside a JSON Schema; what a schema has looked at is counted (:mod:`pycmbs.occi.steps`), and no
reference is fetched.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jsonschema
import re2
import referencing

from pycmbs import codec
from pycmbs.errors import InvalidAttribute, InvalidCategory, InvalidRequest
from pycmbs.occi.steps import bounded, spend

Pattern = str | dict[str, Any]

_ALTERNATION = re.compile(r"\^?\(?([A-Za-z0-9_. -]+(?:\|[A-Za-z0-9_. -]+)+)\)?\$?")
_DATA = frozenset({"const", "enum", "default", "examples"})
"""Keywords of JSON Schema whose values are data, not schemas."""


def quoted(value: Any) -> str:
    """A value as JSON, cut short, for a sentence."""
    text = codec.dumps(value, default=str).decode("utf-8", "replace")
    return text if len(text) <= 80 else text[:77] + "..."


def enumeration(pattern: Pattern | None) -> frozenset[str] | None:
    """The words of a pattern that is an alternation of plain words, which must match whole; None for any other."""
    return _words(pattern) if isinstance(pattern, str) else None


@functools.lru_cache(maxsize=4096)
def _words(pattern: str) -> frozenset[str] | None:
    match = _ALTERNATION.fullmatch(pattern)
    return frozenset(match[1].split("|")) if match else None


@functools.lru_cache(maxsize=4096)
def search(pattern: str) -> Callable[[str], Any]:
    """Whether a text holds the pattern, unanchored as in JSON Schema. Raises InvalidCategory for what RE2 cannot match."""
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as exc:
        reason = exc.args[0].decode("utf-8", "replace") if exc.args and isinstance(exc.args[0], bytes) else exc
        raise InvalidCategory(
            f"the pattern {quoted(pattern)} cannot be used: {reason}",
            hint="Patterns are extended regular expressions without look-around and back-references.",
            field="pattern",
        ) from exc
    spend(1 + compiled.programsize // _INSTRUCTIONS)
    found: Callable[[str], Any] = compiled.search
    return found


def checked_pattern(name: str, pattern: Any) -> Pattern | None:
    """The pattern of the attribute ``name`` as its definition gives it, once it is sure to work. Raises InvalidCategory."""
    if pattern is None or pattern in ("", {}):
        return None
    if isinstance(pattern, str):
        if enumeration(pattern) is None:
            search(pattern)
        return pattern
    if isinstance(pattern, dict):
        try:
            with bounded():
                _check_form(name, pattern)
                _check_expressions(name, pattern)
        except InvalidCategory:
            raise
        except InvalidRequest as exc:
            raise InvalidCategory(f"attribute {name}: {exc.message}", attribute=name, field="pattern") from exc
        return pattern
    raise InvalidCategory(
        f"attribute {name}: a pattern is a regular expression or a JSON Schema object", attribute=name, field="pattern"
    )


def _check_form(name: str, schema: dict[str, Any]) -> None:
    """It is a JSON Schema at all."""
    try:
        # No format checker: it would have patterns be Python's, and they are RE2's.
        error = _first_error(_META, schema)
        reason = error.message[:300] if error is not None else ""
    except RecursionError:
        reason = "it nests too deep"
    if reason:
        raise InvalidCategory(
            f"attribute {name}: its pattern is not a JSON Schema: {reason}", attribute=name, field="pattern"
        )


def _check_expressions(name: str, schema: dict[str, Any]) -> None:
    """Every regular expression in a schema is one of RE2."""
    keywords = set()
    for keyword, value in _keywords(schema):
        keywords.add(keyword)
        if keyword == "pattern" and isinstance(value, str):
            search(value)
        elif keyword == "patternProperties" and isinstance(value, dict):
            for expression in value:
                search(expression)
    if keywords & {"unevaluatedItems", "unevaluatedProperties"}:
        raise InvalidCategory(
            f"attribute {name}: unevaluatedItems and unevaluatedProperties cannot be used here",
            hint="Use items and additionalProperties.",
            attribute=name,
            field="pattern",
        )


def _keywords(schema: Any) -> Iterator[tuple[str, Any]]:
    waiting = [schema]
    while waiting:
        level = waiting.pop()
        if isinstance(level, dict):
            yield from level.items()
            waiting += [inner for keyword, inner in level.items() if keyword not in _DATA]
        elif isinstance(level, list):
            waiting += level


def check_schema(name: str, schema: dict[str, Any], value: Any) -> None:
    """Raises InvalidAttribute unless the value of the attribute ``name`` is valid by the JSON Schema."""
    try:
        with bounded():
            error = _first_error(_compiled(_Same(schema)), value)
    except InvalidRequest as exc:
        raise InvalidAttribute(f"{name} cannot be checked: {exc.message}", hint=exc.hint, attribute=name) from exc
    except (
        referencing.exceptions.Unresolvable,
        RecursionError,
        ValueError,
    ) as exc:  # ValueError: an $id that is not a URI
        raise InvalidAttribute(f"{name} cannot be checked: its JSON Schema refers to {exc}", attribute=name) from exc
    if error is not None:
        raise InvalidAttribute(f"{name}: {error.message:.300}", attribute=name)


# The keywords of JSON Schema, counted, and those that jsonschema would answer in more than linear time

_INSTRUCTIONS = 16
"""Of a compiled expression, for a step."""
_NODES = 32
"""Values within values, for a step: every sentence about a value that is not valid has all of it."""
_CHARACTERS = 64
"""Of a text that an expression is looked for in, for a step."""
_NESTS = (dict, list)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A schema, ready to check values, and the values of its enumerations as sets, by the identity of its lists."""

    validator: Any
    choices: dict[int, frozenset[Any]] = field(default_factory=dict)


class _Run(NamedTuple):
    """One check: of what schema, and the weights, by identity, of what is in the value."""

    compiled: _Compiled
    weights: dict[int, int]


_run: ContextVar[_Run] = ContextVar("run")


def _first_error(compiled: _Compiled, value: Any) -> Any:
    _run.set(_Run(compiled, {}))
    return next(compiled.validator.iter_errors(value), None)


def _weight(value: Any, known: dict[int, int]) -> int:
    """How many values there are within a value, long texts counting for several."""
    if isinstance(value, str):
        return 1 + len(value) // _CHARACTERS
    if not isinstance(value, _NESTS):
        return 1
    found = known.get(id(value))
    if found is None:
        inner = value.values() if isinstance(value, dict) else value
        found = known[id(value)] = 1 + len(value) + sum(_weight(one, known) for one in inner)
    return found


def _counted(keyword: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    """The keyword, which takes a step besides those for the value that it is asked about, and for its own items."""

    def follow(validator: Any, said: Any, instance: Any, schema: Any) -> Iterator[Any]:
        items = len(said) if isinstance(said, _NESTS) and keyword is not _enum else 0
        spend(1 + (items + _weight(instance, _run.get().weights)) // _NODES)
        yield from keyword(validator, said, instance, schema) or ()

    return follow


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Any:
    if isinstance(instance, str):
        spend(len(instance) // _CHARACTERS)
        if not search(pattern)(instance):
            yield jsonschema.ValidationError(f"{quoted(instance)} does not match {pattern}")


def _pattern_properties(validator: Any, properties: dict[str, Any], instance: Any, _schema: Any) -> Any:
    if not isinstance(instance, dict):
        return
    spend(len(properties) * _looks(instance))
    for pattern, inner in properties.items():
        matches = search(pattern)
        for key, value in instance.items():
            if matches(key):
                yield from validator.descend(value, inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: dict[str, Any]) -> Any:
    if not isinstance(instance, dict):
        return
    named, expressions = schema.get("properties", {}), schema.get("patternProperties", {})
    others = {key: value for key, value in instance.items() if key not in named}
    spend(len(expressions) * _looks(others))
    patterns = [search(one) for one in expressions]
    for key, value in others.items():
        if not any(matches(key) for matches in patterns):
            if allowed is False:
                yield jsonschema.ValidationError(f"it has no property {quoted(key)}")
            else:
                yield from validator.descend(value, allowed, path=key)


def _looks(instance: dict[str, Any]) -> int:
    """Steps that an expression takes for all keys of an object."""
    return sum(1 + len(key) // _CHARACTERS for key in instance)


def _unique_items(_validator: Any, unique: Any, instance: Any, _schema: Any) -> Any:
    if unique and isinstance(instance, list) and len(set(map(_comparable, instance))) < len(instance):
        yield jsonschema.ValidationError(f"{quoted(instance)} has an item twice")


def _enum(_validator: Any, choices: list[Any], instance: Any, _schema: Any) -> Any:
    known = _run.get().compiled.choices
    if id(choices) not in known:
        known[id(choices)] = frozenset(map(_comparable, choices))
    if _comparable(instance) not in known[id(choices)]:
        yield jsonschema.ValidationError(f"{quoted(instance)} is not one of {quoted(choices)}")


def _const(_validator: Any, only: Any, instance: Any, _schema: Any) -> Any:
    if _comparable(instance) != _comparable(only):
        yield jsonschema.ValidationError(f"{quoted(instance)} is not {quoted(only)}")


def _comparable(value: Any) -> Any:
    """What is equal, and hashed alike, for values that JSON Schema takes for equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((key, _comparable(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return tuple(map(_comparable, value))
    return (bool, value) if isinstance(value, bool) else value


_OWN = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
    "enum": _enum,
    "const": _const,
}
_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call] # jsonschema leaves it bare
    jsonschema.Draft202012Validator,
    {name: _counted(one) for name, one in {**jsonschema.Draft202012Validator.VALIDATORS, **_OWN}.items()},
)


def _evolve(validator: Any, **changes: Any) -> Any:
    """The validator for a schema within its own. jsonschema's takes another class for one that names a ``$schema``, whose
    keywords are not those above."""
    given = {one.alias: getattr(validator, one.name) for one in type(validator).__attrs_attrs__ if one.init}
    return type(validator)(**{**given, **changes})


_Validator.evolve = _evolve
_META = _Compiled(_Validator(_Validator.META_SCHEMA))


class _Same:
    """A schema compared by identity, not by content: schemas are never changed."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.schema is self.schema


@functools.lru_cache(maxsize=256)
def _compiled(same: _Same) -> _Compiled:
    # An empty registry: a schema posted by a client must never make the broker fetch a URL.
    return _Compiled(_Validator(same.schema, registry=referencing.Registry()))
