"""A real broker with users: logins, tokens, roles and rules, changed while it runs, by curl and on raw sockets."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import EXAMPLES, ROOT, Answer, Broker, wait_until, with_curl
from tests.system.test_readme_2012 import ABSENT, MEMBER, MESSAGE, README, define

Start = Callable[..., Broker]
EVIL = "https://evil.example"
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")


def pycmbs(home: Path, *words: str, given: str = "") -> str:
    """Run a command on a home; returns what it printed."""
    command = [sys.executable, "-m", "pycmbs", *words, "--home", str(home)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def add(home: Path, name: str, role: str, password: str = "pass") -> None:
    """Make a user."""
    pycmbs(home, "user", "add", name, "--role", role, "--password-stdin", given=password)


def ask(broker: Broker, method: str, path: str, body: Any = None, *, user: str = "", **headers: str) -> Any:
    """A request by a user, whose password is ``pass``, on a connection of its own."""
    fields = {name.replace("_", "-"): text for name, text in headers.items()}
    if user:
        fields["Authorization"] = "Basic " + base64.b64encode(f"{user}:pass".encode()).decode()
    return broker.request(method, path, body, headers={**fields, "Connection": "close"})


def code(answer: Any) -> tuple[int, str]:
    """Status and error code of an answer."""
    return answer.status_code, answer.json()["error"]["code"]


def on_every_front(holds: Callable[[], bool]) -> None:
    """Wait until all fronts know what was changed: each looks for itself, and the kernel spreads the connections."""
    wait_until(lambda: all(holds() for _ in range(20)), 5)


class Kept:
    """A connection that is kept, and requests on it with the same fields."""

    def __init__(self, broker: Broker, *fields: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", broker.port), timeout=10)
        self._request = "\r\n".join(["GET /-/ HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()

    def status(self) -> int:
        """Of the answer to one more request."""
        self._socket.sendall(self._request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._socket.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        (length,) = (int(one[15:]) for one in head.split(b"\r\n") if one.lower().startswith(b"content-length:"))
        while len(body) < length:
            body += self._socket.recv(65536)
        return int(head.split()[1])

    def close(self) -> None:
        """End it."""
        self._socket.close()


@pytest.fixture(scope="module")
def shared(start_shared: Start) -> Iterator[Broker]:
    """A broker with a user for each role, and a member."""
    broker = start_shared()
    broker.become("l1")
    for role in ("admin", "operator", "publisher", "reader"):
        add(broker.home, role, role)
    on_every_front(lambda: ask(broker, "GET", "/-/").status_code == 401)
    yield broker
    broker.stop()


@needs_curl
def test_the_calls_of_2012_pass_with_and_without_users(start_broker: Start, tmp_path: Path) -> None:
    """`--user user_1:pass` is ignored while there are no users, and is who asks from then on, as an operator."""
    broker = start_broker("--workers", "1")

    def calls() -> Iterator[Answer]:
        define(with_curl, broker)
        yield with_curl("POST", f"{broker.url}/cmbs/member/", README / "post_member.json", "--user", "user_1:pass")
        yield with_curl("POST", f"{broker.url}{ABSENT}?action=start_l1", README / "action_start_l1_member.json",
                        "--user", "user_1:pass")  # fmt: skip
        yield with_curl("POST", f"{broker.url}/cmbs/message/", README / "post_message_l1.json", "--user", "user_1:pass")
        yield with_curl("POST", f"{broker.url}{MESSAGE}?action=send_l1", README / "action_send_l1_message.json",
                        "--user", "user_1:pass")  # fmt: skip

    assert [answer.status for answer in calls()] == [201, 404, 201, 200]
    for path in (MESSAGE, MEMBER):
        assert ask(broker, "DELETE", path).status_code == 200
    add(broker.home, "user_1", "operator")
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    answer = wait_until(
        lambda: one if (one := with_curl("GET", f"{broker.url}/-/", empty)).status == 401 else None, 5, "a 401"
    )
    assert answer.headers["www-authenticate"] == 'Basic realm="pyCMBS"'
    error = answer.json()["error"]
    assert error["code"] == "unauthenticated"
    assert "--user" in error["hint"]
    assert [answer.status for answer in calls()] == [201, 404, 201, 200]


def test_a_login_is_known_by_all_that_is_said_of_it(shared: Broker) -> None:
    """Answers to users are for no one else's cache; an unknown one costs what a wrong password does."""
    answer = ask(shared, "GET", "/", user="reader")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert code(ask(shared, "GET", "/", user="nobody")) == (401, "unauthenticated")
    for fields in ({"Origin": shared.url}, {"Sec_Fetch_Site": "same-origin"}):
        refused = ask(shared, "GET", "/", **fields)
        assert refused.status_code == 401
        assert "WWW-Authenticate" not in refused.headers


