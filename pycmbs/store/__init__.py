"""Where the broker keeps what it must not lose: the store seam.

:mod:`base` is the contract, :mod:`memory` the reference in a page, :mod:`sqlite` the embedded store, :mod:`couchdb` the one
on a database server, :mod:`group` the group commit in front of any. May import :mod:`pycmbs.errors` and
:mod:`pycmbs.runtime`, and nothing else of the broker.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from pycmbs.errors import ConfigurationError
from pycmbs.runtime import Runtime
from pycmbs.store.base import Store

STORES = {
    "couchdb": "pycmbs.store.couchdb:CouchStore",
    "couchdb+https": "pycmbs.store.couchdb:CouchHttpsStore",
    "memory": "pycmbs.store.memory:MemoryStore",
    "sqlite": "pycmbs.store.sqlite:SqliteStore",
}
"""The implementations, by the scheme of the store's URL."""


def open_store(url: str, *, home: Path, runtime: Runtime) -> Store:
    """Open the store that ``url`` names; a relative path in it is relative to ``home``.

    Raises ConfigurationError with a sentence when the scheme is unknown or the store cannot be opened.
    """
    scheme, colon, rest = url.partition(":")
    target = STORES.get(scheme)
    if not colon or target is None:
        known = ", ".join(f"{name}:" for name in sorted(STORES))
        raise ConfigurationError(f"there is no store of the kind {scheme!r}; a store's URL starts with one of {known}")
    module, _, name = target.partition(":")
    return cast(Store, getattr(importlib.import_module(module), name).open(rest, home=home, runtime=runtime))
