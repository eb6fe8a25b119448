"""Which socket URLs are valid addresses: one strict rule per scheme, without touching a socket.

============  ==========================  ===========================================================================
scheme        form                        rule
============  ==========================  ===========================================================================
``tcp``       ``tcp://host:port``         host is a name, an IPv4 or an [IPv6] address that others can reach; port
                                          1 to 65535
``ipc``       ``ipc:///absolute/path``    at most 107 bytes, the kernel's bound for a local socket's path
``inproc``    ``inproc://name``           letters, digits and ``. _ ~ : / + -``, at most 128; ``zeromq.`` at its beginning is
                                          the library's own
``memory``    ``memory:name``             the same; ``memory://name`` is the same address
============  ==========================  ===========================================================================

A socket URL stands in a member's description and is used by *others* to reach it. So a wildcard (``*``, ``0.0.0.0``,
``[::]``) is invalid, and so is a relative path: each means something else wherever it is read.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from pycmbs.errors import InvalidAddress

MAX_URL = 512
"""Longest URL looked at, in characters. The longest valid one is far shorter."""

MAX_IPC_PATH = 107
"""Longest path of a local socket, in bytes: ``sun_path`` holds 108, with the closing NUL."""

NETWORKED = frozenset({"tcp", "memory"})
"""The schemes of addresses that lead from one broker to another; the others lead nowhere but within a machine."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# Underscores are not in RFC 1123, but container platforms give such names to machines.
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/+-]{0,127}")


@dataclass(frozen=True, slots=True)
class Address:
    """A socket URL taken apart.

    ``name`` is what identifies the place within the scheme: ``host:port``, the path, or the name. ``host`` and ``port``
    are set for ``tcp`` only (``""`` and 0 otherwise); an IPv6 host is without its brackets. ``literal`` tells that the
    host is an IP address, so that no name server is asked.
    """

    url: str
    scheme: str
    name: str
    host: str = ""
    port: int = 0
    literal: bool = True


def check_address(url: str) -> None:
    """Raises :class:`~pycmbs.errors.InvalidAddress`, with a sentence, unless ``url`` is an address of a known scheme."""
    parse_address(url)


def check_networked(url: str) -> None:
    """Raises :class:`~pycmbs.errors.InvalidAddress` for an address that leads nowhere but within this machine: another one's
    member cannot be there, and would make this one connect to sockets of its own machine."""
    if parse_address(url).scheme not in NETWORKED:
        raise _invalid(url, "an address of another broker's member must lead to another machine")


def scheme_of(url: str, known: Iterable[str]) -> str:
    """The scheme of ``url``, without the colon. Raises :class:`~pycmbs.errors.InvalidAddress`, naming those that are
    ``known``, when it is another one or there is none."""
    found = _SCHEME.match(url[:MAX_URL])
    scheme = found.group(1) if found else ""
    names = sorted(known)
    if scheme not in names:
        start = f"no transport serves the scheme {scheme!r} of" if found else "there is no scheme in"
        raise _invalid(url, f"{start} the socket URL; known: {', '.join(names)}")
    return scheme


def parse_address(url: str) -> Address:
    """``url`` taken apart. Raises :class:`~pycmbs.errors.InvalidAddress` when it breaks the rules of its scheme."""
    if len(url) > MAX_URL:
        raise _invalid(url, f"a socket URL is at most {MAX_URL} characters long")
    if not url.isprintable() or any(character.isspace() for character in url):
        raise _invalid(url, "a socket URL holds no whitespace and no control characters")
    scheme = scheme_of(url, _RULES)
    for mark, what in (("?", "a query"), ("#", "a fragment")):
        if mark in url:
            raise _invalid(url, f"a socket URL has no place for {what}")
    rest = url[len(scheme) + 1 :]
    if rest.startswith("//"):
        rest = rest[2:]
    elif scheme != "memory":
        raise _invalid(url, f"{scheme}: is followed by two slashes")
    return _RULES[scheme](url, rest)