def test_a_reader_reads(shared: Broker) -> None:
    """And changes nothing, whatever he sends."""
    before = ask(shared, "GET", "/", user="admin").text
    for method, path, body in (
        ("POST", "/cmbs/message/", {}),
        ("POST", "/cmbs/message/", README / "post_message_l1.json"),
        ("PUT", "/cmbs/message/x", README / "post_message_l1.json"),
        ("DELETE", f"/cmbs/member/{shared.member}", None),
        ("DELETE", "/cmbs/message/", None),
        ("POST", f"/cmbs/member/{shared.member}?action=stop_l1", {}),
        ("POST", "/-/", EXAMPLES / "infrastructure" / "post_category_compute.json"),
        ("PUT", "/-/", {}),
        ("DELETE", "/-/", {}),
    ):
        assert code(ask(shared, method, path, body, user="reader")) == (403, "forbidden")
    assert ask(shared, "GET", "/", user="admin").text == before


def test_a_publisher_sends_under_his_topics(shared: Broker) -> None:
    """A rule made while the broker runs narrows what his role may, within a second; another takes that back."""
    pycmbs(shared.home, "rule", "add", "user:publisher send message topic=network.>")

    def sent(layer: str, **attributes: Any) -> Any:
        entity = {
            "kind": "http://houssem.org/cmbs#message",
            "mixins": [f"http://houssem.org/cmbs#{layer}"],
            "attributes": {"cmbs": {"message": {"message_content": "x", **attributes}}},
        }
        answer = ask(shared, "POST", "/cmbs/message/", {"resources": [entity]}, user="publisher")
        assert answer.status_code == 201, answer.text
        path = answer.headers["Location"].removeprefix(shared.url)
        return ask(shared, "POST", f"{path}?action=send_{layer}", {}, user="publisher")

    on_every_front(lambda: sent("l2").status_code == 403)
    assert sent("l32", topics=["network.x"]).status_code == 200
    assert code(sent("l32", topics=["hr.x"])) == (403, "forbidden")
    pycmbs(shared.home, "rule", "remove", "1")
    on_every_front(lambda: sent("l2").status_code == 200)


def test_everything_at_once_is_for_an_admin_to_delete(start_broker: Start) -> None:
    """DELETE / by an operator is a 403."""
    broker = start_broker("--workers", "1")
    broker.become()
    add(broker.home, "op", "operator")
    add(broker.home, "boss", "admin")
    wait_until(lambda: ask(broker, "GET", "/-/").status_code == 401, 5)
    assert code(ask(broker, "DELETE", "/", user="op")) == (403, "forbidden")
    assert ask(broker, "GET", f"/cmbs/member/{broker.member}", user="op").status_code == 200
    assert ask(broker, "DELETE", "/", user="boss").status_code == 200


def test_guessing_has_its_pauses(shared: Broker) -> None:
    """The sixth wrong password in a row is not looked at, whichever front it comes to; another user from there is let in."""
    add(shared.home, "guessed", "reader", "right")
    wait_until((shared.home / "run" / "attempts").exists, 5)
    wrong = {"Authorization": "Basic " + base64.b64encode(b"guessed:wrong").decode()}
    answers: list[Any] = []
    wait_until(
        lambda: answers.append(ask(shared, "GET", "/-/", **wrong)) or answers[-1].status_code == 429, 30, "a 429"
    )
    assert {one.status_code for one in answers[:5]} == {401}
    assert code(answers[-1]) == (429, "too-many-attempts")
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert ask(shared, "GET", "/-/", user="reader").status_code == 200


