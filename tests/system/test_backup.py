"""Backups of real brokers: taken while they run, restored over whatever is there, refused where they are none."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.harness import JSON, ROOT, Broker, free_socket, on_sqlite
from tests.store.contract import create
from tests.store.sqlite.test_wal import opened

pytestmark = on_sqlite
Start = Callable[..., Broker]
CMBS = "http://houssem.org/cmbs#"


def pycmbs(*arguments: str | Path, home: Path | None = None, cwd: Path = ROOT) -> tuple[int, str]:
    """A command: its code, and all it said. ``home``: the user's home directory."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **({"HOME": str(home)} if home else {})}
    done = subprocess.run(
        [sys.executable, "-m", "pycmbs", *map(str, arguments)], cwd=cwd, env=environ, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def messages(broker: Broker) -> int:
    """How many there are."""
    return len(broker.get("/cmbs/message/")["X-OCCI-Location"])


def filled(broker: Broker, number: int) -> None:
    """Add messages."""
    for _ in range(number):
        broker.message("l1", "x", l1_socket_receiver_member=free_socket())


def test_after_a_clean_stop_the_file_alone_is_the_store(start_broker: Start, tmp_path: Path) -> None:
    """Stop, copy ``pycmbs.db``, serve the copy elsewhere: every message is there."""
    broker = start_broker("--workers", "2")
    filled(broker, 60)
    assert broker.stop() == 0
    assert not (broker.home / "pycmbs.db-wal").exists()
    (tmp_path / "broker-1").mkdir()
    shutil.copy(broker.home / "pycmbs.db", tmp_path / "broker-1")
    assert messages(start_broker("--workers", "1")) == 60


def test_a_backup_is_made_while_the_broker_runs_and_restored_after_a_kill(start_broker: Start, tmp_path: Path) -> None:
    """What was acknowledged before is in it, nothing is refused to four clients meanwhile, and it is put in place whatever a
    kill left."""
    broker = start_broker("--workers", "1")
    broker.become("l1")
    filled(broker, 20)
    refused: list[int] = []
    content = {"cmbs": {"message": {"message_content": "y"}}}
    entity = {"kind": f"{CMBS}message", "mixins": [f"{CMBS}l1"], "attributes": content}
    done = threading.Event()

    def write(number: int) -> None:
        while not done.is_set():
            answer = requests.put(f"{broker.url}/cmbs/message/again-{number}", json=entity, headers=JSON, timeout=30)
            refused.extend([answer.status_code] if answer.status_code >= 300 else [])

    writers = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for writer in writers:
        writer.start()
    file = tmp_path / "backup.db"
    code, said = pycmbs("backup", file, "--home", broker.home)
    done.set()
    for writer in writers:
        writer.join()
    assert (code, refused) == (0, []), said
    assert str(file) in said
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("backup")] == ["backup.db"]
    filled(broker, 10)
    broker.kill()
    code, said = pycmbs("restore", file, "--home", broker.home)
    assert code == 0, said
    broker.start()
    assert messages(broker) in range(20, 25)
    assert f"member {broker.member}" in broker.line
    assert broker.stop() == 0
    (kept,) = broker.home.glob("pycmbs.db-replaced-*[0-9Z+]")
    code, said = pycmbs("store", "check", "--home", broker.home, "--store", f"sqlite:{kept}")
    assert (code, "0 faults" in said) == (0, True), said


def test_a_backup_put_over_the_log_of_a_killed_broker_is_refused(start_broker: Start, tmp_path: Path) -> None:
    """Copied by hand over what a kill left, it would be mixed with the log: code 2, and the way out is said."""
    broker = start_broker("--workers", "1")
    filled(broker, 3)
    assert broker.stop() == 0
    shutil.copy(broker.home / "pycmbs.db", tmp_path / "backup.db")
    broker.start()
    filled(broker, 3)
    assert broker.stop() == 0
    broker.start()
    filled(broker, 3)
    broker.kill()
    assert (broker.home / "pycmbs.db-wal").stat().st_size > 0
    shutil.copy(tmp_path / "backup.db", broker.home / "pycmbs.db")
    code, said = pycmbs("serve", "--home", broker.home, "--port", "0")
    assert (code, "pycmbs restore" in said, said.count("\n")) == (2, True, 1), said
    code, said = pycmbs("restore", tmp_path / "backup.db", "--home", broker.home)
    assert code == 0, said
    broker.start()
    assert messages(broker) == 3


