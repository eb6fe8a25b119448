"""Who asks: by which credentials, and what is said to whoever is not known."""

import base64
import json
import stat
import sys
import time

import pytest

from pycmbs.errors import Unauthenticated
from pycmbs.runtime import ThreadRuntime
from pycmbs.services.access import files, passwords
from pycmbs.services.access.users import USERS, Token, User, line_of
from pycmbs.wsgi import auditor as auditor_module
from pycmbs.wsgi.auditor import Auditor
from pycmbs.wsgi.auth import LOGIN
from tests.wsgi.conftest import Front

HASH = passwords.hashed("pass")
TOKEN = passwords.new_token()


def basic(name, password):
    """The field of a Basic credential."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A broker with a user and a token of no one's; its file is looked at each time."""
    monkeypatch.setattr(files, "LOOK_SECONDS", 0)
    front = Front(home=tmp_path)
    front.home = tmp_path
    write(
        front,
        User("user_1", HASH, roles=("operator",)),
        Token("ci", "1", passwords.digest(TOKEN), ("admin",), time.time() + 60),
        Token("user_1", "2", passwords.digest("cmbs_old"), (), time.time() - 1),
    )
    return front


def write(front, *entries):
    """Have exactly these users."""
    with files.changing(front.home / USERS) as replace:
        replace("".join(line_of(one) + "\n" for one in entries))


def test_without_users_whoever_asks_is_let_in(tmp_path):
    """No users, loopback: a password is as good as none."""
    front = Front(home=tmp_path)
    assert front.request("GET", "/-/").status_code == 200
    answer = front.request("GET", "/-/", Authorization=basic("user_1", "pass"))
    assert answer.status_code == 200
    assert "Cache-Control" not in answer.headers


def test_who_does_not_say_who_he_is_is_asked(house):
    """A 401 has the challenge, the code, and what to do."""
    answer = house.request("GET", "/-/")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="pyCMBS"'
    error = answer.json["error"]
    assert error["code"] == "unauthenticated"
    assert "--user" in error["hint"]


def test_a_page_in_a_browser_is_not_asked_for_a_password(house):
    """A browser would keep it, and lend it to any page."""
    for field in ({"Origin": "http://localhost"}, {"Sec_Fetch_Mode": "cors"}):
        answer = house.request("GET", "/-/", **field)
        assert answer.status_code == 401
        assert "WWW-Authenticate" not in answer.headers


def test_a_keystone_is_the_only_challenge(tmp_path, monkeypatch):
    """Clients of rOCCI read the whole field."""
    monkeypatch.setattr(files, "LOOK_SECONDS", 0)
    front = Front(home=tmp_path, authentication="on", keystone_uri="http://k/v3")
    answer = front.request("GET", "/-/")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Keystone uri='http://k/v3'"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Authorization": basic("user_1", "pass")}, 200),
        ({"Authorization": basic("user_1", "pass").replace("Basic", "bAsIc")}, 200),
        ({"Authorization": basic("user_1", "wrong")}, 401),
        ({"Authorization": basic("nobody", "pass")}, 401),
        ({"Authorization": basic("ci", "")}, 401),
        ({"Authorization": "Basic"}, 401),
        ({"Authorization": "Basic %%%"}, 401),
        ({"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode()}, 401),
        ({"Authorization": "Basic " + base64.b64encode(b"user_1").decode()}, 401),
        ({"Authorization": "Digest username=user_1"}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"X_Auth_Token": TOKEN}, 200),
        ({"X_Auth_Token": TOKEN + "x"}, 401),
        ({"X_Auth_Token": "cmbs_old"}, 401),
        ({"Authorization": basic("user_1", "wrong"), "X_Auth_Token": TOKEN}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": ""}, 401),
    ],
)
def test_a_credential_is_right_or_a_401(house, fields, status):
    """Whatever its shape: none is an error of the broker's, and a wrong one is not made up for by another."""
    answer = house.request("GET", "/-/", **fields)
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_was_checked_is_not_hashed_again_until_the_users_change(house, monkeypatch):
    """A login that is known costs no hash; a change of the file forgets it at once."""
    asked = []
    right = passwords.verified
    monkeypatch.setattr(passwords, "verified", lambda kept, given: asked.append(kept) or right(kept, given))
    fields = {"Authorization": basic("user_1", "pass")}
    assert [house.request("GET", "/-/", **fields).status_code for _ in range(3)] == [200] * 3
    assert len(asked) == 1
    write(house, User("user_1", passwords.hashed("other"), roles=("operator",)))
    assert house.request("GET", "/-/", **fields).status_code == 401
    assert house.request("GET", "/-/", X_Auth_Token=TOKEN).status_code == 401


