"""Operations in messages are executed by their receiver, as far as it allows, once, and the sender reads what came of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT, Broker, refusal, wait_until

Start = Callable[..., Broker]
FAST = ("--workers", "1", "--retry-first", "0.1", "--retry-most", "0.3", "--probe-interval", "0.5")
KIND = "http://example.org/infra#compute"
HANDLERS = ("--handlers", "tests.example_handlers")


def pair(start: Start, allow: str, *flags: str) -> tuple[Broker, Broker]:
    """A sender, and a receiver that allows this and has the kind compute."""
    one, two = start(*FAST), start(*FAST, "--allow", allow, *flags)
    one.become("l1", "l2")
    two.become("l1", "l2", "l31", neighbors=[one.socket("l1")])
    kind = {"term": "compute", "scheme": "http://example.org/infra#", "location": "/compute/",
            "attributes": {"compute": {"cores": {"type": "Number"}}}}  # fmt: skip
    two.ok("POST", "/-/", {"kinds": [kind]})
    wait_until(lambda: two.member in one.known(), what="they know each other")
    return one, two


def ask(one: Broker, operation: Any, wait: float = 10, **attributes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Send content to all, and wait; the only entry of the ledger, and the message's attributes."""
    path = one.message("l2", operation, **attributes)
    report = one.send(path, "l2", wait=wait)
    return report["deliveries"][0], one.attributes(path, "message")


def create(id: str, cores: int = 4) -> dict[str, Any]:
    """The operation that makes a compute."""
    return {"operation": "create", "target": "/compute/", "id": id, "attributes": {"compute.cores": cores}}


def test_what_is_allowed_is_done(start_broker: Start) -> None:
    """An allowed operation is executed by the receiver; ledger and result of the sender, and the receiver's message, say what
    came of it."""
    one, two = pair(start_broker, "* create compute; * read compute")
    entry, message = ask(one, create("host-1"))
    assert (entry["state"], entry["result"]) == ("executed", {"location": "/compute/host-1"})
    assert (message["state"], message["result"]) == ("executed", {"location": "/compute/host-1"})
    assert two.get("/compute/host-1")["attributes"] == {"compute": {"cores": 4}}
    entry, message = ask(one, {"operation": "read", "target": "/compute/host-1"})
    assert message["result"]["attributes"]["compute"]["cores"] == 4
    received = two.get("/cmbs/message/?attribute=cmbs.message.state&value=received")["X-OCCI-Location"]
    assert len(received) == 2
    assert two.attributes(received[0].removeprefix(two.url), "message")["result"] == {"location": "/compute/host-1"}


def test_what_is_not_allowed_is_refused(start_broker: Start) -> None:
    """Nothing is executed but what a rule allows to this sender; the refusal is in the ledger and does not tell what is there;
    content that is not an operation, or is not executable, is just delivered."""
    one, two = pair(start_broker, f"{'0' * 8} create compute; * read compute")
    for operation in (
        create("host-1"),
        {"operation": "delete", "target": f"/cmbs/member/{two.member}"},
        {"operation": "read", "target": "/cmbs/member/nobody"},
        {"operation": "no such handler"},
    ):
        entry, message = ask(one, operation)
        assert (entry["state"], message["state"]) == ("failed", "failed")
        assert entry["reason"].startswith("forbidden: ")
        assert message["result"]["error"]["code"] == "forbidden"
    assert two.get("/compute/") == {"X-OCCI-Location": []}
    assert two.member in two.known()
    for content, flags in (("operation", {}), ({"operation": 5}, {}), (create("host-1"), {"executable": "false"})):
        entry, message = ask(one, content, **flags)
        assert (entry["state"], message["state"]) == ("delivered", "delivered")


def test_an_error_of_the_operation_is_the_outcome(start_broker: Start) -> None:
    """What the operation is refused with at the receiver comes back as it is."""
    one, _ = pair(start_broker, "* * compute")
    entry, message = ask(one, {"operation": "read", "target": "/compute/nobody"})
    assert (entry["state"], entry["error"]["code"]) == ("failed", "unknown-entity")
    assert message["result"]["error"]["location"] == "/compute/nobody"
    entry, _ = ask(one, {**create("host-1"), "attributes": {"compute.cores": "many"}})
    assert entry["error"]["attribute"] == "compute.cores"


def test_operations_of_a_sender_are_done_in_order(start_broker: Start) -> None:
    """Create, update and delete of one entity, sent without waiting, are executed in that order, many times."""
    one, two = pair(start_broker, "* * compute")
    paths = []
    for number in range(12):
        update = {"operation": "update", "target": "/compute/x", "attributes": {"compute.cores": number}}
        for operation in (create("x"), update, {"operation": "delete", "target": "/compute/x"}):
            paths.append(one.message("l2", operation))
            one.ok("POST", f"{paths[-1]}?action=send_l2", {})
    wait_until(
        lambda: all(one.attributes(path, "message")["state"] != "sending" for path in paths), 30, "all are settled"
    )
    assert {one.attributes(path, "message")["state"] for path in paths} == {"executed"}
    assert two.get("/compute/") == {"X-OCCI-Location": []}


def test_l1_returns_handshake_and_outcome(start_broker: Start) -> None:
    """The result of L1 is the receiver's introduction, as ever, and beside it the outcome."""
    one, two = pair(start_broker, "* create compute")
    path = one.message("l1", create("host-1"), l1_socket_receiver_member=two.socket("l1"))
    assert one.send(path, "l1")["state"] == "executed"
    result = one.attributes(path, "message")["result"]
    assert result["member_description"]["id"] == two.member
    assert result["outcome"] == {"result": {"location": "/compute/host-1"}}


def test_handlers(start_broker: Start) -> None:
    """A handler gets the operation and its sender, and returns JSON; one that raises, crashes, hangs or returns nonsense is an
    error in the sender's ledger, and the broker goes on."""
    one, two = pair(start_broker, "* *; * * compute", *HANDLERS)
    engine = two.pid("engine")
    entry, message = ask(one, {"operation": "echo", "target": "/rack/7", "attributes": {"slot": 3}})
    assert message["result"] == {
        "target": "/rack/7", "attributes": {"slot": 3}, "sender": one.member, "layer": "l2",
    }  # fmt: skip
    for name, code, words in (
        ("raise", "handler-failed", "raised ValueError: the disk is full of eels"),
        ("crash", "handler-failed", "ended its process (exit code 7)"),
        ("segfault", "handler-failed", "ended its process (exit code -11)"),
        ("sleep", "handler-failed", "did not return within 0.5 s, and was killed"),
        ("deaf", "handler-failed", "did not return within 0.5 s, and was killed"),
        ("odd", "handler-failed", "raised"),
        ("huge", "too-large", "its result cannot be returned"),
    ):
        entry, message = ask(one, {"operation": name}, wait=20)
        assert (entry["state"], entry["error"]["code"]) == ("failed", code)
        assert message["result"]["error"] == entry["error"]
        assert words in entry["reason"]
    entry, _ = ask(one, {"operation": "echo"})
    assert entry["state"] == "executed"
    assert two.pid("engine") == engine