def test_a_running_broker_is_not_restored(start_broker: Start, tmp_path: Path) -> None:
    """Restoring under a broker is refused, and the broker goes on."""
    broker = start_broker("--workers", "1")
    assert pycmbs("backup", tmp_path / "b.db", "--home", broker.home)[0] == 0
    code, said = pycmbs("restore", tmp_path / "b.db", "--home", broker.home)
    assert (code, "already uses the home" in said) == (2, True), said
    filled(broker, 1)


@pytest.mark.parametrize("content", ["nothing", "text", "directory", "empty", "foreign", "truncated", "damaged"])
def test_what_is_no_backup_is_refused_and_nothing_changes(start_broker: Start, tmp_path: Path, content: str) -> None:
    """Whatever FILE is, if it is no whole store: one sentence, code 2, and the store that is there stays."""
    home, file = tmp_path / "broker-0", tmp_path / "file"
    home.mkdir(mode=0o700)
    for path in (home / "pycmbs.db", tmp_path / "whole.db"):
        store = opened(path)
        store.write_batches([[create(f"thing:{n}", body={"text": "y" * 500})] for n in range(200)])
        store.close()
    whole = (tmp_path / "whole.db").read_bytes()
    if content == "text":
        file.write_text("no database\n" * 2000)
    elif content == "directory":
        file.mkdir()
    elif content == "empty":
        file.touch()
    elif content == "foreign":
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE t (x)")
    elif content == "truncated":
        file.write_bytes(whole[: len(whole) // 8192 * 4096])
    elif content == "damaged":
        file.write_bytes(whole[:16384] + b"\xa5" * 20000 + whole[36384:])
    before = (home / "pycmbs.db").read_bytes()
    code, said = pycmbs("restore", file, "--home", home)
    assert (code, said.count("\n"), str(file) in said) == (2, 1, True), said
    assert (home / "pycmbs.db").read_bytes() == before
    assert [one.name for one in home.glob("pycmbs.db*")] == ["pycmbs.db"]


@pytest.mark.parametrize(
    "command", [("store", "backup", "x.db"), ("backup", "x.db"), ("store", "check"), ("store", "stats"), ("store", "compact"),
                ("store", "copy", "sqlite:", "sqlite:other.db"), ("restore", "x.db")]
)  # fmt: skip
def test_a_store_that_is_not_there_is_named_and_nothing_is_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    """No command that reads makes what it was to read: code 2, a sentence, and no file anywhere."""
    user = tmp_path / "user"
    user.mkdir()
    code, said = pycmbs(*command, home=user, cwd=tmp_path)
    assert (code, said.count("\n")) == (2, 1), said
    assert ("x.db" if command[0] == "restore" else str(user / ".pycmbs" / "pycmbs.db")) in said
    assert [one.name for one in tmp_path.rglob("*")] == ["user"]


def test_a_damaged_store_keeps_the_broker_from_starting(start_broker: Start) -> None:
    """What cannot be read is refused at the start, not answered with 503 for ever."""
    broker = start_broker("--workers", "1")
    filled(broker, 50)
    assert broker.stop() == 0
    path = broker.home / "pycmbs.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    code, said = pycmbs("serve", "--home", broker.home, "--port", "0")
    assert (code, said.count("\n"), "pycmbs restore" in said) == (2, 1, True), said
    assert path.read_bytes() == content
    path.write_bytes(b"")
    code, said = pycmbs("serve", "--home", broker.home, "--port", "0")
    assert (code, said.count("\n"), "is empty" in said) == (2, 1, True), said
