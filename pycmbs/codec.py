"""Lossless JSON encoding and decoding.

orjson does it, but for integers beyond 64 bits: reading, it makes them floats, and it does not write them. Documents with
such a number, and only those, are done by the standard library.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import orjson

DecodeError = json.JSONDecodeError
"""What :func:`loads` raises; ``msg``, ``lineno`` and ``colno`` say what is wrong, and where."""

_LONG = re.compile(rb"[0-9]{19,}")
"""What every integer beyond 64 bits has, and little else."""
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_SOME_LONG = b"0" * 19
"""All digits made the same, and :data:`_LONG` in that: found ten times as fast as by the expression."""
_BEYOND = "Integer exceeds 64-bit range"


def loads(data: bytes) -> Any:
    """The value. Raises :data:`DecodeError`; also for an integer of more digits than Python converts (4300)."""
    if _SOME_LONG not in data.translate(_ZEROS):
        return orjson.loads(data)
    orjson.loads(_LONG.sub(b"0", data))  # it is strict: no lone surrogates, no NaN, nothing but UTF-8
    try:
        return json.loads(data, parse_float=_finite)
    except DecodeError:
        raise
    except ValueError:
        raise DecodeError("a number has too many digits, or is too large for a float", data.decode(), 0) from None
    except RecursionError:
        raise DecodeError("it nests too deep", data.decode(), 0) from None


MOST_MEMORY = 48 * 1024 * 1024
"""Bytes of memory that values from outside may take, as estimated from their text."""
_COSTS = ((b",", 32), (b"[", 64), (b"{", 192))


def received(data: bytes) -> Any:
    """The value of JSON from outside. Raises :data:`DecodeError`, as :func:`loads`; also, before it is read, for more
    than :data:`MOST_MEMORY`: three bytes of JSON may become two hundred in memory, so its length says little of that.
    """
    if len(data) > MOST_MEMORY // 192 and sum(cost * data.count(byte) for byte, cost in _COSTS) > MOST_MEMORY:
        raise DecodeError(f"its values would take more than {MOST_MEMORY} bytes of memory", "", 0)
    return loads(data)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number


def dumps(
    value: Any, *, pretty: bool = False, sort_keys: bool = False, default: Callable[[Any], Any] | None = None
) -> bytes:
    """The bytes, in UTF-8. ``pretty``: indented by two, with a newline at the end. Raises TypeError for what is not JSON."""
    option = (orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE if pretty else 0) | (
        orjson.OPT_SORT_KEYS if sort_keys else 0
    )
    try:
        return orjson.dumps(value, option=option, default=default)
    except orjson.JSONEncodeError as error:
        if str(error) != _BEYOND:
            raise
    separators, indent, end = ((",", ": "), 2, "\n") if pretty else ((",", ":"), None, "")
    text = json.dumps(
        value, ensure_ascii=False, allow_nan=False, separators=separators, indent=indent, sort_keys=sort_keys,
        default=default,
    )  # fmt: skip
    return (text + end).encode()
