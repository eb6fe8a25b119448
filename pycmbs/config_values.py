"""What a setting is, and the types of value it can have: text in, a value or ValueError out."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycmbs.errors import ConfigurationError, InvalidAddress
from pycmbs.services import allow
from pycmbs.transport.address import parse_listen_at


@dataclass(frozen=True)
class Value:
    """A type of value: ``parse`` turns text into one or raises ValueError; ``allowed`` says which texts pass.

    ``metavar`` stands for it in the help text.
    """

    parse: Callable[[str], Any]
    metavar: str
    allowed: str


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
    try:
        places = parse_listen_at(text)
    except InvalidAddress as error:
        raise ValueError(text) from error
    return "; ".join(f"{advertised}={bound}" for advertised, bound in places.items())


def _parse_host(text: str) -> str:
    if text.lower() == "localhost":
        return "127.0.0.1"
    address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    if not address.is_loopback:
        raise ValueError(text)
    return str(address)


def _parse_rules(text: str) -> str:
    try:
        allow.parse(text)
    except ConfigurationError as error:
        raise ValueError(text) from error
    return text.replace("\n", "; ").strip("; ")


def _parse_modules(text: str) -> str:
    names = text.replace(",", " ").split()
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError(text)
    return " ".join(names)


RULES = Value(
    _parse_rules,
    "RULES",
    "rules SENDER OPERATION KIND with ; or a newline between them, such as * read member; * reboot",
)
MODULES = Value(_parse_modules, "MODULES", "names of Python modules with a comma or a space between them")
HOST = Value(
    _parse_host,
    "ADDRESS",
    "a loopback address, since this version has no authentication yet: "
    "run `pycmbs serve --host 127.0.0.1` and put an authenticating proxy in front",
)
LISTEN_AT = Value(
    _parse_listen_at,
    "PAIRS",
    "ADVERTISED=BOUND pairs of socket URLs with ; between them, such as "
    "tcp://broker.example.org:5010=tcp://0.0.0.0:5010",
)
DIRECTORY = Value(_parse_directory, "DIR", "the path of a directory; `~` is your own home directory")
LOG_FILE = Value(_parse_log_file, "FILE", "the path of a file; empty or `-` is standard error")
STORE = Value(
    _parse_text,
    "URL",
    "the URL of a store, such as sqlite:/var/lib/pycmbs/pycmbs.db, couchdb://user:password@127.0.0.1:5984/pycmbs or, "
    "with TLS, couchdb+https://…",
)
