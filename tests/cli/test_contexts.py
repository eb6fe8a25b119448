"""Names for brokers, and who asks them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.harness import Broker


def test_a_context_is_used_unless_something_nearer_says_where(shared: Broker, run: Run, tmp_path: Path) -> None:
    """A flag beats it; its file is its owner's alone, and keeps what a person wrote in it."""
    shared.become()
    person = {"XDG_CONFIG_HOME": str(tmp_path), "PYCMBS_HOME": str(tmp_path / "none")}
    assert run("context", "add", "x", "--url", shared.url, **person).returncode == 0
    path = tmp_path / "pycmbs" / "contexts.toml"
    path.write_text("# mine\n" + path.read_text())
    added = run("context", "add", "y", "--url", "http://127.0.0.1:1/", "--token-stdin", given="s3cret\n", **person)
    assert added.returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "# mine" in path.read_text()
    assert run("members", **person).returncode == 7
    assert run("context", "use", "x", **person).returncode == 0
    assert shared.member in run("members", **person).stdout
    assert run("members", "--context", "y", **person).returncode == 7
    assert run("members", **person, PYCMBS_CONTEXT="y").returncode == 7
    assert run("members", "--url", "http://127.0.0.1:1/", **person).returncode == 7
    assert run("context", "ls", **person).stdout.splitlines()[0] == f"x*\t{shared.url}/"
    assert "s3cret" not in run("context", "show", "y", **person).stdout
    assert run("context", "rm", "x", **person).returncode == 0
    assert run("context", "ls", **person).stdout == "y\thttp://127.0.0.1:1/\n"


@pytest.mark.parametrize("words", [("use", "z"), ("rm", "z"), ("show", "z"), ("add", "z", "--url", "nonsense")])
def test_what_is_no_context_is_a_sentence_and_code_2(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    """As a flag that is wrong."""
    done = run("context", *words, XDG_CONFIG_HOME=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("pycmbs: ")
    assert done.stderr.count("\n") == 1
