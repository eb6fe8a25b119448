"""A bad network between brokers: a TCP proxy that drops, delays, doubles, reorders, cuts, slows, holds and refuses.

A member advertises :attr:`Proxy.url` and binds elsewhere (the setting ``listen_at``). The proxy understands as much of ZMTP 3
as it takes to find where messages begin and end: a greeting of 64 bytes, then frames of a byte of flags, a size and a body.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
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
_PORTION = 2048
"""Bytes that pass at once where there is a rate or something is held: so soon a change of the faults is felt."""
THERE, BACK = "there", "back"
"""The directions of a connection: from the one that made it to the proxy's target, and the other way."""


@dataclass(frozen=True)
class Faults:
    """What happens to a message, in either direction: the first five are probabilities from 0 to 1."""

    drop: float = 0.0
    delay: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    cut: float = 0.0
    """The connection ends in the middle of the message."""
    rate: float = 0.0
    """Bytes a second, in each direction of a connection; 0: as many as there are."""
    held: tuple[str, ...] = ()
    """Directions in which nothing passes. Nothing of it is lost: it goes on once they are none."""
    refuse: bool = False
    """Who connects is sent away at once. What is connected stays, but for :meth:`Proxy.reset`."""


class Proxy:
    """Forwards connections to a target, badly.

    ``faults`` is what happens, to all alike or to a connection of this session (a broker is one; 0 when it is not known).
    ``allow`` says who may connect: a collection of process ids, of which the sessions' other processes are let in, too, or a
    function of the process id. ``done`` counts the faults that happened.
    """

    def __init__(
        self,
        target: str,
        faults: Faults | Callable[[int], Faults] | None = None,
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
        self._open: dict[socket.socket, int] = {}
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sessions(self) -> set[int]:
        """Whose connections are open here: also those that ended, while something of them is on its way."""
        with self._lock:
            return set(self._open.values())

    def cut(self) -> None:
        """Break all connections, and let no one in until :meth:`heal`."""
        self._cut = True
        self._break(lambda _: True, _end)

    def heal(self) -> None:
        """Let them in again."""
        self._cut = False

    def reset(self, session: int) -> None:
        """End the connections of this session as a firewall does that forgot them: by RST."""
        self._break(lambda who: who == session, _reset)

    def close(self) -> None:
        """End it all."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _break(self, whose: Callable[[int], bool], end: Callable[[socket.socket], None]) -> None:
        with self._lock:
            broken = [one for one, session in self._open.items() if whose(session)]
            for one in broken:
                del self._open[one]
        for one in broken:
            end(one)

    def _accept(self) -> None:
        while True:
            try:
                client, (_, port) = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client, port), daemon=True).start()

    def _allowed(self, pid: int | None) -> bool:
        allow = self.allow  # the test may change it meanwhile
        if allow is None:
            return True
        if callable(allow):
            return pid is not None and allow(pid)
        return pid is not None and bool({pid, _session(pid)} & set(allow))

    def _of(self, who: int) -> Faults:
        """What happens to a session's connections just now."""
        faults = self.faults
        return faults(who) if callable(faults) else faults

    def _connect(self, client: socket.socket, port: int) -> None:
        pid = None if self.allow is None and not callable(self.faults) else owner(port)
        who = _session(pid) if pid is not None else 0
        if self._cut or not self._allowed(pid) or self._of(who).refuse:
            self.done["refused"] += 1
            _end(client)
            return
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            _end(client)
            return
        with self._lock:
            self._open |= {client: who, server: who}
        if self._cut:
            self.cut()
        for source, sink, direction in ((client, server, THERE), (server, client, BACK)):
            with self._lock:
                chance = random.Random(self._chance.random())
            pump = _Pump(source, sink, direction, chance, lambda: self._of(who), self.done)
            threading.Thread(target=self._run, args=(pump,), daemon=True).start()

    def _run(self, pump: _Pump) -> None:
        with contextlib.suppress(OSError):  # a connection that ends, ends, maybe before it began
            pump.run()
        with self._lock:
            self._open.pop(pump.source, None)
            self._open.pop(pump.sink, None)
        _end(pump.source)
        _end(pump.sink)


@dataclass
class _Pump:
    """One direction of a connection."""

    source: socket.socket
    sink: socket.socket
    direction: str
    chance: random.Random
    faults: Callable[[], Faults]
    done: Counter[str]

    def run(self) -> None:
        """Forward until the connection ends. Raises OSError then, but for one that is cut here."""
        for one in (self.source, self.sink):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.source.settimeout(_TURN)
        stream = _Stream(self.source)
        for _ in range(_GREETING):  # as it comes: the rest of it waits for the other side's beginning
            self._pass(stream.exactly(1))
        held = b""
        while True:
            if held and not stream.waiting():
                self._pass(held)
                held = b""
            message, command = stream.message()
            if command:
                self._pass(message)
                continue
            what = self._fate()
            if what == "cut":
                self._pass(message[: len(message) // 2])
                return
            if what == "reorder" and not held:
                held = message
                continue
            if what == "delay":
                time.sleep(self.chance.random() * 0.1)  # this is the fault, not a wait
            self._pass(b"" if what == "drop" else message * 2 if what == "duplicate" else message)
            self._pass(held)
            held = b""

    def _fate(self) -> str:
        faults = self.faults()
        for name in ("drop", "delay", "duplicate", "reorder", "cut"):
            if self.chance.random() < getattr(faults, name):
                self.done[name] += 1
                return name
        return ""

    def _pass(self, data: bytes) -> None:
        """Send it on, as fast as it may."""
        while data:
            faults = self.faults()
            if self.direction in faults.held:
                self.done["held"] += 1
                time.sleep(_TURN)  # this is the fault, not a wait
                continue
            portion = data[:_PORTION] if faults.rate else data
            data = data[len(portion) :]
            self.sink.sendall(portion)
            if faults.rate:
                self.done["slowed"] += 1
                time.sleep(len(portion) / faults.rate)  # this is the fault, not a wait


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


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def owner(port: int) -> int | None:
    """The process whose TCP connection has this local port on 127.0.0.1; None when there is none that may be seen."""
    inode = ""
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[9] != "0":
            inode = f"socket:[{fields[9]}]"
    if not inode:
        return None
    for process in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - several times as fast, and there are many
        with contextlib.suppress(OSError):
            folder = f"/proc/{process}/fd"
            if any(_link(f"{folder}/{one}") == inode for one in os.listdir(folder)):  # noqa: PTH208
                return int(process)
    return None


def _link(path: str) -> str:
    with contextlib.suppress(OSError):  # closed meanwhile
        return os.readlink(path)  # noqa: PTH115
    return ""


def _session(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return 0