def parse_bound(url: str) -> Address:
    """``url`` taken apart as a place to bind, where ``0.0.0.0`` and ``[::]`` are addresses too: every interface of this
    machine. Raises :class:`~pycmbs.errors.InvalidAddress`."""
    for every, one in (("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]")):  # noqa: S104 - where to bind is what is asked
        if url.startswith(f"tcp://{every}:"):
            like = parse_address(url.replace(every, one, 1))
            return replace(like, url=url, name=like.name.replace(one, every, 1), host=every.strip("[]"))
    return parse_address(url)


def parse_listen_at(text: str) -> dict[str, str]:
    """Where to bind instead of at the address that a member's description names: ``ADVERTISED=BOUND`` pairs with ``;``
    between them, by advertised address. Raises :class:`~pycmbs.errors.InvalidAddress`."""
    places: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(";"))):
        advertised, equals, bound = (part.strip() for part in pair.partition("="))
        if not equals or advertised in places:
            raise _invalid(pair, "twice the same address" if equals else "there is no = between two addresses")
        if parse_address(advertised).scheme == "memory" or parse_bound(bound).scheme == "memory":
            raise _invalid(pair, "an address in memory is where it is")
        places[advertised] = bound
    return places


def _tcp(url: str, rest: str) -> Address:
    if "@" in rest:
        raise _invalid(url, "a socket URL holds no credentials")
    host, colon, port = rest.rpartition(":")
    if not colon or not host:
        raise _invalid(url, "a tcp address is tcp://host:port")
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise _invalid(url, "the port of a tcp address is a number from 1 to 65535, and ends it")
    if host == "*":
        raise _invalid(url, "* is not an address that others can reach; name the interface's own address")
    ip = _ip_address(url, host)
    if ip is None:
        _check_host_name(url, host)
    elif ip.is_unspecified or ip.is_multicast:
        raise _invalid(url, f"{host} is not an address that others can reach; name the interface's own address")
    return Address(url, "tcp", rest, host if ip is None else str(ip), int(port), literal=ip is not None)


def _ip_address(url: str, host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The host as an IP address, or None when it must be a name."""
    try:
        if host.startswith("[") and host.endswith("]"):
            # A zone (fe80::1%eth0) names an interface of one machine: no address for others.
            return ipaddress.IPv6Address("" if "%" in host else host[1:-1])
        if host.rpartition(".")[2].isdigit():  # names do not end in a number (RFC 1123)
            return ipaddress.IPv4Address(host)
    except ValueError:
        raise _invalid(url, f"{host} is not an IP address") from None
    return None


def _check_host_name(url: str, host: str) -> None:
    if ":" in host:
        raise _invalid(url, "an IPv6 address stands in brackets: tcp://[::1]:5555")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise _invalid(url, f"{host} is not a host name")


def _ipc(url: str, rest: str) -> Address:
    if not rest.startswith("/") or rest.endswith("/"):
        raise _invalid(url, "an ipc address is ipc:// and the absolute path of a socket, as in ipc:///run/cmbs/l1.sock")
    if len(rest.encode()) > MAX_IPC_PATH:
        raise _invalid(url, f"the path of a local socket is at most {MAX_IPC_PATH} bytes long")
    return Address(url, "ipc", rest)


def _named(scheme: str, reserved: str = "") -> Callable[[str, str], Address]:
    def rule(url: str, rest: str) -> Address:
        if reserved and rest.lower().startswith(reserved):
            raise _invalid(url, f"names that begin with {reserved} are the transport's own")
        if not _NAME.fullmatch(rest):
            raise _invalid(url, f"an address of {scheme}: is a name of at most 128 letters, digits and . _ ~ : / + -")
        return Address(url, scheme, rest)

    return rule


_RULES: dict[str, Callable[[str, str], Address]] = {
    "tcp": _tcp,
    "ipc": _ipc,
    "inproc": _named("inproc", reserved="zeromq."),
    "memory": _named("memory"),
}


def _invalid(url: str, sentence: str) -> InvalidAddress:
    # The URL comes from a client: shown as a literal, so that nothing in it can pose as a line of a log.
    shown = url if len(url) <= MAX_URL else url[:MAX_URL] + "…"
    return InvalidAddress(f"{sentence} ({shown!r})", hint="Write tcp://HOST:PORT, or ipc:///PATH.", url=shown)
