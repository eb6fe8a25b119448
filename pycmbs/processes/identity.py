"""The home's identity, by which a store belongs to it; a copied home does not share it."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from pathlib import Path

from pycmbs.config import Settings
from pycmbs.services.records.node import Node

_FILE = "node"


def this_node(settings: Settings) -> Node:
    """The broker of this home, as a process that its supervisor started sees it."""
    supervisor = os.getppid()
    return Node(
        identity=_identity(settings.home / _FILE),
        life=f"{_word('/proc/sys/kernel/random/boot_id', 0)}:{supervisor}:{_word(f'/proc/{supervisor}/stat', 21)}",
        home=str(settings.home),
        host=socket.gethostname(),
        pid=supervisor,
    )


def forget(settings: Settings) -> None:
    """Give the home a new identity: another home has the same one, so one is a copy of the other."""
    (settings.home / _FILE).unlink(missing_ok=True)


def _identity(path: Path) -> str:
    """What is in the file, if that is where it was written; a new one else. Of a copy the inode is another."""
    with contextlib.suppress(OSError, ValueError):
        status = path.stat()
        identity, inode = path.read_text(encoding="ascii").split()
        if inode == f"{status.st_dev}:{status.st_ino}":
            return identity
    identity = uuid.uuid4().hex
    new = path.with_suffix(".new")
    with contextlib.suppress(OSError), new.open("w", encoding="ascii") as file:  # a full disk: it has one for this run
        status = os.fstat(file.fileno())
        file.write(f"{identity} {status.st_dev}:{status.st_ino}\n")
        file.flush()
        os.fsync(file.fileno())
        new.rename(path)
    return identity


def _word(path: str, number: int) -> str:
    """One of the words of a file of /proc, counted behind a name in brackets that may hold anything."""
    try:
        text = Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    head, _, tail = text.rpartition(")")
    words = [*(["", ""] if head else []), *tail.split()]
    return words[number] if number < len(words) else ""
