"""Headers of a page: total count and ``Link`` (RFC 8288)."""

from __future__ import annotations

import re
from urllib.parse import quote

from pycmbs.services.entities.paging import Window
from pycmbs.wsgi.exchange import Exchange

_SAFE = "%!$&'()*+,;=:@/?-._~"
_PAGE = re.compile(r"(?<![^&])page=[^&]*")


def page_headers(exchange: Exchange, window: Window | None, shown: int, total: int | None) -> list[tuple[str, str]]:
    """The headers of a listing. ``shown``: how many entities this page has; ``total``: all pages, None if that is not known."""
    headers = [] if total is None else [("X-Total-Count", str(total))]
    # In the headers of text/occi, Link is OCCI's own word.
    if window is not None and window.number is not None and not exchange.rendition.in_headers:
        headers += [("Link", f'<{_url(exchange, page)}>; rel="{name}"') for name, page in _pages(window, shown, total)]
    return headers


def _pages(window: Window, shown: int, total: int | None) -> list[tuple[str, int]]:
    page, number = window.page, window.number or 1
    last = None if total is None else max(1, -(-total // number))
    more = shown == number if last is None else page < last
    found = [("first", 1)]
    if page > 1:
        found.append(("prev", page - 1 if last is None else min(page - 1, last)))
    if more:
        found.append(("next", page + 1))
    if last is not None:
        found.append(("last", last))
    return found


def _url(exchange: Exchange, page: int) -> str:
    query = _PAGE.sub(f"page={page}", exchange.environ.get("QUERY_STRING", ""))
    return f"{exchange.url(exchange.path)}?{quote(query, safe=_SAFE)}"
