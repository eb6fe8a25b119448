"""Types of settings and their parsers; parsers of other modules are handed in."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_MEMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_KEYSTONE = re.compile(r"https?://[!#-&(-~]{1,500}")
_ORIGIN = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")


@dataclass(frozen=True)
class Value:
    """A type of value: ``parse`` turns text into one or raises ValueError; ``allowed`` says which texts pass.

    ``metavar`` stands for it in the help text.
    """

    parse: Callable[[str], Any]
    metavar: str
    allowed: str
    secret: bool = False
    """Whether it may hold a password, and is never shown."""
    several: bool = False
    """Whether it is a list, with spaces between, and its flag may be repeated."""
    grammar: str = ""
    """What checks a parsed one besides: a name in :data:`pycmbs.config_loading.GRAMMARS`."""


@dataclass(frozen=True)
class Setting:
    """One setting. ``default`` is text as it would stand in the file; ``unit`` is empty where there is none."""

    name: str
    file: str
    section: str
    default: str
    value: Value
    meaning: str
    unit: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"PYCMBS_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """The command-line flag that sets it."""
        return "--" + self.name.replace("_", "-")


def whole(least: int, most: int) -> Value:
    """A whole number, both ends included."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text[:20]) <= most):
            raise ValueError(text)
        return int(text)

    return Value(parse, "N", f"a whole number from {least} to {most}")


def seconds(least: float, most: float) -> Value:
    """A span of time in seconds, both ends included."""

    def parse(text: str) -> float:
        number = float(text)
        if not (math.isfinite(number) and least <= number <= most):
            raise ValueError(text)
        return number

    return Value(parse, "SECONDS", f"a number from {least:g} to {most:.0f}")


def one_of(*words: str) -> Value:
    """One of some lower-case words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(text)
        return text.lower()

    return Value(parse, "|".join(words), f"{', '.join(words[:-1])} or {words[-1]}")


def _parse_text(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError(text)
    return text


def _parse_directory(text: str) -> Path:
    try:
        return Path(_parse_text(text)).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # `~` without a home directory to stand for; no working directory
        raise ValueError(text) from error


def _parse_log_file(text: str) -> str:
    return "" if text in {"", "-"} else str(_parse_directory(text))


def _parse_listen_at(text: str) -> str:
    pairs = (pair.split("=", 1) for pair in text.split(";") if pair.strip())
    return "; ".join("=".join(part.strip() for part in pair) for pair in pairs)


def _parse_host(text: str) -> str:
    if text.lower() == "localhost":
        return "127.0.0.1"
    return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _parse_names(text: str) -> str:
    names = [name.lower().removeprefix("[").removesuffix("]").removesuffix(".") for name in _words(text)]
    if not all(_NAME.fullmatch(name) or _is_address(name) for name in names):
        raise ValueError(text)
    return " ".join(names)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _parse_origin(text: str) -> str:
    """As a browser writes it: without the scheme's own port."""
    found = _ORIGIN.fullmatch(text.lower().removesuffix("/"))
    if not found or int(found[3] or 1) > 65535:
        raise ValueError(text)
    port = "" if found[3] in (None, {"http": "80", "https": "443"}[found[1]]) else f":{found[3]}"
    return f"{found[1]}://{found[2]}{port}"


def _parse_origins(text: str) -> str:
    return " ".join(map(_parse_origin, _words(text)))


def _parse_public_url(text: str) -> str:
    return _parse_origin(text) if text else ""


def _parse_keystone(text: str) -> str:
    if text and not _KEYSTONE.fullmatch(text):
        raise ValueError(text)
    return text


def _parse_line(text: str) -> str:
    if text and not text.isprintable():
        raise ValueError(text)
    return text


def _parse_keys(text: str) -> str:
    """Without TLS, an attacker on the way could insert other keys."""
    if "://" not in text:
        return _parse_log_file(text)
    url = urlsplit(text)
    if url.scheme == "https" or (url.scheme == "http" and url.hostname in ("localhost", "127.0.0.1", "::1")):
        return _parse_line(text)
    raise ValueError(text)


def _parse_jwt_roles(text: str) -> str:
    found = []
    for pair in filter(None, (one.strip() for one in text.replace("\n", ";").split(";"))):
        value, _, role = (part.strip() for part in pair.rpartition("="))
        if not _parse_line(value) or not _ROLE.fullmatch(role):
            raise ValueError(text)
        found.append(f"{value}={role}")
    return "; ".join(found)


