"""Locks the home and reserves the port before the start."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import socket
import stat
import time
from pathlib import Path

from pycmbs.config import Settings
from pycmbs.errors import ConfigurationError

# A Unix socket's path is limited to 107 bytes; this leaves 16 for the name of a socket in there.
MOST_RUN_DIR_BYTES = 90
# How long the processes of a killed broker may take to go, in seconds, until its home counts as used.
LOCK_SECONDS = 2.0


def lock_home(settings: Settings) -> int:
    """Create the home and its ``run`` directory, both for this user only, and lock the home.

    Returns the descriptor of the lock, which is held as long as any process has it open. Raises ConfigurationError
    when another broker uses this home, it is another user's, or it cannot be used at all.
    """
    if len(os.fsencode(settings.run_dir)) > MOST_RUN_DIR_BYTES:
        raise ConfigurationError(
            f"the home {settings.home} has too long a path for the local sockets in it: "
            f"choose one of at most {MOST_RUN_DIR_BYTES - len('/run')} bytes with --home"
        )
    try:
        for directory in (settings.home, settings.run_dir):
            make_private(directory)
        lock = settings.home / "lock"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"the home {settings.home} cannot be used: {error.strerror}; choose another with --home"
        ) from None
    if not _lock(descriptor):
        sentence = _who_holds(settings.home, descriptor)
        os.close(descriptor)
        raise ConfigurationError(sentence)
    with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def make_private(directory: Path) -> None:
    """Make the directory if it is not there, and have it for this user only. Raises ConfigurationError, OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.stat()
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{directory} belongs to {_user(status.st_uid)}, and a broker's home must be its own user's: "
            "choose another with --home, or start the broker as that user"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        directory.chmod(0o700)


def _user(number: int) -> str:
    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user with the number {number}"


def _who_holds(home: Path, descriptor: int) -> str:
    """Why the home cannot be had, and what to do about it."""
    owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
    if _owner_lives(descriptor) or not (left := _holders(descriptor)):
        return f"another broker already uses the home {home} (pid {owner}): stop it, or choose another home with --home"
    pids = " ".join(map(str, left))
    return (
        f"processes of a broker that was killed still use the home {home} and do not end by themselves: "
        f"end them with kill -9 {pids}, or choose another home with --home"
    )


def _holders(descriptor: int) -> list[int]:
    """The processes that have the lock open, but this one."""
    wanted, found = os.fstat(descriptor), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is gone, or another user's
            if int(process.name) != os.getpid() and any(
                os.path.samestat(wanted, one.stat()) for one in (process / "fd").iterdir()
            ):
                found.append(int(process.name))
    return sorted(found)


def release_home(descriptor: int) -> None:
    """Give the home back: empties the file, so that its process id is not taken for a running broker."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def _lock(descriptor: int) -> bool:
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _owner_lives(descriptor) or time.monotonic() > give_up:
                return False
            time.sleep(0.02)  # its children hold the lock too, and are about to notice that it is gone
        else:
            return True


def _owner_lives(descriptor: int) -> bool:
    owner = os.pread(descriptor, 20, 0).strip()
    if not owner.isdigit():
        return False  # taken this moment, and the pid is not written yet: look again
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # a process of another user
    return not _is_zombie(int(owner))


def _is_zombie(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] == "Z"
        )
    except OSError:
        return False


def reserve_port(host: str, port: int) -> socket.socket:
    """A socket that is bound to the port and never listens: it keeps the port for the front processes.

    They bind beside it with SO_REUSEPORT; port 0 takes a free one, which ``getsockname`` tells.
    Raises ConfigurationError when the address is in use, or cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        # With SO_REUSEPORT alone, two brokers of one user would share a port and each get half of the requests.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not count
            probe.bind((host, port))
        _reserve(reserved, host, port)
    except OSError as error:
        reserved.close()
        raise ConfigurationError(_why_not(error, host, port)) from None
    return reserved


def _reserve(reserved: socket.socket, host: str, port: int) -> None:
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        reserved.bind((host, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # Connections in TIME_WAIT of a server without SO_REUSEPORT. Not asked for at once, as a socket that has
        # it does not show up in the probe of the next broker before its front processes listen.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host, port))


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is already in use: choose another with --port, or stop what listens there"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} needs privileges this user lacks: choose one above 1023 with --port"
    return f"{host} port {port} cannot be listened on: {error.strerror}; choose another with --host"