def test_who_is_no_user_costs_as_much_as_who_is(house, monkeypatch):
    """A dummy is hashed for him: how long a refusal takes does not tell who there is."""
    asked = []
    monkeypatch.setattr(passwords, "verified", lambda kept, _given: bool(asked.append(kept)))
    house.request("GET", "/-/", Authorization=basic("nobody", "pass"))
    assert asked == [passwords.dummy()]


def test_a_file_that_cannot_be_read_lets_nobody_in(house):
    """It says that there are users, whoever they are."""
    (house.home / USERS).write_bytes(b"\xff\xfe\n")
    assert house.request("GET", "/-/").status_code == 401
    (house.home / USERS).write_text("user_1:$apr1$abc$def:admin\n# nobody\n")
    assert house.request("GET", "/-/", Authorization=basic("user_1", "pass")).status_code == 401


def test_requests_are_noted_and_secrets_are_not(house):
    """What changes something, and what is refused: who, what, where, and with what answer; a reading is not, unless all are."""
    good = {"Authorization": basic("user_1", "pass")}
    house.request("GET", "/-/", **good)
    house.request("GET", "/cmbs/member/", Authorization=basic("user_1", "sesame"), X_Request_Id="r1")
    house.request("DELETE", "/", **good)
    house.request("POST", "/cmbs/member/x?action=start_l1", {"attributes": {"a": "sesame"}}, X_Auth_Token=TOKEN)
    house.request("PUT", "/-/", {}, Host="evil.example")
    deadline = time.monotonic() + 10
    while (
        len(lines := (house.home / "audit.log").read_text().splitlines() if (house.home / "audit.log").exists() else [])
        < 4
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    noted = [
        (one["subject"], one["via"], one["operation"], one["path"], one["status"]) for one in map(json.loads, lines)
    ]
    assert noted == [
        ("", "", "list", "/cmbs/member/", 401),
        ("user:user_1", "password", "delete", "/", 403),
        ("user:ci", "token", "act:start_l1", "/cmbs/member/x", 404),
        ("", "", "replace", "/-/", 421),
    ]
    first = json.loads(lines[0])
    assert (first["address"], first["request"]) == ("127.0.0.1", "r1")
    text = (house.home / "audit.log").read_text()
    assert "sesame" not in text
    assert TOKEN not in text
    assert stat.S_IMODE((house.home / "audit.log").stat().st_mode) == 0o600


def test_a_connection_knows_its_login_again_for_as_long_as_that_counts(house):
    """What a connection keeps of its last login says nothing that the users' file does not say any more."""
    gate, said = house.application._gate, basic("user_1", "pass")
    connection = {LOGIN: [], "REMOTE_ADDR": "127.0.0.1"}
    known = [gate.admit({**connection, "HTTP_AUTHORIZATION": said}) for _ in range(3)]
    assert connection[LOGIN][0] == said
    assert known[0] is known[1] is known[2]
    for other in (basic("user_1", "wrong"), said + "=", f"Bearer {TOKEN}x"):
        with pytest.raises(Unauthenticated):
            gate.admit({**connection, "HTTP_AUTHORIZATION": other})
    assert gate.admit({**connection, "HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}).name == "ci"
    write(house, User("user_2", HASH, roles=("operator",)))
    with pytest.raises(Unauthenticated):
        gate.admit({**connection, "HTTP_AUTHORIZATION": said})


def test_what_is_noted_of_many_requests_is_bounded(tmp_path):
    """In number and in characters; how many were dropped is noted, and when the process ends everything is."""
    auditor = Auditor(tmp_path, ThreadRuntime(), "changes")
    auditor._writing = True  # no thread writes meanwhile
    long = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/" + "x" * 8000,
        "QUERY_STRING": "y" * 4000 + "&action=stop&z=" + "z" * 999,
    }
    for number in range(auditor_module._MOST_WAITING + 2):
        auditor.note(long, f"r{number}", "201 Created")
    assert sum(map(len, auditor._noted[0][2][3:5])) < 1100
    auditor.flush()
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert len(lines) == auditor_module._MOST_WAITING + 1
    assert lines[-1]["dropped"] == 2
    assert lines[1] == {**lines[0], "time": lines[1]["time"], "request": "r1"}
    assert (lines[0]["operation"], lines[0]["status"], len(lines[0]["path"])) == ("act:stop", 201, 1000)
    auditor.flush()
    assert len((tmp_path / "audit.log").read_text().splitlines()) == len(lines)


BCRYPT = "$2b$05$BppSgHf88PCIH9CFtBcvKewVLTPSBRK9azTIj.O5YkRAVxSElAxzW"
"""The password ``pass``, as ``htpasswd -nbB -C 5`` keeps it."""


@pytest.mark.parametrize("kept", [BCRYPT, "$2y$" + BCRYPT[4:], "$2a$" + BCRYPT[4:]])
def test_passwords_of_an_htpasswd_are_checked_where_the_extra_is_installed(house, kept):
    """Its lines are taken as they are, with the roles behind them."""
    pytest.importorskip("bcrypt")
    (house.home / USERS).write_text(f"alice:{kept}:operator\n")
    assert house.request("GET", "/-/", Authorization=basic("alice", "pass")).status_code == 200
    for wrong in ("Pass", "", "pass" * 100, "pa\0ss", "\N{SNOWMAN}"):
        assert house.request("GET", "/-/", Authorization=basic("alice", wrong), address=wrong[:9]).status_code == 401


def test_a_password_longer_than_bcrypt_reads_is_checked_as_htpasswd_made_it():
    """Up to its 72nd byte, wherever in a character that is."""
    bcrypt = pytest.importorskip("bcrypt")
    long = "ü" * 50
    kept = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()
    assert passwords.verified(kept, long)
    assert not passwords.verified(kept, "u" + long)


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        (f"{BCRYPT}:operator", "pip install 'pycmbs[bcrypt]'"),
        (f"{BCRYPT}", "it has no roles"),
        (f"{BCRYPT.replace('$05$', '$20$')}:operator", "more than 13"),
        (f"{BCRYPT[:-1]}:operator", "not as bcrypt keeps one"),
        ("$apr1$abc$def:operator", "MD5 or SHA-1"),
        ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=:operator", "MD5 or SHA-1"),
        ("$6$salt$hash:operator", "has a hash that this broker does not know"),
    ],
)
def test_what_cannot_be_checked_lets_nobody_in_and_says_why(house, monkeypatch, caplog, kept, why):
    """Without the extra, too; and it is no reason to let everybody in."""
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    passwords._bcrypt.cache_clear()
    monkeypatch.setattr(passwords, "_bcrypt", passwords._bcrypt.__wrapped__)
    (house.home / USERS).write_text(f"alice:{kept}\n")
    assert house.request("GET", "/-/", Authorization=basic("alice", "pass")).status_code == 401
    assert why in caplog.text
