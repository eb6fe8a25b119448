"""Host and Origin checks before authentication, against cross-site requests and DNS rebinding.

A browser sends a POST of ``text/plain`` for any page without asking (it needs no preflight), and OCCI reads that; and a name
that an attacker owns may be made to mean 127.0.0.1 (DNS rebinding). So a request must be for a host that this broker is, and
one that changes something must not come from a page of another origin. What is no browser sends neither Origin nor
Sec-Fetch-Site.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from pycmbs.errors import CrossOrigin, UnknownHost

_HOST = re.compile(r"(?:([A-Za-z0-9._-]{1,253})|\[([0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?")
_SAFE = ("GET", "HEAD", "OPTIONS")
_OWN_SITE = (None, "same-origin", "none")
_MOST = 1024
"""Hosts and addresses whose answer is kept: clients choose them."""
_MOST_HOPS = 16
"""Proxies that are trusted, one behind the other."""
_WITH_PORT = re.compile(r"([0-9.]+|\[([0-9A-Fa-f:.]+)\])(?::[0-9]+)?")
_ALLOWED = (
    ("Access-Control-Allow-Methods", "DELETE, GET, HEAD, OPTIONS, POST, PUT"),
    (
        "Access-Control-Allow-Headers",
        (
            "Accept, Authorization, Category, Content-Type, If-Match, If-None-Match, Link, "
            "X-Auth-Token, X-OCCI-Attribute, X-OCCI-Location"
        ),
    ),
    ("Access-Control-Max-Age", "600"),
)
_SHOWN = (
    "Access-Control-Expose-Headers",
    "Category, ETag, Link, Location, Retry-After, X-OCCI-Attribute, X-OCCI-Error, X-OCCI-Location, X-Request-Id",
)

Environ = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the broker is for a client: the beginning, scheme and authority, of the URLs it is shown, and those that it may
    call it by besides."""

    base: str
    bases: tuple[str, ...]


class Guard:
    """Looks at each request's Host, Origin and Sec-Fetch-Site. Costs a microsecond."""

    def __init__(
        self, own: str, *, names: str = "", origins: str = "", public_url: str = "", proxies: str = ""
    ) -> None:
        """``own``: scheme and authority of the address it listens on. The others are the settings of these names: words with
        spaces between."""
        self._own = own
        self._public = public_url
        self._names = {_name(url.partition("://")[2]) for url in (own, public_url) if url} | set(names.split())
        self._origins = frozenset(origins.split())
        self._proxies = tuple(ipaddress.ip_network(one) for one in proxies.split())
        self._is_own = functools.lru_cache(_MOST)(self._check_host)
        self._is_proxy = functools.lru_cache(_MOST)(self._check_address)
        self._place = functools.lru_cache(_MOST)(self._make_place)

    def admit(self, environ: MutableMapping[str, Any]) -> Place:
        """Let a request in; from then on ``REMOTE_ADDR`` is the client's address, where proxies that are trusted say it. Raises
        UnknownHost, CrossOrigin."""
        host = environ.get("HTTP_HOST")
        if host is not None and not self._is_own(host) and not _is_address(host, environ.get("SERVER_NAME", "")):
            raise _unknown(host)
        scheme = environ.get("wsgi.url_scheme", "http")
        if self._proxies:
            scheme, host = self._forwarded(environ, scheme, host)
        place = self._place(scheme, host)
        if environ["REQUEST_METHOD"] not in _SAFE:
            self._check_origin(environ, place)
        return place

    def _make_place(self, scheme: str, host: str | None) -> Place:
        called = self._own if host is None else f"{scheme}://{host}"
        base = self._public or called
        return Place(base, tuple(dict.fromkeys((base, called))))

    def _check_host(self, host: str) -> bool:
        name = _name(host)
        if name in self._names or name == "localhost":
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def _check_address(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in network for network in self._proxies)

    def _forwarded(self, environ: MutableMapping[str, Any], scheme: str, host: str | None) -> tuple[str, str | None]:
        """What the proxy farthest from this broker that is trusted says that it was asked for, and by whom."""
        if not self._is_proxy(environ.get("REMOTE_ADDR", "")):
            return scheme, host
        hops = self._find_client(environ)
        if said := _said(environ, "HTTP_X_FORWARDED_HOST", hops):
            host = said
            if not self._is_own(host):
                raise _unknown(host)
        proto = _said(environ, "HTTP_X_FORWARDED_PROTO", hops).lower()
        return proto if proto in ("http", "https") else scheme, host

    def _find_client(self, environ: MutableMapping[str, Any]) -> int:
        """Have ``REMOTE_ADDR`` be the last address that is not a proxy's, of those that the request came by; how many proxies
        it came by. What stands before that address, anybody may have written."""
        hops = 1
        for one in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]):
            address = _WITH_PORT.fullmatch(one.strip())
            text = (address[2] or address[1]) if address else one.strip()
            if not _is_address_at_all(text):
                break
            environ["REMOTE_ADDR"] = text
            if not self._is_proxy(text):
                break
            hops += 1
        return hops

    def _check_origin(self, environ: Environ, place: Place) -> None:
        origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
        if (origin is None and site is None) or origin in self._origins:
            return
        if site in _OWN_SITE and (origin is None or origin.lower() in {one.lower() for one in place.bases}):
            return
        who = f"a page of {origin[:200]}" if origin else "a page of another site"
        hint = f"Name it in --origins to allow it: {origin[:200]}." if origin not in (None, "", "null") else ""
        raise CrossOrigin(f"{who} may not do this", hint=hint, **({"origin": origin[:200]} if origin else {}))

    def is_preflight(self, environ: Environ) -> bool:
        """Whether a browser asks for a page of one of ``origins`` what that may ask: it sends no credentials then, and the
        answer is the same wherever it asks."""
        asked = environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        return asked and environ.get("HTTP_ORIGIN") in self._origins

    def shared(self, environ: Environ) -> list[tuple[str, str]]:
        """The headers by which a browser lets a page of another origin that is allowed read the answer (CORS), and ask for
        what needs a preflight; without credentials."""
        origin = environ.get("HTTP_ORIGIN")
        if origin not in self._origins:
            return []
        found = [("Access-Control-Allow-Origin", origin), _SHOWN]
        return [*found, *_ALLOWED] if self.is_preflight(environ) else found

    @property
    def varies(self) -> str:
        """What an answer varies by, for the header Vary."""
        return ", Origin" if self._origins else ""


def _name(host: str) -> str:
    """The name or address in an authority, as it is compared; empty for what is none."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower().removesuffix(".") if found else ""


def _said(environ: Environ, name: str, hops: int) -> str:
    """What the last but so many of the proxies says. One that overwrites what others said leaves its own word alone."""
    values = environ.get(name, "").split(",")
    return str(values[-min(hops, len(values))]).strip()


def _is_address(host: str, address: str) -> bool:
    """Whether an authority has this very address, which no name can be made to mean."""
    try:
        return ipaddress.ip_address(_name(host)) == ipaddress.ip_address(address)
    except ValueError:
        return False


def _is_address_at_all(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _unknown(host: str) -> UnknownHost:
    name = _name(host)
    hint = f"Start it with --names {name} if it is." if name else "Use the address it listens on."
    return UnknownHost(f"this broker is not called {host[:200]!r}", hint=hint, host=host[:200])
