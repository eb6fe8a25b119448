"""Handlers: how they are declared and found. What they do to a broker is shown in tests/system/test_execution.py."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from pycmbs import handlers
from pycmbs.config_loading import load_settings
from pycmbs.errors import ConfigurationError
from pycmbs.handlers import Call, Handler, find, handler, load
from pycmbs.services.access import rules as allow

MODULE = "tests.example_handlers"


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """The entry points of installed packages, as far as these tests are concerned."""
    found: list[EntryPoint] = []
    monkeypatch.setattr(handlers, "entry_points", lambda group: [one for one in found if one.group == group])
    return found


def test_by_decorator(entries: list[EntryPoint]) -> None:
    """A module that the setting names brings all its decorated functions, with what they declare of themselves."""
    found = load([MODULE])
    assert found["echo"] == Handler(
        "echo", MODULE, "echo", handlers.DEADLINE, False, about="Answers what it was asked."
    )
    assert (found["linger-again"].deadline, found["linger-again"].idempotent) == (30, True)
    assert find(found["echo"])(Call("echo", "/x"))["target"] == "/x"


def test_by_entry_point(entries: list[EntryPoint]) -> None:
    """An installed package offers a function under a name of its choice; what its decorator says holds there, too."""
    entries += [
        EntryPoint("plain", "posixpath:basename", handlers.GROUP),
        EntryPoint("patient", f"{MODULE}:linger", handlers.GROUP),
        EntryPoint("other", "nowhere:nothing", "another.group"),
    ]
    found = load([])
    assert found["plain"] == Handler(
        "plain", "posixpath", "basename", about="Returns the final component of a pathname"
    )
    assert (found["patient"].function, found["patient"].deadline) == ("linger", 30)
    assert "other" not in found


@pytest.mark.parametrize("module", ["tests.no_such_module", "tests.documents.nothing"])
def test_a_module_that_is_not_there(entries: list[EntryPoint], module: str) -> None:
    """What cannot be imported is a sentence at the start, and names the module."""
    with pytest.raises(ConfigurationError, match=module):
        load([module])


@pytest.mark.parametrize("module", ["site", "json.decoder", "tests.documents"])
def test_a_module_without_handlers(entries: list[EntryPoint], module: str) -> None:
    """Most likely another module of the same name was meant: the sentence says which file it was."""
    with pytest.raises(ConfigurationError, match=f"the handlers in {module} cannot be loaded") as caught:
        load([module])
    assert ".py" in caught.value.message


def test_a_module_that_only_gathers_handlers(entries: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    """One may import the handlers of others, be named twice, and be loaded again."""
    gathering = ModuleType("tests.gathering")
    gathering.echo = importlib.import_module(MODULE).echo
    monkeypatch.setitem(sys.modules, "tests.gathering", gathering)
    for _ in range(2):
        assert "echo" in load(["tests.gathering", MODULE, MODULE])


def test_an_entry_point_that_leads_nowhere(entries: list[EntryPoint]) -> None:
    """The same for an installed package's handler."""
    entries.append(EntryPoint("lost", f"{MODULE}:nothing", handlers.GROUP))
    with pytest.raises(ConfigurationError, match="lost"):
        load([])


@pytest.mark.parametrize("name", ["create", "act:start_l1", "two words", ""])
def test_a_name_that_no_rule_could_speak_of(entries: list[EntryPoint], name: str) -> None:
    """A handler is not called like an operation, and its name can stand in a rule; else the broker does not start."""
    entries.append(EntryPoint(name, "posixpath:basename", handlers.GROUP))
    with pytest.raises(ConfigurationError, match="cannot be the handler"):
        load([], reserved=allow.OPERATIONS)


def test_two_handlers_of_one_name(entries: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of two was meant is not guessed: by decorator or by entry point, the second is refused, and both are named."""
    monkeypatch.setattr(handlers, "_declared", {})
    handler("twice")(find)
    handler("twice", deadline=1)(find)  # the same, as when its module is imported again
    with pytest.raises(ConfigurationError, match=r"handlers\.load cannot .*handlers\.find"):
        handler("twice")(load)
    entries.append(EntryPoint("twice", "posixpath:basename", handlers.GROUP))
    with pytest.raises(ConfigurationError, match="twice"):
        load([])


@pytest.mark.parametrize(("text", "modules"), [("a.b, c", "a.b c"), ("", ""), ("a b", "a b")])
def test_the_setting(text: str, modules: str) -> None:
    """The setting takes names of modules with commas or spaces between them, and nothing else."""
    assert load_settings(None, {}, {"handlers": text}).handlers == modules
    with pytest.raises(ConfigurationError, match="handlers"):
        load_settings(None, {}, {"handlers": "no/module"})


def test_a_call_has_the_parts_of_the_operation() -> None:
    """A handler sees what it was asked, by whom, and in which message."""
    call = Call("reboot", "/rack/7", attributes={"slot": 3}, sender="a", message="m1", layer="l1")
    assert (call.action, call.attributes["slot"], call.sender) == ("", 3, "a")
