"""Pagination, which remembers where pages begin."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from pycmbs.errors import InvalidRequest

MOST_NUMBER = 1000
_MOST_LISTINGS = 256
_MOST_PAGES = 4096


@dataclass(frozen=True, slots=True)
class Window:
    """One page: ``page`` counts from 1, ``number`` is how many entities it has at most, None for all there are. ``newest``:
    those that were made last come first."""

    page: int = 1
    number: int | None = None
    newest: bool = False

    def __post_init__(self) -> None:
        if self.number is None:
            return
        if self.page < 1 or self.number < 1:
            raise InvalidRequest("page and number count from 1", parameter="page" if self.page < 1 else "number")
        if self.number > MOST_NUMBER:
            raise InvalidRequest(f"a page has at most {MOST_NUMBER} entities", parameter="number", most=MOST_NUMBER)


class Bookmarks:
    """For each listing that was asked for lately: after which entity (by the store's number) its pages begin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listings: OrderedDict[str, dict[int, int]] = OrderedDict()

    def nearest(self, listing: str, page: int) -> tuple[int, int]:
        """The last page up to this one whose beginning is known, and after which entity that is."""
        with self._lock:
            known = self._listings.get(listing, {})
            if page in known:
                return page, known[page]
            best = max((one for one in known if one < page), default=1)
            return best, known.get(best, 0)

    def keep(self, listing: str, page: int, after: int) -> None:
        """Remember that ``page`` begins after this entity."""
        with self._lock:
            known = self._listings.setdefault(listing, {})
            self._listings.move_to_end(listing)
            if len(known) < _MOST_PAGES:
                known[page] = after
            if len(self._listings) > _MOST_LISTINGS:
                self._listings.popitem(last=False)
