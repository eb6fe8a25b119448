"""Starting and stopping: what a user sees who runs a broker from the command line."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.harness import JSON, ROOT, Broker, free_port, free_socket, is_free, wait_until

Start = Callable[..., Broker]


def run(*flags: str, cwd: Path = ROOT) -> tuple[int, str]:
    """A start that must fail: its exit code and its one sentence."""
    command = [sys.executable, "-m", "pycmbs", "serve", *flags]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == ""
    assert done.stderr.startswith("pycmbs: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr


def test_it_is_there_in_no_time(start_broker: Start) -> None:
    """A start takes less than two seconds to its line on an idle machine, and the line says where, which store, who."""
    began = time.monotonic()
    broker = start_broker()
    took = time.monotonic() - began
    print(f"ready after {took:.2f} s")  # noqa: T201 - shown with -s
    assert took < 30, "nor much more on a busy one"
    store = re.sub("//.*@", "//", broker.store_url).partition("?")[0]
    assert f"listening on http://127.0.0.1:{broker.port}/, store {store}, no member yet" in broker.line
    assert broker.get("/-/")["kinds"]
    broker.become()
    broker.stop()
    broker.start()
    assert f"member {broker.member}" in broker.line


def test_start_py_is_the_same(start_broker: Start) -> None:
    """``python start.py`` starts the same broker with the same flags, and stops as it does."""
    broker = start_broker("--workers", "1", "--preload", "none", program=("start.py",))
    assert len(broker.get("/-/")["kinds"]) == 3
    assert broker.stop() == 0


def test_the_environment_and_the_files_count(start_broker: Start, tmp_path: Path) -> None:
    """A setting in a file of --config is in force, an environment variable wins over it, and a flag over that."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "occi_server.conf").write_text("[server]\npreload = none\nworkers = 2\n")
    broker = start_broker("--config", str(tmp_path / "conf"), environ={"PYCMBS_WORKERS": "1", "PYCMBS_PORT": "1"})
    assert len(broker.get("/-/")["kinds"]) == 3
    assert [one["role"] for one in broker.state()["children"]].count("front") == 1


def test_a_port_in_use(tmp_path: Path) -> None:
    """A port someone listens on is one sentence that names it, and exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, said = run("--home", str(tmp_path / "h"), "--port", str(port))
    assert code == 2
    assert f"port {port} on 127.0.0.1 is already in use" in said
    assert "--port" in said


def test_a_port_another_broker_has(shared: Broker, tmp_path: Path) -> None:
    """Two brokers never share a port, nor a home."""
    code, said = run("--home", str(tmp_path / "h"), "--port", str(shared.port))
    assert (code, "already in use" in said) == (2, True)
    code, said = run("--home", str(shared.home), "--port", "0")
    assert (code, str(shared.home) in said) == (2, True)
    assert shared.get("/-/")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"port = 1\n", "line 1"),
        (b"[server]\nmax_body = much\n", "'much'"),
        (b"[server]\nprot = 1\n", "prot"),
        (b"[sever]\nname = 1\n", "[sever]"),
        (b"\xff\xfe[\0", "UTF-8"),
        (None, "directory"),
    ],
)
def test_an_unreadable_configuration(tmp_path: Path, text: bytes | None, named: str) -> None:
    """A configuration that cannot be read is one sentence with file and fault, and exit code 2."""
    file = tmp_path / "occi_server.conf"
    if text is None:
        file.mkdir()
    else:
        file.write_bytes(text)
    code, said = run("--home", str(tmp_path / "h"), "--port", "0", "--config", str(tmp_path))
    assert code == 2
    assert str(file) in said
    assert named in said


@pytest.mark.parametrize("store", ["sqlite:no/such/folder/x.db", "sqlite:text", "oracle:", "memory:", "x"])
def test_a_store_that_cannot_be_opened(tmp_path: Path, store: str) -> None:
    """A store that cannot be opened, is unknown or forgets everything is one sentence that names it, and exit code 2."""
    home = tmp_path / "h"
    home.mkdir()
    (home / "text").write_text("this is no database, and will never be one. " * 100)
    code, said = run("--home", str(home), "--port", "0", "--store", store)
    assert code == 2
    assert store.rpartition(":")[2] in said
    assert (home / "text").read_text().startswith("this is no database")


def test_a_home_that_is_none(tmp_path: Path) -> None:
    """A home that is a file, or has too long a path, is one sentence that names it, and exit code 2."""
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / ("x" * 200)):
        code, said = run("--home", str(home), "--port", "0")
        assert (code, str(home) in said) == (2, True)


def test_a_socket_of_the_member_that_is_taken_at_start(start_broker: Start) -> None:
    """A broker starts although a layer's socket is taken meanwhile, says so by listening, and takes it when it is free."""
    broker = start_broker("--workers", "1")
    broker.become("l1", "l2")
    port = int(broker.socket("l1").rpartition(":")[2])
    broker.stop()
    with socket.create_server(("127.0.0.1", port)):
        broker.start()
        assert broker.attributes(f"/cmbs/member/{broker.member}", "member")["listening"] == ["l2"]
    path = f"/cmbs/member/{broker.member}"
    wait_until(lambda: broker.attributes(path, "member")["listening"] == ["l1", "l2"], 5)


