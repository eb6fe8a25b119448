"""One word for one thing: what the glossary retires is not used any more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents.markdown import ROOT, table

GLOSSARY = ROOT / "doc" / "glossary.md"
RETIRED = {
    "anew": r"\banew\b",
    "somebody": r"\bsomebody\b",
    "others keep changing": r"\bothers keep changing\b",
    "that is none": r"\bthat (?:is|are) none\b(?! of)",
    "for who, to who": r"\b(?:for|to) who\b",
    "out of the blue": r"\bout of the blue\b",
    "not to be done": r"\bnot to be done\b",
    "nobody is met": r"\bnobody is met\b",
    "EffectDone, MarkedStore": r"\b(?:EffectDone|MarkedStore)\b",
    "HeadsByTurn": r"\bHeadsByTurn\b",
    "head(), lowest(), seek(), lanes of a store": r"\bstore\.(?:head|lowest|seek)\(|Store\.(?:head|lowest|seek|lanes)\b",
    "LOCAL_CLAIM, claim_home, claim_port": r"\b(?:LOCAL_CLAIM|claim_home|claim_port)\b",
    "_PATIENCE": r"\b_(?:[A-Z]+_)?PATIENCE\b",
    "_begun": r"\b_begun\b",
    "Inquiries": r"\bInquiries\b(?! )",
    "moment()": r"\bmoment\(",
    "run_apart": r"\brun_apart\b",
    "the outbox rests": r"\boutbox rests\b",
    "trusted no more": r"\btrusted no more\b",
}
"""What stands in the glossary's table of retired words, and how each is found."""


def looked_through() -> list[Path]:
    """Code, documents and settings, but for the glossary and the history."""
    folders = ("pycmbs", "doc", "conf", "examples", "bench")
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    return [
        path
        for path in (*found, *sorted(ROOT.glob("*.md")), ROOT / "Makefile")
        if path.suffix in (".py", ".md", ".conf", "")
        and path.is_file()
        and path.name not in (GLOSSARY.name, "CHANGELOG.md")
    ]


def test_the_table_is_what_is_looked_for() -> None:
    """Every retired word of the glossary has its pattern here, and the other way round."""
    assert [row[0] for row in table(GLOSSARY, "Not")] == list(RETIRED)


@pytest.mark.parametrize("word", RETIRED)
def test_a_retired_word_is_not_used(word: str) -> None:
    """Neither in names, comments and docstrings, nor in logs, errors, settings and documents."""
    pattern = re.compile(RETIRED[word], re.IGNORECASE if word.islower() else 0)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in looked_through()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []
