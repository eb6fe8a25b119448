"""What commands print, and what their exit codes say."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pycmbs.cli import main
from pycmbs.cli.tree import COMMANDS
from pycmbs.client import Client
from tests.cli.conftest import Run, join
from tests.harness import ROOT, Broker, free_port, wait_until

NAMES = [name for group in COMMANDS.values() for name in group]


def received(broker: Broker, id: str) -> Any:
    """The content of a message at who received it."""
    with Client(broker.url) as client:
        return client.message(id).content


def count(home: Path) -> int:
    """How many messages there are."""
    with Client(home=home) as client:
        return len(client.messages(number=1000))


def test_an_alert_by_topic_says_who_got_it_and_why(sites: dict[str, Broker], paris: Path, run: Run) -> None:
    """Exactly the subscribers, in JSON and in a table; the exit code is 0 when all have it."""
    done = run("pub", "network.link", '{"event": "link-down"}', "--wait", "20", "--home", str(paris), "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["state"] == "delivered"
    assert [(row["member"], row["state"]) for row in said["deliveries"]] == [("rome", "delivered")]
    assert received(sites["rome"], said["id"]) == {"event": "link-down"}
    table = run("pub", "network.link", "1", "--wait", "20", "--home", str(paris))
    assert table.returncode == 0
    head, titles, row, end = table.stdout.splitlines()
    assert head.split()[1:] == ["l3.2", "network.link"]
    assert titles.split() == ["MEMBER", "STATE", "TRIES", "WHY", "REASON"]
    assert row.split()[:2] == ["rome", "delivered"]
    assert end == "1 of 1 delivered"


@pytest.mark.parametrize(
    ("body", "given", "content"),
    [
        ('{"x": [1, null, "é"]}', None, {"x": [1, None, "é"]}),
        ("no JSON: {", None, "no JSON: {"),
        ("NaN", None, "NaN"),
        ("-", "hi\n", "hi"),
        ("-", '{"x": 1}\n', {"x": 1}),
        ("@body.txt", None, "two\nlines\n"),
        (None, None, None),
    ],
)
def test_a_body_is_json_or_text(
    sites: dict[str, Broker], paris: Path, run: Run, body: str | None, given: str | None, content: Any
) -> None:
    """From the command line, standard input or a file."""
    words = [body] if body is not None else []
    if body == "@body.txt":
        file = paris / "body.txt"
        file.write_text("two\nlines\n", encoding="utf-8")
        words = [f"@{file}"]
    done = run("pub", "network.link", *words, "--wait", "20", "--home", str(paris), "-o", "value", given=given)
    assert (done.returncode, done.stderr) == (0, "")
    assert received(sites["rome"], done.stdout.strip()) == content


def test_a_large_body_passes_and_one_that_is_too_large_is_refused(
    sites: dict[str, Broker], paris: Path, run: Run
) -> None:
    """A megabyte from standard input; then 6 and its sentence."""
    text = "x" * 1_000_000
    done = run("pub", "network.link", "-", "--wait", "30", "--home", str(paris), "-o", "value", given=text)
    assert (done.returncode, done.stderr) == (0, "")
    assert received(sites["rome"], done.stdout.strip()) == text
    for size in (1_100_000, 6_000_000):
        done = run("pub", "network.link", "-", "--home", str(paris), "-o", "json", given="x" * size)
        assert (done.returncode, done.stdout) == (6, "")
        assert json.loads(done.stderr)["code"] == "too-large"


def test_send_and_the_other_layers(sites: dict[str, Broker], paris: Path, run: Run) -> None:
    """By name, to all, and by both name and topic."""
    del sites
    where = ("--wait", "20", "--home", str(paris), "-o", "json")
    for words, layer, members in (
        (("send", "rome", "oslo", "hello"), "l31", ["oslo", "rome"]),
        (("send", "--all", "hello"), "l2", ["oslo", "rome"]),
        (("pub", "storage.disk", "1", "--to", "oslo"), "l4", ["oslo"]),
    ):
        done = run(*words, *where)
        assert done.returncode == 0, done
        said = json.loads(done.stdout)
        assert (said["layer"], sorted(row["member"] for row in said["deliveries"])) == (layer, members)
    assert run("send", "rome", "--home", str(paris)).returncode == 2
    assert run("send", "nobody", "x", *where).returncode == 3


def test_a_dry_run_tells_and_stores_nothing(paris: Path, run: Run) -> None:
    """Who and why; 4 if it were for no one."""
    before = count(paris)
    done = run("pub", "network.link", "1", "--dry-run", "--home", str(paris), "-o", "json")
    assert [one["member"] for one in json.loads(done.stdout)["recipients"]] == ["rome"]
    assert "by" not in run("pub", "network.link", "--dry-run", "--home", str(paris), "-q").stdout
    assert run("pub", "nobody.here", "--dry-run", "--home", str(paris)).returncode == 4
    assert count(paris) == before


def test_who_is_not_there_and_what_is_not_there_has_a_code(paris: Path, run: Run) -> None:
    """4 for no one; 6 for what the broker refuses; 2 for what is not a command; 7, within 2 s, for no broker."""
    home = ("--home", str(paris))
    assert run("pub", "nobody.here", "1", *home).returncode == 4
    assert run("show", "nosuch", *home).returncode == 6
    assert run("ping", "nosuch", *home).returncode == 6
    assert run("members", "nosuch", *home).returncode == 6
    assert run("pub", "a..b", "1", *home).returncode == 6
    assert run("pub", "network.link", "1", "--nosuch", *home).returncode == 2
    assert run("members", "--home", str(paris / "nosuch")).returncode == 7
    began = time.monotonic()
    assert run("members", "--url", f"http://127.0.0.1:{free_port()}").returncode == 7
    assert time.monotonic() - began < 10  # two, on a machine that is idle


@pytest.mark.parametrize(
    "words",
    [
        ("show", "nosuch"),
        ("ledger", "nosuch"),
        ("members", "nosuch"),
        ("ping", "nosuch"),
        ("rm", "nosuch"),
        ("resend", "nosuch"),
        ("ls", "--state", "nosuch"),
        ("sub", "no..topic"),
        ("request", "nosuch", "list", "/"),
    ],
)
def test_with_json_a_failure_is_one_object_on_standard_error(paris: Path, run: Run, words: tuple[str, ...]) -> None:
    """With its code, and nothing on standard output."""
    done = run(*words, "--home", str(paris), "-o", "json")
    if words[0] == "ls":  # a state that nothing is in
        assert (done.returncode, json.loads(done.stdout)) == (0, [])
        return
    assert done.returncode in (3, 6)
    assert done.stdout == ""
    assert json.loads(done.stderr)["code"]
    assert json.loads(done.stderr)["error"]["message"]


def test_members_ls_show_and_ledger(sites: dict[str, Broker], paris: Path, run: Run) -> None:
    """All parse as JSON, and name what they are about."""
    del sites
    home = ("--home", str(paris))
    id = run("pub", "network.link", '"\\u001b[31mred"', "--wait", "20", *home, "-o", "value").stdout.strip()
    members = json.loads(run("members", *home, "-o", "json").stdout)
    assert [one["id"] for one in members] == ["paris", "oslo", "rome"]
    assert members[0]["listening"] == ["l1", "l2", "l31", "l32", "l4"]
    assert run("members", *home, "-o", "value").stdout.split() == ["paris", "oslo", "rome"]
    listed = [json.loads(line) for line in run("ls", *home, "-o", "jsonl", "--number", "1000").stdout.splitlines()]
    assert id == listed[0]["id"]
    assert id == run("ls", *home, "-o", "value", "--oldest", "--number", "1000").stdout.split()[-1]
    assert json.loads(run("show", id, *home, "-o", "json").stdout)["message_content"] == "\x1b[31mred"
    assert json.loads(run("ledger", id, *home, "-o", "json").stdout)["deliveries"][0]["member"] == "rome"
    assert "\x1b" not in run("ls", *home, "--number", "1000", NO_COLOR="1").stdout
    assert run("rm", id, *home).returncode == 0
    assert run("show", id, *home).returncode == 6


def test_a_request_prints_the_result_and_nothing_else(sites: dict[str, Broker], paris: Path, run: Run) -> None:
    """What is refused elsewhere is 3, and the reason on standard error."""
    del sites
    home = ("--home", str(paris))
    done = run("request", "rome", "list", "/cmbs/message/", "--wait", "20", *home)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(json.loads(done.stdout)) == ["locations"]
    refused = run("request", "rome", "delete", "/cmbs/message/x", "--wait", "20", *home)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "may not" in refused.stderr
    refused = run("request", "rome", "delete", "/cmbs/message/x", "--wait", "20", *home, "-o", "json")
    assert json.loads(refused.stderr)["error"]["code"] == "forbidden"
    assert run("request", "rome", "list", "/", "no-pair", *home).returncode == 2


def test_the_curl_calls_do_what_the_command_does(sites: dict[str, Broker], paris: Path, run: Run) -> None:
    """And printing them does nothing."""
    before = count(paris)
    done = run("pub", "network.link", '{"it\'s": "$HOME `x`"}', "--wait", "20", "--home", str(paris), "--curl")
    assert (done.returncode, count(paris)) == (0, before)
    shell = subprocess.run(["sh", "-e"], input=done.stdout, capture_output=True, text=True, timeout=60, check=False)
    assert shell.returncode == 0, shell.stderr
    assert count(paris) == before + 1
    with Client(home=paris) as client:
        (made,) = client.messages(number=1, page=before + 1)
    assert (made.state, made.content) == ("delivered", {"it's": "$HOME `x`"})
    assert received(sites["rome"], made.id) == made.content


def test_ping_and_sub(sites: dict[str, Broker], paris: Path, run: Run) -> None:
    """How long a message takes; and who is interested is told to the others."""
    done = run("ping", "rome", "--wait", "20", "--home", str(paris), "-o", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["ms"] > 0
    assert run("sub", "backup.>", "--home", str(sites["oslo"].home)).returncode == 0

    def reached() -> bool:
        told = run("pub", "backup.done", "1", "--wait", "20", "--home", str(paris), "-o", "json")
        return "oslo" in [row["member"] for row in json.loads(told.stdout)["deliveries"]]

    wait_until(reached, 30)


def test_completion_knows_members(sites: dict[str, Broker], run: Run) -> None:
    """As the shell asks; without a broker there is nothing, and no error."""
    asked = {"_PYCMBS_COMPLETE": "bash_complete", "COMP_WORDS": "pycmbs ping r", "COMP_CWORD": "2"}
    done = run(PYCMBS_URL=sites["paris"].url, **asked)
    assert (done.returncode, done.stdout.split(","), done.stderr) == (0, ["plain", "rome\n"], "")
    done = run(PYCMBS_URL=f"http://127.0.0.1:{free_port()}", **asked)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for shell in ("bash", "zsh", "fish"):
        assert "_PYCMBS_COMPLETE" in run("completion", shell).stdout


def test_a_recipient_that_is_away(start_broker: Callable[..., Broker], run: Run) -> None:
    """5 while it is tried, 3 when its time is over, and 7 when the own broker is away."""
    first, second = start_broker("--workers", "1"), start_broker("--workers", "1")
    socket = join("one", first, [], [])
    join("two", second, [socket], ["t"])
    wait_until(lambda: "two" in first.known(), 20)
    second.kill()
    home = ("--home", str(first.home))
    done = run("pub", "t", "1", "--wait", "0.5", *home, "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (5, "sending")
    assert run("pub", "t", "1", *home).returncode == 0  # who does not wait is told that it is accepted
    assert run("pub", "t", "1", "--deadline", "1", "--wait", "20", *home).returncode == 3
    assert run("request", "two", "list", "/", "--wait", "0.5", *home).returncode == 5
    assert run("ping", "two", "--wait", "0.5", *home).returncode in (3, 5)
    url = first.url
    first.kill()
    assert run("pub", "t", "1", "--wait", "1", "--url", url).returncode == 7


def test_help_has_an_example_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """And the list of all names each."""
    for name in NAMES:
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code in (0, None)
        assert "example" in capsys.readouterr().out, name
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in NAMES)


def test_a_ledger_is_followed_until_nothing_more_comes(sites: dict[str, Broker], paris: Path, run: Run) -> None:
    """A line for each row that is another than before, and the exit code of what came."""
    sent = json.loads(run("send", "--all", "1", "--home", str(paris), "-o", "json").stdout)
    done = run("ledger", sent["id"], "--follow", "--home", str(paris))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == [sent["id"], "delivered"]
    assert {line.split()[0] for line in done.stdout.splitlines() if "delivered" in line} >= {"rome", "oslo"}
    said = json.loads(run("ledger", sent["id"], "--follow", "--home", str(paris), "-o", "json").stdout)
    assert said["state"] == "delivered"
    late = json.loads(run("send", "nobody-there", "1", "--home", str(paris), "-o", "json").stdout)
    assert run("ledger", late["id"], "--follow", "--home", str(paris)).returncode in (3, 4)


def test_on_a_terminal_one_is_told_how_far_it_is(start_broker: Callable[..., Broker]) -> None:
    """On standard error, in one line that is gone in the end; the report, and the exit code, are as without."""
    broker = start_broker("--workers", "1", "--retry-first", "0.2")
    broker.become("l2")
    other = {"local": "false", "l2_socket": f"tcp://127.0.0.1:{free_port()}"}
    broker.ok("POST", "/cmbs/member/", {"id": "away", "attributes": {"cmbs": {"member": other}}})
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "pycmbs", "send", "--all", "x", "--wait", "2", "--url", broker.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, text=True, cwd=ROOT) as process:
        os.close(end)
        said = b""
        with contextlib.suppress(OSError):  # its other end is closed
            while piece := os.read(terminal, 4096):
                said += piece
        assert process.stdout is not None
        report = process.stdout.read()
    os.close(terminal)
    assert process.returncode == 5
    assert b"0/1 delivered" in said
    assert said.endswith(b"\r\x1b[K")
    assert "0 of 1 delivered" in report