# Stopping


def stopped(broker: Broker, send: Callable[[], None]) -> tuple[int, float]:
    """The exit code, and the seconds it took."""
    assert broker.process is not None
    began = time.monotonic()
    send()
    code = broker.process.wait(10)
    took = time.monotonic() - began
    assert broker.process.stdout is not None
    broker.process.stdout.close()
    return code, took


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C", "SIGINT"])
def test_it_stops_when_told(start_broker: Start, how: str) -> None:
    """SIGTERM, and Ctrl-C, which reaches every process of the group, stop a broker with idle clients within 5 s, code 0."""
    broker = start_broker("--workers", "2")
    broker.become("l1")
    url, process = broker.socket("l1"), broker.process
    assert process is not None
    pids = [one["pid"] for one in broker.state()["children"]]
    send = {
        "SIGTERM": lambda: process.send_signal(signal.SIGTERM),
        "SIGINT": lambda: process.send_signal(signal.SIGINT),
        "Ctrl-C": lambda: os.killpg(process.pid, signal.SIGINT),
    }[how]
    with socket.create_connection(("127.0.0.1", broker.port)) as idle:
        idle.sendall(b"GET /-/ HTTP/1.1\r\n")
        code, took = stopped(broker, send)
    assert code == 0, broker.log()
    assert took < 30, "nor much more on a busy one"
    assert is_free(url)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not (broker.home / "run" / "broker.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_while_requests_are_served(start_broker: Start, number: signal.Signals) -> None:
    """A short request under way is answered, a long one does not hold up the stop: within 5 s, code 0."""
    broker = start_broker("--workers", "1")
    broker.become("l1")
    path = broker.message("l1", "x", l1_socket_receiver_member=free_socket())
    answers: dict[float, int] = {}
    sent = threading.Semaphore(0)

    def send(wait: float) -> None:
        with contextlib.suppress(requests.RequestException):
            body = {"attributes": {"wait": wait}}
            sent.release()
            url = f"{broker.url}{path}?action=send_l1"
            answers[wait] = requests.post(
                url, json=body, headers={"Content-Type": "application/json"}, timeout=30
            ).status_code

    threads = [threading.Thread(target=send, args=(wait,)) for wait in (1, 30)]
    for thread in threads:
        thread.start()
        sent.acquire()
    wait_until(lambda: broker.attributes(path, "message").get("state") == "sending")
    process = broker.process
    assert process is not None
    code, took = stopped(
        broker, lambda: os.killpg(process.pid, number) if number == signal.SIGINT else process.terminate()
    )
    for thread in threads:
        thread.join()
    assert code == 0, broker.log()
    assert took < 30, "nor much more on a busy one"
    assert answers.get(1) == 200


def test_a_client_under_load_is_never_cut_off_within_an_answer(start_broker: Start) -> None:
    """While a broker stops, every request is either answered whole or its connection is closed before an answer began."""
    broker = start_broker("--workers", "2")
    broker.message("l1", "x")
    broken: list[str] = []
    count = [0]

    def read() -> None:
        with requests.Session() as session:
            while True:
                try:
                    answer = session.get(broker.url + "/-/", headers=JSON, timeout=10)
                    answer.json()
                    count[0] += 1
                except requests.ConnectionError:
                    return
                except (requests.RequestException, ValueError) as exc:
                    broken.append(repr(exc))
                    return

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: count[0] >= 100)
    assert broker.stop() == 0
    for thread in threads:
        thread.join()
    assert broken == []


def test_a_home_is_for_its_owner_only(shared: Broker) -> None:
    """The home and its runtime files cannot be entered by other users."""
    assert shared.home.stat().st_mode & 0o077 == 0
    assert (shared.home / "run").stat().st_mode & 0o077 == 0


def test_a_free_port_is_told(start_broker: Start) -> None:
    """--port takes the port that is asked for, and the line says it."""
    port = free_port()
    assert start_broker("--workers", "1", port=port).url == f"http://127.0.0.1:{port}"


def test_a_stopped_broker_leaves_no_process_id(start_broker):
    """After a clean stop no one can take the id in the lock for a broker that runs."""
    broker = start_broker("--workers", "1")
    assert (broker.home / "lock").read_text().strip() == str(broker.process.pid)
    broker.stop()
    assert (broker.home / "lock").read_text() == ""


def test_start_py_without_the_dependencies_says_what_to_do(tmp_path):
    """With a Python that lacks them, and no .venv beside it, start.py ends with one sentence."""
    shutil.copy(ROOT / "start.py", tmp_path)
    (tmp_path / "pycmbs").mkdir()
    (tmp_path / "pycmbs" / "__init__.py").write_text("")
    (tmp_path / "pycmbs" / "cli.py").write_text("import no_such_module_at_all")
    ended = subprocess.run([sys.executable, "-S", tmp_path / "start.py"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "make run" in ended.stderr
    assert "Traceback" not in ended.stderr
