"""Patterns of attributes: enumerations, regular expressions (2012 form) and JSON Schemas (1.2 form).

All of them come from clients, and none of them can hang the process: regular expressions are matched by RE2, whose time is
linear in the input, also inside a JSON Schema; references inside a schema are counted, and none is fetched.
"""

from __future__ import annotations

import contextvars
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import re2
import referencing

from pycmbs import codec
from pycmbs.errors import InvalidAttribute, InvalidCategory

Pattern = str | dict[str, Any]

_ALTERNATION = re.compile(r"\^?\(?([A-Za-z0-9_. -]+(?:\|[A-Za-z0-9_. -]+)+)\)?\$?")
_MOST_REFERENCES = 10_000
_DATA = frozenset({"const", "enum", "default", "examples"})
"""Keywords of JSON Schema whose values are data, not schemas."""


def shown(value: Any) -> str:
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
        found: Callable[[str], Any] = re2.compile(pattern, options).search
    except re2.error as exc:
        reason = exc.args[0].decode("utf-8", "replace") if exc.args and isinstance(exc.args[0], bytes) else exc
        raise InvalidCategory(
            f"the pattern {shown(pattern)} cannot be used: {reason}",
            hint="Patterns are extended regular expressions without look-around and back-references.",
            field="pattern",
        ) from exc
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
            # No format checker: it would have patterns be Python's, and they are RE2's.
            _Validator.check_schema(pattern, format_checker=jsonschema.FormatChecker(formats=()))
        except (jsonschema.SchemaError, RecursionError) as exc:
            reason = exc.message if isinstance(exc, jsonschema.SchemaError) else "it nests too deep"
            raise InvalidCategory(
                f"attribute {name}: its pattern is not a JSON Schema: {reason}", attribute=name, field="pattern"
            ) from exc
        _check_expressions(name, pattern)
        return pattern
    raise InvalidCategory(
        f"attribute {name}: a pattern is a regular expression or a JSON Schema object", attribute=name, field="pattern"
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
    _references.set(0)
    try:
        error = next(_validator(codec.dumps(schema)).iter_errors(value), None)
    except (
        referencing.exceptions.Unresolvable,
        RecursionError,
        ValueError,
    ) as exc:  # ValueError: an $id that is no URI
        raise InvalidAttribute(f"{name} cannot be checked: its JSON Schema refers to {exc}", attribute=name) from exc
    if error is not None:
        raise InvalidAttribute(f"{name}: {error.message:.300}", attribute=name)


# The keywords of JSON Schema that jsonschema would answer in more than linear time

_references: contextvars.ContextVar[int] = contextvars.ContextVar("references", default=0)


def _counted(keyword: str) -> Any:
    plain = jsonschema.Draft202012Validator.VALIDATORS[keyword]

    def follow(validator: Any, ref: str, instance: Any, schema: Any) -> Any:
        # A few dozen definitions that each refer twice to the one before take longer than anybody waits.
        _references.set(_references.get() + 1)
        if _references.get() > _MOST_REFERENCES:
            raise RecursionError(f"itself more than {_MOST_REFERENCES} times")
        yield from plain(validator, ref, instance, schema) or ()

    return follow


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Any:
    if isinstance(instance, str) and not search(pattern)(instance):
        yield jsonschema.ValidationError(f"{shown(instance)} does not match {pattern}")


def _pattern_properties(validator: Any, properties: dict[str, Any], instance: Any, _schema: Any) -> Any:
    for pattern, inner in properties.items() if isinstance(instance, dict) else ():
        for key, value in instance.items():
            if search(pattern)(key):
                yield from validator.descend(value, inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: dict[str, Any]) -> Any:
    if not isinstance(instance, dict):
        return
    named, patterns = schema.get("properties", {}), [search(one) for one in schema.get("patternProperties", {})]
    for key, value in instance.items():
        if key not in named and not any(matches(key) for matches in patterns):
            if allowed is False:
                yield jsonschema.ValidationError(f"it has no property {shown(key)}")
            else:
                yield from validator.descend(value, allowed, path=key)


def _unique_items(_validator: Any, unique: Any, instance: Any, _schema: Any) -> Any:
    if unique and isinstance(instance, list):
        found = {codec.dumps(item, sort_keys=True) for item in instance}
        if len(found) < len(instance):
            yield jsonschema.ValidationError(f"{shown(instance)} has an item twice")


_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call] # jsonschema leaves it bare
    jsonschema.Draft202012Validator,
    {
        "$ref": _counted("$ref"),
        "$dynamicRef": _counted("$dynamicRef"),
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    },
)


@functools.lru_cache(maxsize=1024)
def _validator(schema: bytes) -> Any:
    # An empty registry: a schema posted by a client must never make the broker fetch a URL.
    return _Validator(codec.loads(schema), registry=referencing.Registry())
