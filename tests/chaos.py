"""A bad network between brokers: a TCP proxy that drops, delays, doubles, reorders and cuts, and refuses whom it is told to.

A member advertises :attr:`Proxy.url` and binds elsewhere (the setting ``listen_at``). The proxy understands as much of ZMTP 3
as it takes to find where messages begin and end: a greeting of 64 bytes, then frames of a byte of flags, a size and a body.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.harness import free_port

_GREETING = 64
_MORE, _LONG, _COMMAND = 1, 2, 4
_TURN = 0.05
"""Seconds after which a message that was held back goes on alone, when none comes to overtake it."""


@dataclass(frozen=True)
class Faults:
    """What happens to a message, in either direction: each a probability from 0 to 1."""

    drop: float = 0.0
    delay: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    cut: float = 0.0
    """The connection ends in the middle of the message."""


class Proxy:
    """Forwards connections to a target, badly.

    ``allow`` says who may connect: a collection of process ids, of which the sessions' other processes are let in, too (a
    broker is a session), or a function of the process id. ``done`` counts the faults that happened.
    """

    def __init__(
        self,
        target: str,
        faults: Faults | None = None,
        *,
        seed: int = 0,
        allow: Callable[[int], bool] | Collection[int] | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.allow = allow
        self.done: Counter[str] = Counter()
        self._chance = random.Random(seed)
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._cut = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cut(self) -> None:
        """Break all connections, and let nobody in until :meth:`heal`."""
        self._cut = True
        with self._lock:
            broken, self._open = self._open, set()
        for one in broken:
            _end(one)

    def heal(self) -> None:
        """Let them in again."""
        self._cut = False

    def close(self) -> None:
        """End it all."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, (_, port) = self._listener.accept()
            except OSError:
                return
            if self._cut or not self._allowed(port):
                self.done["refused"] += 1
                _end(client)
                continue
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _allowed(self, port: int) -> bool:
        allow = self.allow  # the test may change it meanwhile
        if allow is None:
            return True
        pid = owner(port)
        if callable(allow):
            return pid is not None and allow(pid)
        return pid is not None and bool({pid, _session(pid)} & set(allow))

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            _end(client)
            return
        with self._lock:
            self._open |= {client, server}
        if self._cut:
            self.cut()
        for source, sink in ((client, server), (server, client)):
            with self._lock:
                seed = self._chance.random()
            threading.Thread(target=self._pump, args=(source, sink, random.Random(seed)), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, chance: random.Random) -> None:
        with contextlib.suppress(OSError):  # a connection that ends, ends, maybe before it began
            for one in (source, sink):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            source.settimeout(_TURN)
            stream = _Stream(source)
            for _ in range(_GREETING):  # as it comes: the rest of it waits for the other side's beginning
                sink.sendall(stream.exactly(1))
            held = b""
            while True:
                if held and not stream.waiting():
                    sink.sendall(held)
                    held = b""
                message, command = stream.message()
                if command:
                    sink.sendall(message)
                    continue
                what = self._fate(chance)
                if what == "cut":
                    sink.sendall(message[: len(message) // 2])
                    break
                if what == "reorder" and not held:
                    held = message
                    continue
                if what == "delay":
                    time.sleep(chance.random() * 0.1)  # this is the fault, not a wait
                sink.sendall(b"" if what == "drop" else message * 2 if what == "duplicate" else message)
                sink.sendall(held)
                held = b""
        with self._lock:
            self._open -= {source, sink}
        _end(source)
        _end(sink)

    def _fate(self, chance: random.Random) -> str:
        for name in ("drop", "delay", "duplicate", "reorder", "cut"):
            if chance.random() < getattr(self.faults, name):
                self.done[name] += 1
                return name
        return ""


class _Stream:
    """Bytes of a connection, cut into messages. Raises OSError at the end."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._buffer = bytearray()

    def waiting(self) -> bool:
        """Whether something comes within a turn."""
        if not self._buffer:
            with contextlib.suppress(TimeoutError):
                self._receive()
        return bool(self._buffer)

    def message(self) -> tuple[bytes, bool]:
        """The next message with all its frames, or the next command; and whether it is one."""
        taken = b""
        while True:
            flags = self._peek(1)[0]
            head = 9 if flags & _LONG else 2
            size = int.from_bytes(self._peek(head)[1:head], "big")
            taken += self.exactly(head + size)
            if flags & _COMMAND or not flags & _MORE:
                return taken, bool(flags & _COMMAND)

    def exactly(self, size: int) -> bytes:
        """So many bytes."""
        data = self._peek(size)
        del self._buffer[:size]
        return data

    def _peek(self, size: int) -> bytes:
        while len(self._buffer) < size:
            with contextlib.suppress(TimeoutError):
                self._receive()
        return bytes(self._buffer[:size])

    def _receive(self) -> None:
        data = self._source.recv(65536)
        if not data:
            raise ConnectionError("the connection ended")
        self._buffer += data


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def owner(port: int) -> int | None:
    """The process whose TCP connection has this local port on 127.0.0.1; None when there is none that may be seen."""
    inode = ""
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[9] != "0":
            inode = f"socket:[{fields[9]}]"
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(one.readlink()) == inode for one in (process / "fd").iterdir()):
                return int(process.name)
    return None


def _session(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return 0