def test_what_members_have_executed_is_in_the_audit_log(start_broker: Start) -> None:
    """Changes, handlers and refusals, with who, what and on what, users or not; neither readings nor what was sent."""
    one, two = pair(start_broker, "* create compute; * read compute; * echo; * raise", *HANDLERS)
    for operation in (
        create("host-1"),
        {"operation": "read", "target": "/compute/host-1"},
        create("host-1"),
        {"operation": "echo", "target": "/rack/7", "attributes": {"word": "sesame"}},
        {"operation": "raise"},
        {"operation": "delete", "target": "/compute/host-1"},
        {"operation": "act", "action": "http://example.org/infra/compute/action#stop", "target": "/compute/host-1"},
        {"operation": "shout", "target": "x" * 5000},
    ):
        ask(one, operation)
    text = (two.home / "audit.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {(line["subject"], line["via"]) for line in lines} == {(one.member, "message")}
    assert all(line["request"] and line["time"] for line in lines)
    assert [(line["operation"], line.get("path", "")[:1000], line.get("code", "")) for line in lines] == [
        ("create", "/compute/", ""),
        ("create", "/compute/", "duplicate-id"),
        ("echo", "/rack/7", ""),
        ("raise", "", "handler-failed"),
        ("delete", "/compute/host-1", "forbidden"),
        ("act:http://example.org/infra/compute/action#stop", "/compute/host-1", "forbidden"),
        ("shout", "x" * 1000, "forbidden"),
    ]
    assert "sesame" not in text
    assert not (one.home / "audit.log").exists()


def test_a_slow_handler_holds_up_nobody(start_broker: Start, tmp_path: Path) -> None:
    """While a handler runs, other messages of the same sender are delivered and executed."""
    one, _ = pair(start_broker, "* *; * * compute", *HANDLERS)
    file = tmp_path / "slow"
    slow = one.message("l2", {"operation": "linger", "target": str(file)})
    one.ok("POST", f"{slow}?action=send_l2", {})
    wait_until(file.exists, what="the handler runs")
    entry = one.attributes(slow, "message")["deliveries"][0]
    assert (entry["state"], one.attributes(slow, "message")["state"]) == ("delivered", "sending")
    assert ask(one, create("host-1"))[0]["state"] == "executed"
    assert ask(one, "text")[0]["state"] == "delivered"
    file.with_suffix(".go").touch()
    wait_until(lambda: one.attributes(slow, "message")["state"] == "executed", what="the slow one is done")


def test_an_outcome_that_never_comes(start_broker: Start, tmp_path: Path) -> None:
    """At the deadline a recipient that still executes is settled as delivered, and the ledger says what is missing."""
    one, _ = pair(start_broker, "* *; * * compute", *HANDLERS)
    file = tmp_path / "slow"
    entry, message = ask(one, {"operation": "linger", "target": str(file)}, deadline=1.5)
    assert (entry["state"], message["state"]) == ("delivered", "delivered")
    assert "no outcome" in entry["reason"]
    file.with_suffix(".go").touch()


def test_execute_runs_the_same_here(start_broker: Start) -> None:
    """?action=execute performs a stored message's operation, or calls its handler, for a client of this broker, whatever allow
    says to others."""
    one = start_broker(*FAST, *HANDLERS)
    path = one.message("l2", {"operation": "echo", "target": "/x"})
    assert one.ok("POST", f"{path}?action=execute", {})["result"]["target"] == "/x"
    assert one.attributes(path, "message")["result"]["target"] == "/x"
    refusal(one.request("POST", f"{one.message('l2', {'operation': 'crash'})}?action=execute"), 502, "handler-failed")
    refusal(
        one.request("POST", f"{one.message('l2', {'operation': 'fly'})}?action=execute"), 400, "invalid-request", "fly"
    )
    no = one.message("l2", {"operation": "echo"}, executable="false")
    refusal(one.request("POST", f"{no}?action=execute"), 409, "not-executable")


def test_a_handler_does_not_get_the_settings(start_broker: Start) -> None:
    """What the broker was told in variables, its store's password among it, is in no environment that a handler can see."""
    secret = "tcp://127.0.0.1:4711"
    one = start_broker(*FAST, *HANDLERS, environ={"PYCMBS_LISTEN_AT": f"{secret}=tcp://127.0.0.1:4712"})
    path = one.message("l2", {"operation": "environment", "target": secret})
    assert one.ok("POST", f"{path}?action=execute", {})["result"] == []


@pytest.mark.parametrize("seed", range(5))
def test_sigkill_between_acceptance_and_outcome(start_broker: Start, seed: int) -> None:
    """Whenever the receiver's or the sender's engine is killed, every operation has its effect once, and its outcome is told:
    a create that were run twice would end as duplicate-id."""
    chance = random.Random(seed)
    one, two = pair(start_broker, "* create compute")
    paths = [one.message("l2", create(f"host-{number}")) for number in range(20)]
    for path in paths:
        one.ok("POST", f"{path}?action=send_l2", {})
    time.sleep(chance.random() * 0.2)  # not a wait for anything: the moment of the kill
    for broker in chance.sample([one, two], 1 + seed % 2):
        os.kill(broker.pid("engine"), signal.SIGKILL)
    wait_until(
        lambda: all(one.attributes(path, "message")["state"] == "executed" for path in paths), 60, f"seed {seed}"
    )
    for number, path in enumerate(paths):
        assert one.attributes(path, "message")["result"] == {"location": f"/compute/host-{number}"}
    assert len(two.get("/compute/")["X-OCCI-Location"]) == 20


def gone(pid: int) -> bool:
    """Whether this process has ended, also when no one has noticed yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def interrupt(broker: Broker, how: str) -> None:
    """End the broker's engine, and have another one."""
    if how == "the engine is killed":
        os.kill(broker.pid("engine"), signal.SIGKILL)
    elif how == "the supervisor is killed":
        assert broker.process is not None
        os.kill(broker.process.pid, signal.SIGKILL)
        broker.process.wait(10)
        broker._close()
        broker.start()
    else:
        assert broker.stop() == 0
        broker.start()


@pytest.mark.parametrize("how", ["the engine is killed", "the supervisor is killed", "the broker is stopped"])
@pytest.mark.parametrize(("name", "state"), [("linger-again", "executed"), ("linger", "failed")])
def test_a_handler_that_was_interrupted(start_broker: Start, tmp_path: Path, how: str, name: str, state: str) -> None:
    """However its broker ends, a handler's process ends, too. An idempotent handler is called again; another one is not, and
    the ledger says so."""
    one, two = pair(start_broker, "* *", *HANDLERS)
    file = tmp_path / "runs"

    def runs() -> list[int]:
        return [int(line) for line in file.read_text().split("\n") if line] if file.exists() else []

    path = one.message("l2", {"operation": name, "target": str(file)})
    one.ok("POST", f"{path}?action=send_l2", {})
    wait_until(runs, what="the handler runs")
    first = runs()[0]
    interrupt(two, how)
    wait_until(lambda: gone(first), what="its process has ended")
    if state == "executed":
        wait_until(lambda: len(runs()) == 2, 20, "it is called again")
        file.with_suffix(".go").touch()
    wait_until(lambda: one.attributes(path, "message")["state"] == state, 40, "the end")
    assert len(runs()) == (2 if state == "executed" else 1)
    if state == "failed":
        assert "interrupted" in one.attributes(path, "message")["deliveries"][0]["reason"]


def test_a_wrong_rule_keeps_the_broker_from_starting(tmp_path: Path) -> None:
    """A rule about what is neither an operation nor a handler is shown, with what there is, and the broker exits with 2."""
    command = [sys.executable, "-m", "pycmbs", "serve", "--home", str(tmp_path / "home"), "--port", "0"]
    done = subprocess.run(
        [*command, "--allow", "* raed member"], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 2
    assert "'* raed member'" in done.stderr


def test_a_rule_may_name_a_target_and_a_sender_is_told_what_it_may_call(start_broker: Start, cli: Any) -> None:
    """Of a handler it is allowed for one target, or for some that begin alike; the list has what a sender may call at all, the
    broker's own client is told of all; a sender that may call none is refused."""
    one, two = pair(start_broker, "* echo target=web; * sleep target=job-*", *HANDLERS)
    assert ask(one, {"operation": "echo", "target": "web"})[0]["result"]["target"] == "web"
    for operation in (
        {"operation": "echo", "target": "db"},
        {"operation": "echo"},
        {"operation": "sleep", "target": "jobs"},
    ):
        assert ask(one, operation)[0]["error"]["code"] == "forbidden"
    listed = ask(one, {"operation": "handlers"})[0]["result"]
    assert {name: told["about"] for name, told in listed.items()} == {
        "echo": "Answers what it was asked.",
        "sleep": "Takes too long.",
    }
    assert listed["sleep"] == {"about": "Takes too long.", "deadline": 0.5, "idempotent": False}
    assert "crash" in cli("handlers", "--home", str(two.home), "-o", "value")
    assert set(cli("handlers", two.member, "--home", str(one.home), "-o", "value").split()) == {"echo", "sleep"}
    assert ask(two, {"operation": "handlers"})[0]["error"]["code"] == "forbidden"


@pytest.fixture
def cli() -> Callable[..., str]:
    """What a command prints."""

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "pycmbs", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True).stdout

    return run


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--allow", "a echo web", *HANDLERS), "have no kind"),
        (("--allow", "* ecko", *HANDLERS), "neither an operation nor a handler"),
        (("--allow", "* read member target=x"), "must be rules"),
        (("--handlers", "json"), "has none"),
    ],
)
def test_what_cannot_be_called_or_allowed_keeps_a_broker_from_starting(
    tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    """With a sentence, and exit code 2."""
    command = [sys.executable, "-m", "pycmbs", "serve", "--home", str(tmp_path / "home"), "--port", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
