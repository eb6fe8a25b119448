"""The command line: what it prints, and with which code it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

import pycmbs
from pycmbs import cli
from pycmbs.config import SETTINGS
from pycmbs.errors import ConfigurationError, StoreUnavailable
from pycmbs.processes import supervisor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def served(monkeypatch, tmp_path):
    """The settings that `serve` would run with; nothing runs."""
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supervisor, "serve", lambda settings, _origins: seen.append(settings) or 0)
    return seen


def test_flags_become_settings(served, tmp_path):
    """Every flag reaches the broker."""
    (tmp_path / "etc").mkdir()
    arguments = ["serve", "--home", "h", "--port", "1", "--workers", "3", "--config", "etc", "--log-level", "debug"]
    assert cli.main([*arguments, "--store", "memory:", "--host", "localhost"]) == 0
    (settings,) = served
    assert (settings.home, settings.port, settings.workers) == (tmp_path / "h", 1, 3)
    assert (settings.log_level, settings.store, settings.host) == ("debug", "memory:", "127.0.0.1")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["srve"], "did you mean serve?"),
        (["stroe", "check"], "did you mean store?"),
        (["store", "bakup", "f.db"], "did you mean backup?"),
        (["serve", "--prot", "8091"], "did you mean --port?"),
        (["serve", "--log_level=debug"], "did you mean --log-level?"),
    ],
)
def test_a_misspelled_word_is_asked_back(capsys, arguments, meant):
    """A command or a flag that comes close to one there is, as someone types it the first time."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert meant in capsys.readouterr().err


def test_what_comes_close_to_nothing_is_not_guessed(capsys):
    """Then the commands there are say more than a guess."""
    with pytest.raises(SystemExit):
        cli.main(["xyzzy"])
    said = capsys.readouterr().err
    assert "serve" in said
    assert "did you mean" not in said


def test_the_environment_counts(served, monkeypatch):
    """PYCMBS_PORT is what --port is."""
    monkeypatch.setenv("PYCMBS_PORT", "77")
    assert cli.main(["serve"]) == 0
    assert served[0].port == 77


def test_a_wrong_setting_is_one_sentence_and_code_2(served, capsys):
    """What must change is said in one line on standard error, without a traceback."""
    assert cli.main(["serve", "--port", "x"]) == 2
    assert capsys.readouterr() == ("", "pycmbs: the flag --port is 'x', but must be a whole number from 0 to 65535\n")
    assert served == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigurationError("no", hint="do that"), 2, "pycmbs: no; do that\n"),
        (StoreUnavailable("gone"), 1, "pycmbs: gone\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_the_exit_code_tells_what_kind_of_failure_it_was(monkeypatch, capsys, error, code, said):
    """2 is for the user to fix, 1 is not, 130 is an interrupt."""

    def fail(_settings, _origins):
        raise error

    monkeypatch.setattr(supervisor, "serve", fail)
    assert cli.main(["serve"]) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("arguments", [["-m", "pycmbs", "--version"], [str(ROOT / "start.py"), "--help"]])
def test_it_runs_from_a_checkout(arguments, tmp_path):
    """start.py works from any directory without an installation; `python -m pycmbs` is the command."""
    environ = {"PYTHONPATH": str(ROOT)} if arguments[0] == "-m" else {}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=30, check=True
    )
    assert (pycmbs.__version__ if arguments[0] == "-m" else "usage: pycmbs serve") in done.stdout


def test_help_names_every_flag_and_shows_an_example(capsys):
    """`pycmbs serve --help` is all one needs to read."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["serve", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for setting in SETTINGS:
        assert setting.flag in text
    assert "curl http://127.0.0.1:8090/-/" in text


@pytest.mark.parametrize("arguments", [["sevre"], ["serve", "--prot", "1"], ["serve", "--por", "1"]])
def test_an_unknown_command_or_flag_is_refused_with_code_2(arguments, capsys):
    """Nothing is guessed, not even from an abbreviation."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("usage: pycmbs")


def test_no_command_shows_the_help(capsys):
    """Who types the name alone is told what there is; the code is 2, since nothing was done."""
    assert cli.main([]) == 2
    assert "pycmbs serve" in capsys.readouterr().err


def test_help_loads_neither_eventlet_nor_zmq():
    """The command and the supervisor stay light."""
    code = "import sys, pycmbs.cli, pycmbs.processes.supervisor; print({'eventlet', 'zmq'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "set()\n"


def test_a_password_in_a_flag_is_warned_of_once_and_never_repeated(served, capsys, monkeypatch):
    """Other users see flags, not variables; and what is refused is not repeated with a password in it."""
    url = "couchdb://me:s3cret@h/db"
    assert cli.main(["serve", "--store", url]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--store-password-file" in said
    assert "s3cret" not in said
    monkeypatch.setenv("PYCMBS_STORE", url)
    assert cli.main(["serve"]) == 0
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit):
        cli.main(["serve", "--stroe", url])
    assert "s3cret" not in capsys.readouterr().err
