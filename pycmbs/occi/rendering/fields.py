"""The fields of the text renderings (GFD.229 3; GFD.185 3.6.1): ``Name: value, value``, as lines of a body or as headers.

A value is split at commas and semicolons outside of quotes. Inside of quotes a backslash keeps what follows it; beyond the
``\\"`` of the standard, ``\\n``, ``\\r`` and ``\\u00e9`` stand for what a line cannot hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pycmbs import codec
from pycmbs.errors import MalformedBody
from pycmbs.occi.attribute import Quoted

CATEGORY, LINK, ATTRIBUTE, LOCATION = "Category", "Link", "X-OCCI-Attribute", "X-OCCI-Location"
NAMES = (CATEGORY, LINK, ATTRIBUTE, LOCATION)
_BY_LOWER = {name.lower(): name for name in NAMES}

# Each begins where none of the others can, and stops where the next could begin: so a text is walked once, whatever it is.
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?P<end>"?)|<[^<>]*>|[,;]', re.DOTALL)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_UNESCAPED = {"n": "\n", "r": "\r", '"': '"', "\\": "\\"}
_CONTROL = re.compile(r'[\\"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}


def decode(body: bytes) -> str:
    """The text of a body. Raises MalformedBody."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise MalformedBody(f"the body is not UTF-8: byte {exc.start} is wrong") from exc


def fields(body: bytes) -> Iterator[tuple[str, str]]:
    """Name and value of each field of a body, several on a line apart. Raises MalformedBody."""
    for number, line in _unfolded(decode(body)):
        name, colon, rest = line.partition(":")
        known = _name(name)
        if not colon or known is None:
            raise MalformedBody(
                f"line {number} is not a known field: {line[:60]!r}",
                hint=f"Known: {', '.join(f'{one}:' for one in NAMES)}.",
                line=number,
            )
        for value in split(rest, ","):
            yield known, value


def _name(text: str) -> str | None:
    return _BY_LOWER.get(text.strip().lower())


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with the number of each. One that begins with a blank goes on with the one before, as
    GFD.185 prints its examples, unless it begins a field itself."""
    begun: list[str] = []
    first = 0
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not line.strip():
            continue
        if begun and line[0] in " \t" and _name(line.partition(":")[0]) is None:
            begun.append(line.strip())
            continue
        if begun:
            yield first, " ".join(begun)
        begun, first = [line], number
    if begun:
        yield first, " ".join(begun)


def lines(values: Iterable[tuple[str, str]]) -> bytes:
    """Fields as a body, one on a line."""
    return "".join(f"{name}: {value}\n" for name, value in values).encode()


def split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that are not in quotes or angle brackets; empty ones are left out. Raises
    MalformedBody for quotes that do not end."""
    found, start = [], 0
    for match in _TOKEN.finditer(text):
        if match[0] == separator:
            found.append(text[start : match.start()].strip())
            start = match.end()
        elif match["end"] == "":
            raise MalformedBody(
                f"the quotes in {text.strip()[:60]!r} do not end", hint='Write " inside of quotes as \\".'
            )
    return [part for part in (*found, text[start:].strip()) if part]


def parts(text: str) -> list[str]:
    """What stands between the semicolons of a value; at least one part. Raises MalformedBody."""
    found = split(text, ";")
    if not found:
        raise MalformedBody(f"{text[:60]!r} says nothing")
    return found


def pair(text: str) -> tuple[str, Any]:
    """Name and value of ``name=value``. Raises MalformedBody."""
    name, equals, given = text.partition("=")
    name = name.strip()
    if not equals or not name or not name.isascii() or '"' in name or " " in name:
        raise MalformedBody(f"{text[:60]!r} is not name=value", hint='Write name="text", name=12.5 or name=true.')
    return name, value(given.strip())


def value(text: str) -> Any:
    """A string (in quotes, or bare as a token), a number, or true or false (GFD.229 4.4). Raises MalformedBody."""
    if text.startswith('"'):
        if len(text) < 2 or not text.endswith('"'):
            raise MalformedBody(f"the quotes around {text[:60]!r} do not end")
        return Quoted(_ESCAPE.sub(_unescape, text[1:-1]))
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text):
        return _number(text)
    return Quoted(text)


def _unescape(match: re.Match[str]) -> str:
    escape = match[1]
    if len(escape) == 5:
        char = chr(int(escape[1:], 16))
        return match[0] if "\ud800" <= char <= "\udfff" else char
    return _UNESCAPED.get(escape, match[0])


def _number(text: str) -> int | float:
    number = int(text) if re.fullmatch(r"[+-]?[0-9]{1,4300}", text) else float(text)
    if number in (float("inf"), float("-inf")):
        raise MalformedBody(f"{text[:40]} is too large a number")
    return number


def quote(text: str) -> str:
    """A string in quotes."""
    return f'"{_CONTROL.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    return _ESCAPED.get(match[0]) or f"\\u{ord(match[0]):04x}"


def written(given: Any, type: str = "string") -> str:
    """A value as text. Arrays and objects are JSON in a quoted string, since the standard has no form for them; so is a
    string that would be taken for one, in an attribute of any type. An array of plain words does without JSON's quotes:
    pOCCI takes no string that has a quote inside."""
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, int | float):
        return repr(given)
    if isinstance(given, str) and (type != "any" or Quoted(given).meant("any") == given):
        return quote(given)
    if type == "array" and isinstance(given, list) and all(isinstance(item, str) for item in given):
        text = f"[{', '.join(given)}]"
        if Quoted(text).meant("array") == given:
            return quote(text)
    return quote(codec.dumps(given).decode())


def parameters(parts: Iterable[str]) -> dict[str, str]:
    """The parameters of a category or link, as strings. Raises MalformedBody."""
    return {
        name: str(given) if isinstance(given, str) else part.partition("=")[2].strip()
        for part in parts
        for name, given in (pair(part),)
    }


def as_headers(body: bytes) -> list[tuple[str, str]]:
    """A body of fields as headers (``text/occi``): one for each name, its values with commas between."""
    found: dict[str, list[str]] = {}
    for line in body.decode("utf-8").splitlines():
        name, _, rest = line.partition(": ")
        found.setdefault(name, []).append(rest)
    return [(name, ", ".join(values).encode("utf-8").decode("latin-1")) for name, values in found.items()]


def from_headers(headers: Iterable[tuple[str, str]]) -> bytes:
    """The body that headers stand for; those that are no fields are left out."""
    found = [(known, text.replace("\n", " ")) for name, text in headers if (known := _BY_LOWER.get(name.lower()))]
    return b"".join(f"{name}: ".encode() + text.encode("latin-1", "replace") + b"\n" for name, text in found)
