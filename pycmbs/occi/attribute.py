"""Attribute definitions, and the check of one value against one definition (GFD.221 4.3.3)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pycmbs import codec
from pycmbs.depth import deeper
from pycmbs.errors import InvalidAttribute, InvalidCategory
from pycmbs.occi import naming
from pycmbs.occi.pattern import check_schema, checked_pattern, enumeration, quoted, search

TYPES = ("string", "number", "boolean", "array", "object", "any")
"""The types of GFD.226 4.3, and ``any`` (ours): any JSON value."""

MOST_DEPTH = 100
"""How deep a value may nest. The encoder stops at 254: what is accepted must also be answerable."""

_SYNONYMS = {"list": "array", "hash": "object", "integer": "number", "float": "number", "enum": "string"}
_FLAG = frozenset({"true", "false"})


_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_WORD = re.compile(r"[A-Za-z0-9._:/*>@+-]+")


def words_in(text: str) -> list[str] | None:
    """The items of ``[one, two]``: an array of plain words as text has it, without the quotes of JSON."""
    if len(text) < 3 or text[0] != "[" or text[-1] != "]":
        return None
    words = [word.strip() for word in text[1:-1].split(",")]
    return words if all(map(_WORD.fullmatch, words)) else None


class Quoted(str):
    """A string of a rendering that has strings, numbers and booleans only (GFD.229 5.4): for an attribute of another type it
    holds JSON."""

    __slots__ = ()

    def meant(self, type: str) -> Any:
        """The value it stands for in an attribute of this type. Any other text is the string itself."""
        if type not in ("array", "object", "any"):
            return str(self)
        try:
            value = codec.loads(self.encode())
        except codec.DecodeError:
            return (words_in(self) if type == "array" else None) or str(self)
        if isinstance(value, bool | int | float) or deeper(value, MOST_DEPTH, self.encode()):
            return str(self)  # numbers and booleans have a form of their own
        return value


@dataclass(frozen=True, slots=True)
class AttributeDefinition:
    """What a category says of one attribute.

    ``minimum`` and ``maximum`` bound a number's value, a string's or an array's length (draft of May 2012).
    ``pattern`` is a regular expression (2012 form) or a JSON Schema (1.2 form). ``internal`` marks an attribute that only
    the broker writes, whatever a definition says. ``has_default`` tells a default of ``None`` from none.
    """

    name: str
    type: str = "string"
    mutable: bool = True
    required: bool = False
    pattern: str | dict[str, Any] | None = None
    default: Any = None
    has_default: bool = False
    description: str = ""
    internal: bool = False
    minimum: float | None = None
    maximum: float | None = None

    def check(self, value: Any) -> Any:
        """The value as it is kept. Raises InvalidAttribute naming the attribute.

        ``"True"``, ``"true"`` and ``true`` mean the same to a flag, whether it is declared a boolean or a string of
        ``true|false``; the empty string means "nothing" to an array or object, as 2012's samples have it.
        """
        value = self._typed(value.meant(self.type) if isinstance(value, Quoted) else value)
        if value == "" and self.type == "object":
            return value
        if self.minimum is not None or self.maximum is not None:
            self._check_bounds(value)
        if self.pattern is None:
            return value
        words = enumeration(self.pattern)
        if words is not None:
            return self._one_of(value, words)
        if isinstance(self.pattern, str):
            self._each_string(value, search(self.pattern))
        else:
            check_schema(self.name, self.pattern, value)
        return value

    def _check_bounds(self, value: Any) -> None:
        size, of = (len(value), "the length of ") if isinstance(value, str | list) else (value, "")
        if isinstance(size, int | float):
            if self.minimum is not None and size < self.minimum:
                raise InvalidAttribute(f"{of}{self.name} must be at least {quoted(self.minimum)}", attribute=self.name)
            if self.maximum is not None and size > self.maximum:
                raise InvalidAttribute(f"{of}{self.name} must be at most {quoted(self.maximum)}", attribute=self.name)

    def _typed(self, value: Any) -> Any:
        if self.type == "boolean" and isinstance(value, str) and value.lower() in _FLAG:
            return value.lower() == "true"
        if self.type == "string" and isinstance(value, bool) and enumeration(self.pattern) == _FLAG:
            return "true" if value else "false"
        if value == "" and self.type == "array":
            return []
        if not _IS_TYPE[self.type](value) and (value != "" or self.type != "object"):
            raise InvalidAttribute(
                f"{self.name} must be {_ARTICLE[self.type]}, not {quoted(value)}",
                attribute=self.name,
                expected=self.type,
            )
        for text in value if self.type == "array" else (value,) if self.type == "string" else ():
            if isinstance(text, str) and "\x00" in text:
                raise InvalidAttribute(f"{self.name} contains a NUL character", attribute=self.name)
        return value

    def _one_of(self, value: Any, words: frozenset[str]) -> Any:
        if isinstance(value, list):
            return [self._word(item, words) for item in value]
        return self._word(value, words)

    def _word(self, value: Any, words: frozenset[str]) -> Any:
        if isinstance(value, str):
            value = value.lower() if words == _FLAG else naming.canonical(value)
            known = value in words
        else:  # numbers and booleans can be enumerated as well
            known = isinstance(value, int | float) and quoted(value) in words
        if known:
            return value
        raise InvalidAttribute(
            f"{self.name} must be one of {', '.join(sorted(words))}, not {quoted(value)}",
            attribute=self.name,
            allowed=sorted(words),
        )

    def _each_string(self, value: Any, matches: Callable[[str], Any]) -> None:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not matches(text):
                raise InvalidAttribute(
                    f"{self.name} must match {self.pattern}, and {quoted(text)} does not",
                    attribute=self.name,
                    pattern=self.pattern,
                )

    def initial(self) -> Any:
        """The default as a value, or None. A default that contradicts its own definition (2012 has one) counts as none."""
        if not self.has_default:
            return None
        try:
            return self.check(self.default)
        except InvalidAttribute:
            return None


_IS_TYPE: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "any": lambda _value: True,
}
_ARTICLE = {
    "string": "a string",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
}


_FIELDS = frozenset({"type", "mutable", "required", "pattern", "default", "description", "minimum", "maximum"})


def is_definition(value: dict[str, Any]) -> bool:
    """Whether a JSON object describes an attribute, rather than holding a level of nested names (2012 form)."""
    return not value or any(
        name in _FIELDS and (not isinstance(inner, dict) or name in ("pattern", "default"))
        for name, inner in value.items()
    )


def parse_definition(name: str, document: dict[str, Any]) -> AttributeDefinition:
    """An attribute definition from its JSON (GFD.226 4.3 and the draft of 2012). Raises InvalidCategory.

    ``mutable`` is true unless said otherwise, as in the draft of May 2012 and in the text rendering.
    """
    unknown = set(document) - _FIELDS
    if unknown:
        raise InvalidCategory(f"attribute {name}: unknown field {min(unknown)!r}", attribute=name, field=min(unknown))
    kind = str(document.get("type", "string")).lower()
    kind = _SYNONYMS.get(kind, kind)
    if kind not in TYPES:
        raise InvalidCategory(
            f"attribute {name}: {document['type']!r} is not a type",
            hint=f"Types are {', '.join(TYPES)}.",
            attribute=name,
            field="type",
        )
    flags = {}
    for flag, default in (("mutable", True), ("required", False)):
        value = document.get(flag, default)
        if isinstance(value, str) and value.lower() in _FLAG:
            value = value.lower() == "true"
        if not isinstance(value, bool):
            raise InvalidCategory(f"attribute {name}: {flag} must be true or false", attribute=name, field=flag)
        flags[flag] = value
    definition = AttributeDefinition(
        name=name,
        type=kind,
        pattern=checked_pattern(name, document.get("pattern")),
        default=document.get("default"),
        has_default="default" in document,
        description=str(document.get("description", "")),
        minimum=_bound(name, document, "minimum"),
        maximum=_bound(name, document, "maximum"),
        **flags,
    )
    definition.initial()  # compiles the pattern, so that a wrong one is refused now
    return definition


def _bound(name: str, document: dict[str, Any], field: str) -> float | None:
    value = document.get(field)
    if isinstance(value, str):  # as the draft of 2012 writes it, and its own samples
        value = _number(value)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise InvalidCategory(f"attribute {name}: {field} must be a number", attribute=name, field=field)


def _number(text: str) -> int | float | str | None:
    """The number that a string holds, None for the empty one, else the string."""
    if not text:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
