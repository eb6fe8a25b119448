"""Finds where a far page begins by remembered ranks.

For each recent query it keeps how many of its documents have a number in each *stretch* of numbers. A
number belongs to one document for ever, so only what was written can change a count: the documents that changed since the last
look are asked for by ``seq``, and their stretches are recounted. So a place is found by adding up the stretches before it
and counting within one, whatever others write meanwhile.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from pycmbs.store.base import Query
from pycmbs.store.sqlite import runs, sql

Rows = Callable[[str, Sequence[Any] | Mapping[str, Any]], list[tuple[Any, ...]]]
Listing = tuple[str, tuple[tuple[str, str], ...]]

_MOST_CHANGES = 4096
"""After more changes than this all is recounted, which costs about as much."""
_MOST_LISTINGS = 64


@dataclass(frozen=True, slots=True)
class Counted:
    """As of the change ``seq``: how many documents of a listing each stretch has, in their order."""

    seq: int
    stretches: dict[int, int]


class Ranks:
    """The counts of the listings of one store. May be used by several threads."""

    def __init__(self, rows: Rows) -> None:
        """``rows``: runs a statement that only reads."""
        self._rows = rows
        self._lock = threading.Lock()
        self._listings: OrderedDict[Listing, Counted] = OrderedDict()

    def nth(self, query: Query, order: list[str], past: int) -> int | None:
        """See :meth:`pycmbs.store.base.Store.nth`; ``order``: the query's names, as :func:`pycmbs.store.sqlite.runs.matching`
        wants them."""
        if past <= runs.STRETCH:
            return self._place(query, order, past)
        counted = self._current(query, order)
        first = (query.after + 1) // runs.STRETCH
        left = past + (self._number(query, order, first * runs.STRETCH, query.after) if query.after else 0)
        for stretch, number in counted.stretches.items():
            if stretch < first:
                continue
            if left <= number:
                found = self._place(replace(query, after=stretch * runs.STRETCH - 1), order, left)
                return self._place(query, order, past) if found is None else found  # something of it has gone just now
            left -= number
        return None

    def total(self, query: Query, order: list[str]) -> int:
        """See :meth:`pycmbs.store.base.Store.total`. Of all the query's documents, ``after`` none."""
        return sum(self._current(query, order).stretches.values())

    def _current(self, query: Query, order: list[str]) -> Counted:
        listing = (query.type, tuple(sorted(query.equals.items())))
        with self._lock:
            known = self._listings.get(listing)
        # Asked first: what is written from here on is looked at again the next time.
        last, unmarked = self._rows(sql.LAST_CHANGES, (sql.UNMARKED,))[0]
        followed = known is not None and unmarked <= known.seq <= last  # else traces are gone, or it is another file
        changed = self._changed(query.type, known.seq) if known is not None and followed else None
        if known is None or changed is None:
            found = self._all(query, order)
        else:
            ends = ((stretch, stretch * runs.STRETCH, (stretch + 1) * runs.STRETCH - 1) for stretch in changed)
            found = known.stretches | {stretch: self._number(query, order, *both) for stretch, *both in ends}
            if changed - known.stretches.keys():
                found = dict(sorted(found.items()))
        counted = Counted(last, found)
        with self._lock:
            self._listings[listing] = counted
            self._listings.move_to_end(listing)
            if len(self._listings) > _MOST_LISTINGS:
                self._listings.popitem(last=False)
        return counted

    def _changed(self, type: str, since: int) -> set[int] | None:
        """The stretches of the documents that changed; None when there are too many of them."""
        rows = self._rows(sql.CHANGED, (since, _MOST_CHANGES + 1))
        return {number // runs.STRETCH for number, one in rows if one == type} if len(rows) <= _MOST_CHANGES else None

    def _all(self, query: Query, order: list[str]) -> dict[int, int]:
        statements, parameters = runs.matching(replace(query, after=0), order)
        return dict(self._rows(statements.grouped, {**parameters, "stretch": runs.STRETCH}))

    def _number(self, query: Query, order: list[str], first: int, last: int) -> int:
        """How many have a number from ``first`` to ``last``."""
        statements, parameters = runs.matching(replace(query, after=first - 1), order)
        number: int = self._rows(statements.count_to, {**parameters, "most": last})[0][0]
        return number

    def _place(self, query: Query, order: list[str], past: int) -> int | None:
        statements, parameters = runs.matching(query, order)
        for first, last in self._rows(statements.runs, {**parameters, "limit": past}):
            if first + past - 1 <= last:
                return int(first + past - 1)
            past -= last - first + 1
        return None
