"""``pycmbs user``, ``token`` and ``rule``: files of the home, changed as a whole, for this user only."""

import io
import json
import stat
import sys

import pytest

from pycmbs.cli import main
from pycmbs.services.access import passwords
from pycmbs.services.access.users import USERS, parse


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command on a home; returns the exit code, what it wrote, and what it complained of."""
    monkeypatch.setattr(passwords, "hashed", lambda password: f"$argon2id${passwords.digest(password)}")

    def command(*words, given=b"pass\n"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = main([*words, "--home", str(tmp_path / "home")])
        told = capsys.readouterr()
        return code, told.out, told.err

    command.home = tmp_path / "home"
    return command


def add(run, name="user_1", role="operator"):
    """Make a user."""
    assert run("user", "add", name, "--role", role, "--password-stdin")[0] == 0


def test_a_user_is_made_before_the_first_start(run):
    """The home is made, and both are for this user only."""
    add(run)
    assert stat.S_IMODE(run.home.stat().st_mode) == 0o700
    assert stat.S_IMODE((run.home / USERS).stat().st_mode) == 0o600
    users = parse((run.home / USERS).read_text()).users
    assert users["user_1"].roles == ("operator",)
    assert users["user_1"].password == passwords.hashed("pass")
    assert run("user", "list")[1] == "user_1\toperator\tpassword\n"


@pytest.mark.parametrize(
    ("words", "given", "said"),
    [
        (("user", "add", "user_1", "--role", "reader", "--password-stdin"), b"x\n", "there is a user user_1"),
        (("user", "add", "a:b", "--role", "reader", "--password-stdin"), b"x\n", "cannot be a user's name"),
        (("user", "add", "b", "--role", "amdin", "--password-stdin"), b"x\n", "there is no role amdin"),
        (("user", "add", "b", "--role", "reader", "--password-stdin"), b"\n", "not empty"),
        (("user", "add", "b", "--role", "reader", "--password-stdin"), b"a\nb\n", "one line"),
        (("user", "add", "b", "--role", "reader"), b"", "no terminal"),
        (("user", "passwd", "b", "--password-stdin"), b"x\n", "there is no user b"),
        (("user", "remove", "b"), b"", "there is no user b"),
        (("token", "create", "b"), b"", "needs a role of its own"),
        (("token", "create", "user_1", "--role", "admin"), b"", "no more than its user"),
        (("token", "create", "user_1", "--valid", "soon"), b"", "not a span of time"),
        (("token", "revoke", "b"), b"", "there is no token b"),
        (("rule", "add", "user:b raed member"), b"", "neither an operation nor"),
        (("rule", "add", "user:b read"), b"", "lacks the kind"),
        (("rule", "remove", "7"), b"", "there is no rule"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(run, words, given, said):
    """And nothing is changed."""
    add(run)
    before = (run.home / USERS).read_text()
    code, _, complaint = run(*words, given=given)
    assert code in (1, 2)
    assert said in complaint
    assert (run.home / USERS).read_text() == before


def test_a_token_is_shown_once_and_kept_as_a_digest(run):
    """No file of the home has it."""
    add(run)
    code, token, _ = run("token", "create", "user_1", "--valid", "90d")
    assert code == 0
    token = token.strip()
    assert token.startswith("cmbs_")
    assert all(token not in path.read_text() and "cmbs_" not in path.read_text() for path in run.home.iterdir())
    found, roles = parse((run.home / USERS).read_text()).token(token)
    assert (found.name, roles) == ("user_1", ("operator",))
    assert token not in run("token", "list")[1]
    assert run("token", "revoke", found.id)[0] == 0
    assert parse((run.home / USERS).read_text()).token(token) is None


def test_a_new_password_ends_what_the_old_one_gave(run):
    """The user's tokens go with it; those of others stay, and so do comments and lines of others."""
    add(run)
    token = run("token", "create", "user_1")[1].strip()
    other = run("token", "create", "ci", "--role", "publisher")[1].strip()
    with (run.home / USERS).open("a") as file:
        file.write("# mine\nodd line\n")
    code, said, _ = run("user", "passwd", "user_1", "--password-stdin", given=b"new")
    assert code == 0
    assert "1 token" in said
    text = (run.home / USERS).read_text()
    directory = parse(text)
    assert directory.users["user_1"].password == passwords.hashed("new")
    assert directory.users["user_1"].roles == ("operator",)
    assert directory.token(token) is None
    assert directory.token(other) is not None
    assert "# mine\nodd line\n" in text


def test_rules_are_added_listed_and_removed(run):
    """By number, or as they are; a role that a rule names may be given."""
    assert run("rule", "add", "role:net", "send", "message", "topic=network.>")[0] == 0
    assert run("rule", "add", "* read member; user:x reboot")[0] == 2  # no such handler here
    assert run("rule", "add", "* read member")[0] == 0
    assert run("rule", "list")[1] == "1\trole:net send message topic=network.>\n2\t* read member\n"
    assert "role:admin * *" in run("rule", "list", "--all")[1]
    add(run, "b", "net")
    assert run("rule", "remove", "1")[0] == 0
    assert run("rule", "remove", "* read member")[0] == 0
    assert run("rule", "list")[1] == ""


def test_what_is_done_is_in_the_audit_log(run):
    """Who did what to whom, and no secret."""
    add(run)
    run("user", "passwd", "user_1", "--password-stdin", given=b"sesame")
    run("token", "create", "user_1")
    run("user", "remove", "user_1")
    entries = [json.loads(line) for line in (run.home / "audit.log").read_text().splitlines()]
    assert [one["operation"] for one in entries] == ["user add", "user passwd", "token create", "user remove"]
    assert all(one["via"] == "command" and one["name"] == "user_1" and one["subject"] for one in entries)
    assert "sesame" not in (run.home / "audit.log").read_text()
