"""The parts of a document that can be checked: fenced blocks, tables, links, words in backticks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "doc").rglob("*.md")))
DECISIONS = sorted((ROOT / "doc" / "adr").glob("[0-9]*.md"))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A script, and what it prints: ``kind`` is ``json``, ``text``, or empty when the document does not say."""

    script: str
    kind: str = ""
    answer: str = ""


def steps(document: Path) -> list[Step]:
    """The scripts of a document with their answers, in order."""
    text = document.read_text(encoding="utf-8")
    found: list[Step] = []
    fences = list(_FENCE.finditer(text))
    for fence, after in zip_longest(fences, fences[1:]):
        if fence[1] != "sh":
            continue
        answered = after is not None and after[1] != "sh" and not text[fence.end() : after.start()].strip()
        found.append(Step(fence[2], after[1], after[2]) if answered else Step(fence[2]))
    return found


def fences(document: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [text for name, text in _FENCE.findall(document.read_text(encoding="utf-8")) if name == language]


def prose(document: Path) -> str:
    """The document without its fenced blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def table(document: Path, first: str) -> list[list[str]]:
    """The rows of the table whose first column is called ``first``, as plain cells without backticks."""
    rows: list[list[str]] = []
    for line in prose(document).splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if rows and not cells:
            break
        if rows or (cells and cells[0] == first):
            rows.append([cell.replace("\\|", "|") for cell in cells])
    assert rows, f"{document.name} has no table whose first column is {first!r}"
    return rows[2:]


def quoted(document: Path) -> Iterator[str]:
    """What stands in single backticks in the prose."""
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(document))


def links(document: Path) -> Iterator[str]:
    """Where the links of the prose lead."""
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(document))
