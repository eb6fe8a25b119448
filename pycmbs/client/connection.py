"""httpx2 settings and error mapping, shared by both clients."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pycmbs.client.calls import Call
from pycmbs.client.places import Place
from pycmbs.errors import Unavailable

if TYPE_CHECKING:
    import httpx2

_CONNECT = 1.5
"""Seconds for a connection: a broker that is down is said to be so in less than two."""


def options(place: Place) -> dict[str, Any]:
    """How to make a client of httpx2 for a place."""
    parts = urlsplit(place.url)
    headers = {"User-Agent": "pycmbs-client"}
    if place.token:
        headers["Authorization"] = f"Bearer {place.token}"
    found: dict[str, Any] = {
        "base_url": place.url,
        "headers": headers,
        "auth": (place.user, place.password) if place.user and not place.token else None,
        "trust_env": not _is_loopback(parts.hostname or ""),  # no proxy is asked for what is on this machine
    }
    if parts.scheme == "http":
        found["verify"] = False  # there is nothing to verify, and to load all authorities takes time
    elif place.ca:
        import ssl  # only where there is TLS

        found["verify"] = ssl.create_default_context(cafile=place.ca)
    return found


def request_of(call: Call, timeout: float) -> dict[str, Any]:
    """The arguments of a request of httpx2's."""
    import httpx2  # the caller has it already

    limits = httpx2.Timeout(timeout + call.seconds, connect=_CONNECT)
    return {
        "method": call.method,
        "url": call.path,
        "content": call.data,
        "headers": call.headers,
        "timeout": limits,
    }


def unreachable(place: Place, exc: httpx2.HTTPError) -> Unavailable:
    """The error that no answer is. ``connected``: it was reached, and the connection ended before it answered."""
    import httpx2

    connected = not isinstance(exc, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.UnsupportedProtocol)
    why = str(exc) or type(exc).__name__
    return Unavailable(
        f"no broker answers at {place.url}: {why}",
        hint="" if connected else "pycmbs serve starts one; --url says where another is.",
        url=place.url,
        connected=connected,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
