"""The store seam: where the broker keeps what it must not lose.

:mod:`base` is the contract, :mod:`memory` the reference in a page, :mod:`sqlite` the embedded store, :mod:`couchdb` the one
on a database server, :mod:`group` the group commit in front of any. Third parties add theirs by the entry-point group
``pycmbs.stores`` (name = scheme of the URL, value = class). May import :mod:`pycmbs.errors`, :mod:`pycmbs.runtime`,
:mod:`pycmbs.seams` and :mod:`pycmbs.codec`, and nothing else of the broker.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from pycmbs.errors import ConfigurationError
from pycmbs.runtime import Runtime
from pycmbs.seams import Seam
from pycmbs.store.base import Store

STORES = {
    "couchdb": "pycmbs.store.couchdb.store:CouchStore",
    "couchdb+https": "pycmbs.store.couchdb.store:CouchHttpsStore",
    "memory": "pycmbs.store.memory:MemoryStore",
    "sqlite": "pycmbs.store.sqlite.store:SqliteStore",
}
"""The broker's own, by the scheme of the store's URL."""

GROUP = "pycmbs.stores"
SEAM: Seam[Store] = Seam("store", Store, STORES, GROUP, schemes=True)  # type: ignore[type-abstract] # what it loads is not

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,15}", re.IGNORECASE)


def open_store(url: str, *, home: Path, runtime: Runtime, create: bool = True, least_free: int = 0) -> Store:
    """Open the store that ``url`` names; a relative path in it is relative to ``home``. Without ``create`` nothing is made.
    ``least_free``: bytes of a local disk that are kept aside, for what frees some when it is full.

    Raises ConfigurationError with a sentence when the scheme is unknown or the store cannot be opened.
    """
    implementation, rest = find_store(url)
    return cast(Store, implementation.open(rest, home=home, runtime=runtime, create=create, least_free=least_free))


def find_store(url: str) -> tuple[type[Any], str]:
    """The class of the store that ``url`` names, and the rest of it. Raises as :func:`open_store`."""
    scheme, rest = parse(url)
    return SEAM.load(scheme), rest


def parse(url: str) -> tuple[str, str]:
    """The scheme of a store's URL, and the rest. Raises ConfigurationError, which does not say what may be a password."""
    scheme, colon, rest = url.partition(":")
    there = SEAM.names()
    if not colon or scheme.lower() not in there:
        known = ", ".join(f"{name}:" for name in sorted(there))
        kind = f"of the kind {scheme!r}" if _SCHEME.fullmatch(scheme) else "with that URL"
        raise ConfigurationError(f"there is no store {kind}; a store's URL starts with one of {known}")
    return scheme.lower(), rest
