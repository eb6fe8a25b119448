"""Registry behind the four plug-in interfaces; imports implementations when they are used.

A seam is a package with a module ``base`` (the interface, whose docstrings are the contract), a table of the broker's own
implementations, and perhaps a group of entry points, by which third parties add theirs. May import :mod:`pycmbs.errors` only.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from pycmbs.errors import ConfigurationError

T = TypeVar("T")


class Seam(Generic[T]):
    """Stores, transports, backends or gateways."""

    def __init__(
        self, what: str, base: type[T], own: Mapping[str, str], group: str = "", *, schemes: bool = False
    ) -> None:
        """``what``: what one is called. ``own``: ``module:Class`` by name. ``group``: of entry points. ``schemes``: names are
        schemes of URLs, whose case does not matter."""
        self._what = what
        self._base = base
        self._own = own
        self._group = group
        self._schemes = schemes

    def names(self) -> dict[str, str]:
        """``module:Class`` of every implementation there is, by name: third parties' and the broker's own, which no one
        replaces."""
        others = entry_points(group=self._group) if self._group else ()
        return {entry.name.lower() if self._schemes else entry.name: entry.value for entry in others} | dict(self._own)

    def load(self, name: str) -> type[T]:
        """The class of this name, imported now. Raises ConfigurationError where there is none, or it cannot be loaded."""
        names = self.names()
        if name not in names:
            known = ", ".join(sorted(names))
            raise ConfigurationError(f"there is no {self._what} {name!r}; known: {known}", **{self._what: name})
        module, _, attribute = names[name].partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
            if not (isinstance(found, type) and issubclass(found, self._base)):
                raise TypeError(f"{attribute} is not a {self._base.__name__}")
        except Exception as exc:
            raise self.unusable(name, exc) from exc
        return found

    def unusable(self, name: str, why: Exception) -> ConfigurationError:
        """The error that says that the implementation of this name cannot be used."""
        return ConfigurationError(f"the {self._what} {name!r} ({self.names()[name]}) cannot be loaded: {why}")
