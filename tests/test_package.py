"""What is packaged: the source distribution, and what an index shows of it."""

import fnmatch
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def tracked() -> list[str]:
    """The files of the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode or not (ROOT / ".git").exists():
        pytest.skip("this is no repository")
    return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def test_the_source_distribution_has_everything():
    """Who packages pyCMBS from it has the documents, the settings, the examples and all tests: MANIFEST.in names each file."""
    lines = [line.split() for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()]
    grafted = tuple(f"{name}/" for verb, *names in filter(None, lines) if verb == "graft" for name in names)
    single = [name for verb, *names in filter(None, lines) if verb == "include" for name in names]
    by_itself = {"MANIFEST.in", "pyproject.toml", "setup.py"}
    missing = [
        name
        for name in tracked()
        if not name.startswith(grafted)
        and name not in by_itself
        and not any(fnmatch.fnmatch(name, one) for one in single)
    ]
    assert missing == []


def test_the_description_leads_nowhere():
    """An index shows it without the files beside it, so it has no link to one."""
    text = (ROOT / PROJECT["readme"]).read_text(encoding="utf-8")
    assert re.findall(r"\]\((?!https?:)[^)]*\)", text) == []
