"""The parameters of a URL."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from webob import Request

from pycmbs import codec
from pycmbs.errors import InvalidRequest
from pycmbs.services.entities.paging import Window


@dataclass(frozen=True, slots=True)
class Query:
    """What they ask for."""

    action: str | None = None
    then: str | None = None
    """The action on what is created."""
    categories: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    window: Window | None = None
    options: tuple[tuple[str, Any], ...] = ()
    """Attributes of the action."""
    watch: Mapping[str, Any] | None = None
    """That changes are wanted, ``since`` when, and how long to ``wait`` for one."""


NO_QUERY = Query()
_KNOWN = frozenset({"action", "then", "category", "page", "number", "order", "attribute", "value", "watch"})
_ORDERS = ("asc", "desc")
_OF_WATCH = frozenset({"since", "wait"})
_YES = ("", "1", "true", "True")


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Query:
    """The parameters, from what follows the question mark. Raises InvalidRequest for one that is not known: a mistyped filter
    must not select everything."""
    try:
        items = list(Request({"QUERY_STRING": text}).GET.items())
    except UnicodeError as exc:
        raise InvalidRequest("the query is not UTF-8") from exc
    return _Parameters(items).query()


class _Parameters:
    """The parameters, one after the other."""

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        self._action: str | None = None
        self._then: str | None = None
        self._categories: list[str] = []
        self._attributes: list[tuple[str, str]] = []
        self._numbers: dict[str, int] = {}
        self._options: dict[str, Any] = {}
        self._watch = False
        self._order: str | None = None
        self._name: str | None = None
        """The attribute whose value is to come."""
        for key, value in items:
            self._take(key, value)

    def _take(self, key: str, value: str) -> None:
        if key == "action":
            self._action = value
        elif key == "then" and self._then is None:
            self._then = value
        elif key == "category":
            self._categories.append(value)
        elif key == "watch" and value in _YES:
            self._watch = True
        elif key in ("page", "number") and key not in self._numbers:
            self._numbers[key] = _count(key, value)
        elif key == "order" and self._order is None:
            self._order = _order(value)
        elif key == "attribute" and self._name is None:
            self._name = value
        elif key == "value" and self._name is not None:
            self._attributes.append((self._name, value))
            self._name = None
        elif key in self._options or key in _KNOWN:
            raise _useless(key)
        else:
            self._options[key] = _value(value)

    def query(self) -> Query:
        """What they ask for together. Raises InvalidRequest."""
        options = self._options
        watch = {name: options.pop(name) for name in _OF_WATCH & options.keys()} if self._watch else None
        if options and self._action is None and self._then is None:
            raise _useless(next(iter(options)))
        if self._action is not None and self._then is not None:
            raise InvalidRequest(
                "the query has both action and then",
                hint="action is for what is there, then for what the body describes.",
                parameter="then",
            )
        if self._name is not None:
            raise InvalidRequest(f"attribute={self._name[:100]} has no value", hint="Add &value=….", parameter="value")
        numbers = self._numbers
        if len(numbers) == 1:
            other = "number" if "page" in numbers else "page"
            raise InvalidRequest("page and number belong together", hint=f"Add &{other}=….", parameter=other)
        newest = self._order == "desc"
        window = Window(**numbers, newest=newest) if numbers or self._order is not None else None
        named = (tuple(self._categories), tuple(self._attributes))
        return Query(self._action, self._then, *named, window, tuple(options.items()), watch)


def _order(text: str) -> str:
    if text not in _ORDERS:
        raise InvalidRequest(
            f"order={text[:40]} is not an order", hint="Say asc, or desc for the newest first.", parameter="order"
        )
    return text


def _useless(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"the query has no use for {name[:100]!r} here",
        hint="It knows action=… or then=… with the action's attributes, category=…, page=…&number=…, order=…, "
        "attribute=…&value=… in pairs, and watch with since=… and wait=….",
        parameter=name[:100],
    )


def _value(text: str) -> Any:
    """What an attribute of an action is: a number, a flag or a string in quotes as in JSON, or else the text itself."""
    try:
        value = codec.loads(text.encode())
    except ValueError:
        return text
    return value if isinstance(value, str | int | float) else text


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest(f"{name}={text[:40]} is not a number", parameter=name)
    return int(text)
