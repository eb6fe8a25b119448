"""One child process of the supervisor: starts it, watches its readiness and heartbeats, restarts it with pauses."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

import pycmbs
from pycmbs.processes.child import BEAT_SECONDS, READY, VARIABLE, Child, process_name


class Slot:
    """The place of one child. ``process`` is None before the first start and between a death and the next start."""

    READY_DEADLINE = 20.0  # seconds from its start until a child must be ready
    BACKOFF_FIRST = 0.1  # seconds until a child that died is started again …
    BACKOFF_MOST = 5.0  # … doubled each time up to this …
    HEALTHY = 10.0  # … unless it ran this long
    MOST_SILENT = (
        10  # looks in a row, one every BEAT_SECONDS, without a heartbeat: then a child that serves counts as hung
    )

    def __init__(self, role: str, index: int, command: Sequence[str]) -> None:
        self.role = role
        self.index = index
        self.name = process_name(role, index)
        self.command = list(command)
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self.said = b""  # what came through the ready pipe so far
        self.ready_fd = -1
        self.started_at = 0.0
        self.restarts = -1  # how often it was started after the first time
        self.restart_at: float | None = None
        self.told: signal.Signals | None = None  # the last signal sent to this process
        self._backoff = self.BACKOFF_FIRST
        self._silent = 0  # looks in a row without a heartbeat
        self._looked_at = 0.0

    def start(self, orders: Child) -> None:
        """Start the process with ``orders``, its ready pipe filled in; read ``ready_fd`` from here on.

        Raises OSError when the system cannot start one now.
        """
        self.ready, self.said, self.restart_at, self.told = False, b"", None, None
        self.started_at = self._looked_at = time.monotonic()
        self._silent = 0
        self.restarts += 1
        self.ready_fd, child_end = os.pipe()
        os.set_blocking(self.ready_fd, False)
        orders = dataclasses.replace(orders, role=self.role, index=self.index, ready_fd=child_end)
        orders_fd = orders.orders()
        # Blocked until the child ignores it: Ctrl-C reaches the whole group, and stopping is the supervisor's business.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process = subprocess.Popen(  # noqa: S603 -- our own command lines
                self.command,
                env={**_environment(), VARIABLE: str(orders_fd)},
                stdin=subprocess.DEVNULL,
                stdout=2,  # standard output carries the start line and nothing else
                pass_fds=(child_end, orders_fd, orders.lifeline_fd, orders.lock_fd),
            )
        except OSError:
            self.close_pipe()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            os.close(child_end)
            os.close(orders_fd)

    def listen(self) -> bool:
        """Read what the child says through its ready pipe; whether that made it ready. Closes the pipe at its end."""
        if self.ready_fd < 0:
            return False
        try:
            piece = os.read(self.ready_fd, 4096)
        except BlockingIOError:
            return False
        if not piece:
            self.close_pipe()
        self._silent, self._looked_at = 0, time.monotonic()
        if self.ready:
            return False  # a heartbeat
        self.said += piece
        self.ready = self.said.startswith(READY)
        return self.ready

    def look(self) -> bool:
        """Whether the child no longer serves, though its process exists. To be asked at :attr:`look_at`.

        What counts is how often the supervisor looked, and not what its clock says: when all of the broker was stopped for a
        while, or had no time, no child counts as silent."""
        self._silent, self._looked_at = self._silent + 1, time.monotonic()
        return self._silent >= self.MOST_SILENT

    @property
    def look_at(self) -> float | None:
        """When to look whether a child that serves has fallen silent, on the monotonic clock."""
        if self.process is None or not self.ready or self.told is signal.SIGKILL:
            return None
        return self._looked_at + BEAT_SECONDS

    @property
    def reason(self) -> str:
        """The sentence by which the child said that it will never serve, or nothing."""
        return "" if self.ready else self.said.decode("utf-8", "replace")

    def died(self) -> int | None:
        """The exit code of a child that is gone, negative for a signal; None while it runs. The slot is free then."""
        code = self.process.poll() if self.process else None
        if code is None:
            return None
        heard = -1
        while heard < len(self.said):  # its last words may still be in the pipe
            heard = len(self.said)
            self.listen()
        self.close_pipe()
        self.process = None
        return code

    def schedule(self) -> float:
        """Plan the next start; the seconds until then."""
        now = time.monotonic()
        if now - self.started_at >= self.HEALTHY:
            self._backoff = self.BACKOFF_FIRST
        pause, self._backoff = self._backoff, min(self._backoff * 2, self.BACKOFF_MOST)
        self.restart_at = now + pause
        return pause

    @property
    def late_at(self) -> float | None:
        """When a child that still is not ready counts as hung, on the monotonic clock."""
        if self.process is None or self.ready or self.told is signal.SIGKILL:
            return None
        return self.started_at + self.READY_DEADLINE

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal, should there be one. All but SIGHUP ask it to stop."""
        if number is not signal.SIGHUP:
            self.told = number
        if self.process:
            self.process.send_signal(number)

    def close_pipe(self) -> None:
        """Close this end of the ready pipe."""
        if self.ready_fd >= 0:
            os.close(self.ready_fd)
            self.ready_fd = -1


def describe_exit(code: int) -> str:
    """How a process ended, in words, from what :meth:`Slot.died` returned."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _is_ours(name: str) -> bool:
    """Whether a variable is for the supervisor only: settings, which children get with their orders and handlers not at all,
    who watches it, and what makes an end of a warning."""
    return name.startswith("PYCMBS_") or name in ("PYTHONWARNINGS", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


def _environment() -> dict[str, str]:
    """The environment for children: this very package is found there too, also when run from a checkout."""
    root = str(Path(pycmbs.__file__).parent.parent)
    environment = {name: value for name, value in os.environ.items() if not _is_ours(name)}
    if root not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
    return environment
