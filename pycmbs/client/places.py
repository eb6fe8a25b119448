"""Finds the broker's URL and credentials: in arguments, the environment, a home, or saved contexts."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pycmbs.errors import ConfigurationError, Unavailable

DEFAULT = "http://127.0.0.1:8090"
HOME = "~/.pycmbs"
"""Where a broker's home is, unless one says."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a broker is. ``url`` has no slash at its end; ``ca``: a file of authorities that its certificate may be of."""

    url: str = DEFAULT
    token: str = ""
    user: str = ""
    password: str = ""
    ca: str = ""

    def __repr__(self) -> str:
        return f"Place({self.url!r})"  # secrets are not to be logged


def find(
    url: str | None = None,
    *,
    context: str | None = None,
    home: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Place:
    """The broker that is meant: by the first of ``url``, ``context``, ``home``, ``PYCMBS_URL``, ``PYCMBS_CONTEXT``, the
    context in use, ``PYCMBS_HOME`` or ``~/.pycmbs`` if a broker runs there; else the one on port 8090 of this machine.

    Credentials: ``PYCMBS_TOKEN``, or ``PYCMBS_USER`` (``name:password``), else what the context says, if it is one.
    Raises ConfigurationError for a context that is not there, and Unavailable if no broker runs in ``home``.
    """
    environ = os.environ if environ is None else environ
    said = _said(url, context, home, environ)
    name, _, password = environ.get("PYCMBS_USER", "").partition(":")
    token = environ.get("PYCMBS_TOKEN", "")
    if token or name:
        said = {**said, "token": token, "user": "" if token else name, "password": "" if token else password}
    known = {key: str(value) for key, value in said.items() if key in ("token", "user", "password", "ca")}
    return Place(checked(str(said.get("url", DEFAULT))), **known)


def _said(
    url: str | None, context: str | None, home: str | Path | None, environ: Mapping[str, str]
) -> Mapping[str, Any]:
    context = "" if url else context
    home = "" if url or context else home
    if not (url or context or home):
        url = environ.get("PYCMBS_URL")
        context = "" if url else environ.get("PYCMBS_CONTEXT") or contexts(environ).get("current")
    if url:
        return {"url": url}
    if context:
        return _named(str(context), environ)
    if home:
        return {"url": str(running(Path(home).expanduser())["url"])}
    try:
        return {"url": str(running(Path(environ.get("PYCMBS_HOME") or HOME).expanduser())["url"])}
    except Unavailable:
        return {"url": DEFAULT}


def checked(url: str) -> str:
    """The URL of a broker, without the slash at its end. Raises ConfigurationError for an invalid URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ConfigurationError(
            f"{url.rpartition('@')[2][:200]!r} is not the URL of a broker", hint="It looks like http://127.0.0.1:8090/."
        )
    return url.rstrip("/")


def contexts_file(environ: Mapping[str, str] | None = None) -> Path:
    """Where contexts are kept."""
    environ = os.environ if environ is None else environ
    base = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "pycmbs" / "contexts.toml"


def contexts(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the file of contexts says: ``current``, and a table ``contexts``. Raises ConfigurationError if it is none."""
    path = contexts_file(environ)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"the contexts in {path} cannot be read: {exc}") from exc


def _named(name: str, environ: Mapping[str, str]) -> Mapping[str, Any]:
    table = contexts(environ).get("contexts")
    found = table.get(name) if isinstance(table, dict) else None
    if not isinstance(found, dict):
        names = ", ".join(sorted(table)) if isinstance(table, dict) and table else ""
        raise ConfigurationError(
            f"there is no context {name!r}", hint=f"Known: {names}." if names else "pycmbs context add makes one."
        )
    return found


def running(home: Path) -> dict[str, Any]:
    """What a home says of the broker that runs in it. Raises Unavailable if none does."""
    path = home / "run" / "broker.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["url"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Unavailable(f"no broker runs in {home}", hint=f"pycmbs serve --home {home} starts one.") from exc
    return found