def test_what_was_revoked_is_not_let_in_for_a_second(start_broker: Start) -> None:
    """A new password, a revoked token and a removed user count on connections that are open, too."""
    broker = start_broker()
    add(broker.home, "user_1", "operator")
    add(broker.home, "user_2", "reader")
    own = pycmbs(broker.home, "token", "create", "user_1")
    free = pycmbs(broker.home, "token", "create", "ci", "--role", "publisher")
    old, new = (base64.b64encode(f"user_1:{word}".encode()).decode() for word in ("pass", "new"))
    second = base64.b64encode(b"user_2:pass").decode()
    kept = {
        "old": Kept(broker, f"Authorization: Basic {old}"),
        "own": Kept(broker, f"Authorization: Bearer {own}"),
        "free": Kept(broker, f"X-Auth-Token: {free}"),
        "second": Kept(broker, f"Authorization: Basic {second}"),
    }
    wait_until(lambda: {one.status() for one in kept.values()} == {200}, 10)
    for names, words, given in (
        (("old", "own"), ("user", "passwd", "user_1", "--password-stdin"), "new"),
        (("free",), ("token", "revoke", "ci"), ""),
        (("second",), ("user", "remove", "user_2"), ""),
    ):
        pycmbs(broker.home, *words, given=given)
        changed = time.monotonic()
        wait_until(lambda names=names: {kept[name].status() for name in names} == {401}, 10)
        assert time.monotonic() - changed < 3  # a second, and what a busy machine adds
    assert ask(broker, "GET", "/-/", Authorization=f"Basic {new}").status_code == 200
    for one in kept.values():
        one.close()
    for path in broker.home.iterdir():
        if path.is_file():
            assert own.encode() not in path.read_bytes()
            assert free.encode() not in path.read_bytes()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_hosts_and_pages_are_refused_with_users_as_without(shared: Broker) -> None:
    """The guard is first: no one's password makes up for a page of someone else's."""
    assert code(ask(shared, "GET", "/-/", user="admin", Host="evil.example")) == (421, "unknown-host")
    for fields in ({"Origin": EVIL}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        answer = ask(shared, "POST", "/cmbs/message/", README / "post_message_l1.json", user="admin", **fields)
        assert code(answer) == (403, "cross-origin")


def test_each_refusal_and_change_is_in_the_audit_log(shared: Broker) -> None:
    """One line with who, what, where and the answer; neither passwords nor what was sent."""
    ask(shared, "DELETE", "/cmbs/message/audited", user="reader", X_Request_Id="audit-1")
    ask(shared, "GET", "/audited", X_Request_Id="audit-2")
    ask(shared, "POST", "/cmbs/message/", b'{"sesame": 1}', user="publisher", X_Request_Id="audit-3")

    def noted() -> dict[str, Any]:
        log = shared.home / "audit.log"  # made with its first lines
        lines = log.read_text().splitlines() if log.exists() else []
        found = [json.loads(line) for line in lines]
        return {one["request"]: one for one in found if str(one.get("request")).startswith("audit-")}

    found = wait_until(lambda: noted() if len(noted()) == 3 else None, 5)
    assert (found["audit-1"]["subject"], found["audit-1"]["operation"], found["audit-1"]["status"]) == (
        "user:reader", "delete", 403,
    )  # fmt: skip
    assert (found["audit-2"]["subject"], found["audit-2"]["path"], found["audit-2"]["status"]) == ("", "/audited", 401)
    assert (found["audit-3"]["subject"], found["audit-3"]["status"]) == ("user:publisher", 400)
    text = (shared.home / "audit.log").read_text()
    assert "sesame" not in text
    assert base64.b64encode(b"reader:pass").decode() not in text


def followed(broker: Broker, user: str, path: str, **headers: str) -> tuple[list[list[str]], set[str | None]]:
    """What is on the pages of a listing, from the first to the last, by the headers that say where the next is; and what they
    say of how many there are in all."""
    pages, totals = [], set()
    while path:
        answer = ask(broker, "GET", path, user=user, Accept="application/occi+json", **headers)
        assert answer.status_code == 200, answer.text
        pages.append([url.rpartition("/")[2] for url in answer.json()["X-OCCI-Location"]])
        totals.add(answer.headers.get("X-Total-Count"))
        following = re.search(r'<([^>]*)>; rel="?next', answer.headers.get("Link", ""))
        path = following[1].partition(str(broker.port))[2] if following else ""
    return pages, totals


def test_who_sees_his_own_sees_it_page_by_page(start_broker: Start) -> None:
    """Lists, pages, counts and links have what one may see, and tell of nothing else; also where pages are asked for in any
    order, and after others' have been."""
    broker = start_broker()
    broker.become("l1")
    for name, role in (("boss", "admin"), ("ada", "publisher"), ("bob", "publisher")):
        add(broker.home, name, role)
    on_every_front(lambda: ask(broker, "GET", "/").status_code == 401)
    own: dict[str, list[str]] = {"ada": [], "bob": [], "boss": []}
    for number in range(36):
        name = ("ada", "bob", "boss")[number % 3]
        entity = {"kind": "http://houssem.org/cmbs#message", "id": f"{name}-{number}"}
        made = ask(broker, "POST", "/cmbs/message/", {"resources": [entity]}, user=name)
        assert made.status_code == 201, made.text
        own[name].append(f"{name}-{number}")
    link = {"kind": "http://schemas.ogf.org/occi/core#link", "source": {"location": "/cmbs/message/ada-0"},
            "target": {"location": "/cmbs/message/bob-1"}}  # fmt: skip
    assert ask(broker, "POST", "/link/", {"links": [link]}, user="boss").status_code == 201
    every = sorted(own["ada"] + own["bob"] + own["boss"], key=lambda one: int(one.partition("-")[2]))
    for user, there in (("ada", own["ada"]), ("bob", own["bob"]), ("boss", every)):
        pages, totals = followed(broker, user, "/cmbs/message/?page=1&number=5")
        assert [id for page in pages for id in page] == there
        assert [len(page) for page in pages][:-1] == [5] * (len(pages) - 1)
        assert totals <= {None, str(len(there))}
        filtered, totals = followed(
            broker, user, "/cmbs/message/?attribute=cmbs.message.state&value=created&page=1&number=5"
        )
        assert sum(map(len, filtered)) in (0, len(there))
        assert totals <= {None, "0", str(len(there))}
        assert ask(broker, "GET", "/cmbs/message/?page=9&number=5", user=user).status_code == 200
        pages, _ = followed(broker, user, "/cmbs/message/?page=3&number=5")
        assert pages[0] == there[10:15]
    shown = {user: ask(broker, "GET", "/cmbs/message/ada-0", user=user).text for user in ("ada", "boss")}
    assert "bob-1" in shown["boss"]
    assert "bob-1" not in shown["ada"]
    assert ask(broker, "GET", "/cmbs/message/ada-0", user="bob").status_code == 404
    assert ask(broker, "DELETE", "/cmbs/message/", user="ada").status_code == 403
    assert followed(broker, "boss", "/cmbs/message/?page=1&number=50")[0][0] == every


def test_a_handler_is_not_called_for_who_has_no_rule_for_it(start_broker: Start, tmp_path: Path) -> None:
    """Who may have messages executed may not therefore run code: a 403, and nothing was called, until a rule says so."""
    broker = start_broker("--handlers", "tests.example_handlers")
    broker.become("l1")
    add(broker.home, "user_1", "operator")
    on_every_front(lambda: ask(broker, "GET", "/").status_code == 401)
    trace = tmp_path / "called"
    trace.with_suffix(".go").touch()
    content = {"operation": "linger", "target": str(trace), "attributes": {"seconds": 0}}
    attributes = {"cmbs.message.message_content": content, "cmbs.message.executable": "true"}
    entity = {"kind": "http://houssem.org/cmbs#message", "attributes": attributes}
    made = ask(broker, "POST", "/cmbs/message/", {"resources": [entity]}, user="user_1")
    assert made.status_code == 201
    path = "/" + made.headers["Location"].split("/", 3)[3] + "?action=execute"
    for _ in range(4):  # whichever front it comes to
        assert code(ask(broker, "POST", path, {}, user="user_1")) == (403, "forbidden")
    assert not trace.exists()
    (broker.home / "rules").write_text("user:user_1 linger\n")
    wait_until(lambda: ask(broker, "POST", path, {}, user="user_1").status_code == 200, 10)
    assert trace.exists()


def test_a_stop_leaves_nothing_out_of_the_audit_log(start_broker: Start) -> None:
    """What was answered just before it is there: who stops a broker, to update it say, loses no line."""
    broker = start_broker()
    add(broker.home, "boss", "admin")
    on_every_front(lambda: ask(broker, "GET", "/").status_code == 401)
    answers = [ask(broker, "DELETE", f"/cmbs/message/none{number}", user="boss") for number in range(8)]
    broker.stop()
    lines = [json.loads(line) for line in (broker.home / "audit.log").read_text().splitlines()]
    asked_for = {one.headers["X-Request-Id"] for one in answers}
    assert asked_for <= {one.get("request") for one in lines}


def test_a_keystone_is_the_only_challenge(start_broker: Start) -> None:
    """Clients of rOCCI match the whole field."""
    broker = start_broker("--workers", "1", "--authentication", "on", "--keystone-uri", "http://k/v3")
    answer = ask(broker, "GET", "/-/")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Keystone uri='http://k/v3'"
