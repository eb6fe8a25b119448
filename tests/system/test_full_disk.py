"""A full disk has a way out: reading, deleting and starting go on, and nothing new is taken in until there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Broker, free_socket, refusal, wait_until

Start = Callable[..., Broker]
MEGABYTE = 1_048_576
CMBS = "http://houssem.org/cmbs#"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all space there is; the file that does."""
    file = disk / "other"
    with file.open("wb", buffering=0) as stream:
        for size in (MEGABYTE, 4096, 1):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError:
                pass
    return file


def test_a_full_disk_can_be_read_deleted_from_and_started_on(start_broker: Start, disk: Path, tmp_path: Path) -> None:
    """Another program fills the disk: POST is a 503, GET and DELETE go on, also after a kill; with room all does."""
    home = tmp_path / "broker-0"
    home.symlink_to(disk / "home")
    (disk / "home").mkdir()
    broker = start_broker("--workers", "1", "--least-free", str(4 * MEGABYTE))
    broker.become("l1")
    paths = [broker.message("l1", "x" * 1000, l1_socket_receiver_member=free_socket()) for _ in range(30)]
    entity = {
        "kind": f"{CMBS}message",
        "mixins": [f"{CMBS}l1"],
        "attributes": {"cmbs.message.message_content": "y" * 20000},
    }
    other = fill(disk)

    def refused() -> bool:
        answer = broker.request("POST", "/cmbs/message/", {"resources": [entity]})
        return answer.status_code == 503

    wait_until(refused, 20, "a POST is refused")  # what the log has room for already is taken in
    for path in paths[:10]:
        broker.ok("DELETE", path)
    refusal(broker.request("POST", "/cmbs/message/", {"resources": [entity]}), 503, "store-unavailable", "disk is full")
    assert broker.get(paths[10])
    broker.kill()
    broker.start()
    assert broker.get(paths[10])
    broker.ok("DELETE", paths[10])
    refusal(broker.request("POST", "/cmbs/message/", {"resources": [entity]}), 503, "store-unavailable")
    other.unlink()
    wait_until(lambda: not refused(), 20, "what is new is taken in again")
    assert broker.stop() == 0
