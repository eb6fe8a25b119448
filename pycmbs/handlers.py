"""Handlers: Python functions that messages can call at their receiver.

A handler is a function of one :class:`Call` that returns a JSON value, or raises::

    from pycmbs.handlers import Call, handler

    @handler("reboot", deadline=30)
    def reboot(call: Call):
        ...
        return {"rebooted": call.target}

It is found by the entry-point group ``pycmbs.handlers`` (name = "module:function"), or in a module that the setting
``handlers`` names. It runs in a process of its own, so that nothing it does hurts the broker. This module may import nothing
of the broker but :mod:`pycmbs.errors`: handlers import it.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, TypeVar

from pycmbs.errors import ConfigurationError

GROUP = "pycmbs.handlers"
DEADLINE = 10.0
"""Seconds that a handler has, unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler is asked: the parts of the operation in a message's content, and where that came from.

    ``sender`` is the id of the member that sent the message, empty when a client of this broker had it executed.
    ``traceparent`` is what the client that made the message said of its trace (W3C Trace Context), empty if it said nothing.
    """

    operation: str
    target: str = ""
    action: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    sender: str = ""
    message: str = ""
    layer: str = ""
    traceparent: str = ""


Function = Callable[[Call], Any]
F = TypeVar("F", bound=Function)


@dataclass(frozen=True, slots=True)
class Handler:
    """Where a handler is, and how it may be called.

    ``deadline``: seconds, after which it is killed. ``idempotent``: whether it may run a second time for the same message,
    when it is not known how far it came before the broker was killed. ``about``: the first line of what it says of itself.
    """

    name: str
    module: str
    function: str
    deadline: float = DEADLINE
    idempotent: bool = False
    about: str = ""

    def shown(self) -> dict[str, Any]:
        """What is told of it to those who may call it."""
        return {"about": self.about, "deadline": self.deadline, "idempotent": self.idempotent}


def _about(function: Any) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


_NAME = re.compile(r"[\w.-]+")
"""What can stand in a rule of the setting ``allow``."""

_declared: dict[str, Handler] = {}


def handler(name: str, *, deadline: float = DEADLINE, idempotent: bool = False) -> Callable[[F], F]:
    """Make a function of a module's top level the handler of this name. ``deadline``, ``idempotent``: see :class:`Handler`."""

    def declare(function: F) -> F:
        _add(
            _declared, Handler(name, function.__module__, function.__qualname__, deadline, idempotent, _about(function))
        )
        return function

    return declare


def _add(known: dict[str, Handler], made: Handler) -> None:
    other = known.setdefault(made.name, made)
    if (other.module, other.function) != (made.module, made.function):
        raise ConfigurationError(
            f"{made.module}.{made.function} cannot be the handler {made.name!r}: "
            f"{other.module}.{other.function} is that already"
        )
    known[made.name] = made


def _has_handler(module: ModuleType) -> bool:
    """Whether a module that was imported earlier declared a handler, or has one of another."""
    declared = {(one.module, one.function) for one in _declared.values()}
    there = {(getattr(one, "__module__", ""), getattr(one, "__qualname__", "")) for one in vars(module).values()}
    below = f"{module.__name__}."
    return bool(declared & there) or any(f"{name}.".startswith(below) for name, _ in declared)


def load(modules: Iterable[str], reserved: Collection[str] = ()) -> dict[str, Handler]:
    """All handlers, by name. ``reserved``: names that no handler may have.

    Raises ConfigurationError for a module or an entry point that cannot be imported, for a module without a handler, and for a
    name that cannot be had.
    """
    for name in modules:
        before = len(_declared)
        try:
            imported = importlib.import_module(name)
        except Exception as exc:
            raise ConfigurationError(f"the handlers in {name} cannot be loaded: {exc}") from exc
        if len(_declared) == before and not _has_handler(imported):
            raise ConfigurationError(
                f"the handlers in {name} cannot be loaded: {getattr(imported, '__file__', None) or 'that module'} has none",
                hint="a handler is decorated with @handler; is another module of this name meant?",
            )
    found = dict(_declared)
    for entry in entry_points(group=GROUP):
        try:
            about = _about(entry.load())
        except Exception as exc:
            raise ConfigurationError(f"the handler {entry.name!r} ({entry.value}) cannot be loaded: {exc}") from exc
        declared = next((one for one in _declared.values() if f"{one.module}:{one.function}" == entry.value), None)
        module, _, function = entry.value.partition(":")
        settings = (declared.deadline, declared.idempotent) if declared is not None else (DEADLINE, False)
        _add(found, Handler(entry.name, module, function, *settings, about))
    for name, one in found.items():
        if name in reserved or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{one.module}.{one.function} cannot be the handler {name!r}: "
                f"a name is letters, digits, '.', '_' and '-', and none of {', '.join(reserved)}"
            )
    return found


def find(declared: Handler) -> Function:
    """The function itself. Raises what importing it raises."""
    found: Any = importlib.import_module(declared.module)
    for part in declared.function.split("."):
        found = getattr(found, part)
    function: Function = found
    return function
