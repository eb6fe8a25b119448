"""Keeps numbers that CouchDB would round as text.

JSON has numbers of any size. Apache CouchDB keeps integers of up to some 300 digits, and fails at longer ones; it makes nothing
of the smallest floats and of the sign of zero. Servers in JavaScript round integers beyond 2^53.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

from pycmbs import codec

_EXACT = 2**53
_SMALLEST = sys.float_info.min
"""Of the floats that have all their digits."""

Places = dict[str, Any]
"""Where numbers stand as text: names in an object, or indexes in an array, with the places in what is there, or with 1."""


def kept(body: dict[str, Any]) -> tuple[dict[str, Any], Places]:
    """The body as a server keeps it, and where in it a number is text; the body itself, if nowhere."""
    copy, places = _kept(body)
    return copy, places


def _kept(value: Any) -> tuple[Any, Places]:
    items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
    copy, places = value, {}
    for name, one in items:
        kind = type(one)
        if kind is str or kind is bool:
            continue
        inner: Any = None
        if kind is dict or kind is list or kind is tuple:
            text, inner = _kept(one)
        elif (kind is int and not -_EXACT <= one <= _EXACT) or (kind is float and _is_lost(one)):
            text, inner = codec.dumps(one).decode(), 1
        if inner:
            if copy is value:
                copy = dict(value) if isinstance(value, dict) else list(value)
            copy[name], places[str(name)] = text, inner
    return copy, places


def _is_lost(number: float) -> bool:
    return abs(number) < _SMALLEST and (number != 0.0 or math.copysign(1.0, number) < 0)


def restore(body: Any, places: Places) -> None:
    """Put the numbers into a body that was read. What was changed by hand stays as it is."""
    for key, inner in places.items():
        name: Any = int(key) if isinstance(body, list) else key
        if not (name in body if isinstance(body, dict) else isinstance(body, list) and name < len(body)):
            continue
        if isinstance(inner, dict):
            restore(body[name], inner)
        elif isinstance(body[name], str):
            body[name] = codec.loads(body[name].encode())
