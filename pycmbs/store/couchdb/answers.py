"""Validates and reads successful CouchDB responses.

Their shape is the server's, and not always the documented one: what a broker needs is checked, and what is only told
is taken where it is there.
"""

from __future__ import annotations

from typing import Any

from pycmbs.store.couchdb.errors import Failed

Row = dict[str, Any]


def told(answer: Any, *names: str) -> Any:
    """What an answer tells under a name, or a name within another; None where it has no such thing."""
    for name in names:
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer


def number(answer: Any, *names: str) -> int | None:
    """The same, if it is a number."""
    found = told(answer, *names)
    return int(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def needed(answer: Any, name: str) -> Any:
    """The same of a name that the answer must have. Raises Failed."""
    found = told(answer, name)
    if found is None:
        raise _strange(name)
    return found


def rows_of(answer: Any, name: str, *columns: str) -> list[Row]:
    """The rows under a name, each of which has these columns. Raises Failed for an answer without them."""
    return checked(needed(answer, name), name, *columns)


def checked(found: Any, name: str, *columns: str) -> list[Row]:
    """The same of what is a list of rows itself."""
    if not isinstance(found, list):
        raise _strange(name)
    for row in found:
        if not isinstance(row, dict) or not all(column in row for column in columns):
            raise _strange(name)
    return found


def _strange(name: str) -> Failed:
    return Failed(
        f"the server's answer lacks {name}, which CouchDB's have",
        hint="Is it CouchDB, or a proxy that answers in its place?",
    )
