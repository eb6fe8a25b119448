"""A site in a line: ``pycmbs serve --member … --listen … --neighbor … --topics …``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.harness import LAYERS, ROOT, Broker, free_port, wait_until


def test_three_lines_are_a_federation(start_broker: Callable[..., Broker]) -> None:
    """Each knows all, alive; each listens on one socket for all layers, also after a kill and a start without the flags."""
    ports = [free_port() for _ in range(3)]
    brokers = []
    for index, name in enumerate(("paris", "rome", "oslo")):
        flags = ["--workers", "1", "--member", name, "--listen", str(ports[index]), "--topics", f"{name}.>, all"]
        if brokers:
            flags += ["--neighbor", f"127.0.0.1:{ports[index - 1]}"]
        brokers.append(start_broker(*flags))
        assert f"member {name}" in brokers[-1].line

    def alive(broker: Broker, members: set[str]) -> bool:
        others = [broker.attributes(f"/cmbs/member/{one}", "member") for one in broker.known()]
        states = [one["health"]["state"] for one in others if one.get("health")]
        return broker.known() == members and states == ["alive"] * (len(members) - 1)

    wait_until(lambda: all(alive(one, {"paris", "rome", "oslo"}) for one in brokers), 30)
    rome = brokers[1]
    rome.kill()
    again = Broker(rome.home, "--workers", "1").start()
    try:
        said = again.attributes("/cmbs/member/rome", "member")
        assert [said[f"{layer}_socket"] for layer in LAYERS] == [f"tcp://127.0.0.1:{ports[1]}"] * 5
        wait_until(lambda: again.attributes("/cmbs/member/rome", "member")["listening"] == list(LAYERS), 20)
        assert said["topics"] == ["rome.>", "all"]
    finally:
        again.stop()


def test_what_no_member_can_be_is_a_sentence_and_code_2(tmp_path: Path) -> None:
    """Nothing is served then."""
    for number, (flags, word) in enumerate(
        (
            (["--listen", "nowhere"], "--listen"),
            (["--listen", "5010"], "--member"),
            (["--member", "a/b"], "--member"),
            (["--member", "rome", "--topics", "a..b"], "a..b"),
            (["--member", "rome", "--preload", "none"], "member"),
        )
    ):
        home = str(tmp_path / f"home-{number}")
        command = [sys.executable, "-m", "pycmbs", "serve", "--home", home, "--port", "0", *flags]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
        assert (done.returncode, done.stdout) == (2, ""), (flags, done)
        assert word in done.stderr, done.stderr
        assert json.dumps(done.stderr).count("\\n") == 1
