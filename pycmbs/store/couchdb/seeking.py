"""Finds where a far page begins by counting ranges, since CouchDB skips by reading all that it skips.

A range is counted from a few nodes of its index.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pycmbs.store.couchdb.answers import number
from pycmbs.store.couchdb.documents import number_text

_MOST_SKIPPED = 1000
"""Rows of the view that are skipped without narrowing down first."""
_MOST_COUNTS = 40
"""Ranges that are counted until the rest is skipped, however many that is."""

View = Callable[..., list[dict[str, Any]]]


class Seeking:
    """The rows of a view whose keys are a prefix and a document's number, in the order of the numbers."""

    def __init__(self, view: View, prefix: list[str], after: int) -> None:
        """Those after a number. ``view`` asks for rows, by keys and other parameters of CouchDB's views."""
        self._view = view
        self._prefix = prefix
        self._after = after

    def find(self, past: int) -> int | None:
        """The number of the row that is the ``past``-th; None when there are fewer."""
        low, before = self._after, 0
        if past > _MOST_SKIPPED:
            total = self._count(low, None)
            if total < past:
                return None
            low, before = self._narrowed(past, total)
        return self._number(low, skip=past - before - 1)

    def _narrowed(self, past: int, total: int) -> tuple[int, int]:
        """A number that is not far below the row, and how many rows there are up to it."""
        first, last = self._number(self._after), self._number(self._after, last=True)
        if first is None or last is None:  # all were deleted meanwhile
            return self._after, 0
        low, before, high, upto = first - 1, 0, last, total
        halve = False
        for _ in range(_MOST_COUNTS):
            left = upto - before
            if past - before <= _MOST_SKIPPED or high - low < 2 or left <= 0:
                break
            # Where it would be if they came evenly; if they do not, and that was no good, the middle.
            share = (1, 2) if halve else (past - before, left)
            middle = low + min(max((high - low) * share[0] // share[1], 1), high - low - 1)
            there = before + self._count(low, middle)
            if there < past:
                low, before = middle, there
            else:
                high, upto = middle, there
            if slow := 2 * (upto - before) > left:  # they came in bursts: leave out the time in between
                first, last = self._number(low, high), self._number(low, high, last=True)
                low, high = (first - 1, last) if first is not None and last is not None else (low, high)
            halve = slow and not halve
        return low, before

    def _count(self, after: int, upto: int | None) -> int:
        found = self._view(group=False, **self._range(after, upto))
        return number(found[0], "value") or 0 if found else 0

    def _number(self, after: int, upto: int | None = None, *, skip: int = 0, last: bool = False) -> int | None:
        """Of a row after a number, and up to another: the first, one further on, or the last."""
        keys = self._range(after, upto)
        if last:
            keys = {"startkey": keys["endkey"], "endkey": keys["startkey"], "descending": True}
        rows = self._view(reduce=False, limit=1, skip=skip, **keys)
        return int(rows[0]["key"][3]) if rows else None

    def _range(self, after: int, upto: int | None) -> dict[str, Any]:
        end = {} if upto is None else number_text(upto)
        return {"startkey": [*self._prefix, number_text(after + 1)], "endkey": [*self._prefix, end]}
