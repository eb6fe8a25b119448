"""The parameters of a URL."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from webob import Request

from pycmbs.errors import InvalidRequest
from pycmbs.services.entities.paging import Window


@dataclass(frozen=True, slots=True)
class Query:
    """What they ask for."""

    action: str | None = None
    categories: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    window: Window | None = None


NO_QUERY = Query()


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Query:
    """The parameters, from what follows the question mark. Raises InvalidRequest for one that is not known: a mistyped filter
    must not select everything."""
    action, categories, attributes = None, [], []
    name, numbers = None, {}
    try:
        items = list(Request({"QUERY_STRING": text}).GET.items())
    except UnicodeError as exc:
        raise InvalidRequest("the query is not UTF-8") from exc
    for key, value in items:
        if key == "action":
            action = value
        elif key == "category":
            categories.append(value)
        elif key in ("page", "number") and key not in numbers:
            numbers[key] = _count(key, value)
        elif key == "attribute" and name is None:
            name = value
        elif key == "value" and name is not None:
            attributes.append((name, value))
            name = None
        else:
            raise InvalidRequest(
                f"the query has no use for {key[:100]!r} here",
                hint="It knows action=…, category=…, page=…&number=…, and attribute=…&value=… in pairs.",
                parameter=key[:100],
            )
    if name is not None:
        raise InvalidRequest(f"attribute={name[:100]} has no value", hint="Add &value=….", parameter="value")
    if len(numbers) == 1:
        other = "number" if "page" in numbers else "page"
        raise InvalidRequest("page and number belong together", hint=f"Add &{other}=….", parameter=other)
    window = Window(**numbers) if numbers else None
    return Query(action, tuple(categories), tuple(attributes), window)


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest(f"{name}={text[:40]} is not a number", parameter=name)
    return int(text)
