"""How every command behaves: quick help, suggestions, no colours where none are wanted, JSON that parses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pycmbs.cli import tree
from tests.cli.conftest import Run
from tests.harness import ROOT, Broker, free_port

READING = (
    ("members",), ("members", "rome"), ("ls",), ("doctor",), ("top",), ("handlers",), ("pub", "network.link", "1", "--dry-run"),
)  # fmt: skip
"""Commands that only look."""
CHANGING = (("pub", "t", "x"), ("send", "a", "x"), ("request", "a", "x"), ("ping", "a"), ("sub", "x"), ("rm", "x"))


def test_help_takes_little_time_of_the_processor() -> None:
    """It imports neither the broker nor an HTTP library. The bound is generous: it is 0.1 s."""
    out = os.open(os.devnull, os.O_WRONLY)
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "pycmbs", "--help"],
        {**os.environ, "PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_DUP2, out, 1)],
    )
    _, status, used = os.wait4(process, 0)
    os.close(out)
    assert os.waitstatus_to_exitcode(status) == 0
    assert used.ru_utime + used.ru_stime < 0.6


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("pubb", "x"), "pub"),
        (("pub", "x", "--dryrun"), "--dry-run"),
        (("ledgr",), "ledger"),
        (("context", "ad"), "add"),
    ],
)
def test_what_is_misspelled_is_asked_back(run: Run, words: tuple[str, ...], meant: str) -> None:
    """With exit code 2, and what may have been meant, once."""
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("(did you mean") == 1, done.stderr
    assert f"(did you mean {meant}?)" in done.stderr


def commands(group: click.Group, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands there are, and those of groups, by their words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*words, name), found
        if isinstance(found, click.Group):
            yield from commands(found, *words, name)


def test_the_help_of_every_command_has_an_example_of_it() -> None:
    """Also of the commands of groups; nobody learns a command from its flags alone."""
    without = [
        " ".join(words)
        for words, found in commands(tree.pycmbs)
        if not isinstance(found, click.Group)
        and f"pycmbs {words[0]}" not in (found.help or "").partition("example:")[2]
        and f"pycmbs {words[-1]}" not in (found.help or "").partition("example:")[2]
    ]
    assert without == []


@pytest.mark.parametrize("words", [("user",), ("token",), ("rule",), ("key",), ("member",), ("store",), ("context",)])
def test_a_group_alone_shows_its_commands_with_exit_code_2(run: Run, words: tuple[str, ...]) -> None:
    """Nothing was done; the help says what could be."""
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Commands:" in done.stderr
    assert "error" not in done.stderr


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_what_only_looks_prints_json_that_parses_and_tables_without_colours(
    paris: Path, run: Run, words: tuple[str, ...]
) -> None:
    """In a pipe no byte is for a terminal, with NO_COLOR or without."""
    home = ("--home", str(paris))
    done = run(*words, *home, "-o", "json")
    assert done.returncode in (0, 1), done.stderr
    json.loads(done.stdout)
    for environ in ({}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}):
        shown = run(*words, *home, **environ)
        assert shown.stdout.strip()
        assert "\x1b" not in shown.stdout + shown.stderr


@pytest.mark.parametrize("words", [*READING, *CHANGING], ids=" ".join)
def test_without_a_broker_every_command_says_so_in_one_object(run: Run, words: tuple[str, ...]) -> None:
    """Exit code 7, nothing on standard output, and one JSON object with a code on standard error."""
    done = run(*words, "--url", f"http://127.0.0.1:{free_port()}", "-o", "json")
    assert (done.returncode, done.stdout) == (7, "")
    assert json.loads(done.stderr)["code"] == "unavailable"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("pycmbs serve --work", "--workers"),
        ("pycmbs store ch", "check"),
        ("pycmbs store copy --ho", "--home"),
        ("pycmbs pub x --dead", "--deadline"),
        ("pycmbs led", "ledger"),
        ("pycmbs context a", "add"),
        ("pycmbs token cr", "create"),
        ("pycmbs member remove --store-", "--store-password-file"),
    ],
)
def test_a_shell_completes_commands_and_flags(run: Run, words: str, found: str) -> None:
    """Of every command, whoever parses it."""
    count = str(len(words.split()) - 1)
    done = run(_PYCMBS_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == [found]


def test_a_shell_that_completes_without_a_broker_gets_nothing(sites: dict[str, Broker], run: Run) -> None:
    """And no error; with one, the names of members."""
    asked = {"_PYCMBS_COMPLETE": "bash_complete", "COMP_WORDS": "pycmbs ping r", "COMP_CWORD": "2"}
    nothing = run(**asked, PYCMBS_URL=f"http://127.0.0.1:{free_port()}")
    assert (nothing.returncode, nothing.stdout.strip(), nothing.stderr) == (0, "", "")
    assert run(**asked, PYCMBS_URL=sites["paris"].url).stdout.split(",")[-1].strip() == "rome"
