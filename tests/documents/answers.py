"""Whether a program printed what a document says it prints."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.documents.markdown import ROOT

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_WILD = re.compile(rf"…|{_TIME}|{_UUID}")
_CHOSEN = {found for path in (ROOT / "json_examples").rglob("*.json") for found in re.findall(_UUID, path.read_text())}
"""The ids that the examples choose; all others were generated."""


def check_text(documented: str, printed: str) -> None:
    """Every line of the document is among those printed, in its order."""
    rest = iter(printed.splitlines())
    for line in filter(None, map(str.strip, documented.splitlines())):
        if line != "…":
            wanted = _pattern(line)
            assert any(wanted.fullmatch(one.strip()) for one in rest), f"no line {line!r} (in its place) in:\n{printed}"


def check_json(documented: str, printed: str) -> None:
    """What the document shows of the value is in the value printed."""
    without = re.sub(r"^\s*…\s*$", "", documented, flags=re.MULTILINE)
    shown = json.loads(re.sub(r",(?=\s*[}\]])", "", without))
    _check(shown, json.loads(printed), "the answer", printed)


def _pattern(text: str) -> re.Pattern[str]:
    found, at = "", 0
    for wild in _WILD.finditer(text):
        found += re.escape(text[at : wild.start()])
        if wild[0] == "…":
            found += ".*"
        elif re.fullmatch(_TIME, wild[0]):
            found += _TIME
        else:
            found += wild[0] if wild[0] in _CHOSEN else _UUID
        at = wild.end()
    return re.compile(found + re.escape(text[at:]), re.DOTALL)


def _check(shown: Any, actual: Any, where: str, printed: str) -> None:
    if isinstance(shown, dict):
        assert isinstance(actual, dict), f"{where} is not an object in:\n{printed}"
        for name, value in shown.items():
            assert name in actual, f"{where} has no {name!r} in:\n{printed}"
            if name == "attempts":
                assert actual[name] >= 1, printed
            else:
                _check(value, actual[name], f"{where}.{name}", printed)
    elif isinstance(shown, list):
        assert isinstance(actual, list), f"{where} is no list in:\n{printed}"
        if "…" not in shown:
            assert len(shown) == len(actual), f"{where} has another length in:\n{printed}"
        rest = iter(actual)
        for item in shown:
            if item != "…":
                assert any(_matches(item, one) for one in rest), (
                    f"{where} has no {item!r} (in its place) in:\n{printed}"
                )
    elif isinstance(shown, str):
        assert isinstance(actual, str), f"{where} is no string in:\n{printed}"
        assert _pattern(shown).fullmatch(actual), f"{where} is {actual!r}, not {shown!r}"
    else:
        assert shown == actual, f"{where} is {actual!r}, not {shown!r}"


def _matches(shown: Any, actual: Any) -> bool:
    try:
        _check(shown, actual, "", "")
    except AssertionError:
        return False
    return True