def is_loopback(host: str) -> bool:
    """Whether an address that is listened on can be reached from this machine only."""
    return ipaddress.ip_address(host).is_loopback


def _parse_networks(text: str) -> str:
    return " ".join(str(ipaddress.ip_network(one, strict=False)) for one in _words(text))


def _parse_rules(text: str) -> str:
    """On one line, without comments."""
    lines = (line.partition(" #")[0].strip("; ") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return "; ".join(filter(None, lines))


def _parse_modules(text: str) -> str:
    names = text.replace(",", " ").split()
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError(text)
    return " ".join(names)


def _parse_member(text: str) -> str:
    if text and not _MEMBER.fullmatch(text):
        raise ValueError(text)
    return text


def _parse_sockets(text: str) -> str:
    """Each as a URL."""
    return " ".join(map(_socket_url, _words(text)))


def _socket_url(text: str) -> str:
    if "://" in text:
        return text
    return f"tcp://{text}" if ":" in text else f"tcp://127.0.0.1:{text}"


def _parse_socket(text: str) -> str:
    found = _parse_sockets(text)
    if " " in found:
        raise ValueError(text)
    return found


def _parse_topics(text: str) -> str:
    words = text.replace(",", " ").split()
    if not all(one.isprintable() and len(one) <= 255 for one in words):
        raise ValueError(text)
    return " ".join(words)


MEMBER = Value(
    _parse_member, "NAME", "up to 64 letters, digits, dots, hyphens and underscores, the first a letter or a digit"
)
SOCKET = Value(
    _parse_socket,
    "PORT|HOST:PORT",
    "a port of this machine's loopback, HOST:PORT, or a socket URL",
    grammar="sockets",
)
SOCKETS = Value(
    _parse_sockets,
    "HOST:PORT",
    "HOST:PORT or socket URLs, with a comma or a space between them",
    several=True,
    grammar="sockets",
)
TOPICS = Value(_parse_topics, "TOPICS", "topics such as network.>, with a comma or a space between them", several=True)
RULES = Value(
    _parse_rules,
    "RULES",
    "rules SENDER OPERATION KIND with ; or a newline between them, such as * read member; * reboot",
    grammar="rules",
)
MODULES = Value(_parse_modules, "MODULES", "names of Python modules with a comma or a space between them")
HOST = Value(_parse_host, "ADDRESS", "an IP address of this machine; 0.0.0.0 or :: are all of them")
NAMES = Value(_parse_names, "NAMES", "names or addresses of hosts, without ports, with a comma or a space between them")
ORIGINS = Value(
    _parse_origins, "ORIGINS", "origins such as https://console.example.org, with a comma or a space between them"
)
PUBLIC_URL = Value(_parse_public_url, "URL", "http:// or https:// with a host and, if need be, a port, and no path")
KEYSTONE = Value(_parse_keystone, "URL", "an http:// or https:// URL without quotes and spaces; empty: none")
TEXT = Value(_parse_line, "TEXT", "one line of text")
KEYS = Value(_parse_keys, "URL|FILE", "an https:// URL (http:// on loopback only) or the path of a file; empty: none")
JWT_ROLES = Value(
    _parse_jwt_roles,
    "PAIRS",
    "VALUE=ROLE pairs with ; or a newline between them, such as cmbs-admins=admin; cmbs-users=publisher",
)
NETWORKS = Value(
    _parse_networks, "NETWORKS", "addresses or networks such as 10.0.0.0/8, with a comma or a space between them"
)
LISTEN_AT = Value(
    _parse_listen_at,
    "PAIRS",
    "ADVERTISED=BOUND pairs of socket URLs with ; between them, such as "
    "tcp://broker.example.org:5010=tcp://0.0.0.0:5010",
    grammar="listen_at",
)
DIRECTORY = Value(_parse_directory, "DIR", "the path of a directory; `~` is your own home directory")
LOG_FILE = Value(_parse_log_file, "FILE", "the path of a file; empty or `-` is standard error")
STORE = Value(
    _parse_text,
    "URL",
    "the URL of a store, such as sqlite:/var/lib/pycmbs/pycmbs.db, couchdb://user:password@127.0.0.1:5984/pycmbs or, "
    "with TLS, couchdb+https://…",
    secret=True,
)
FILE = Value(_parse_log_file, "FILE", "the path of a file; empty: none")
