"""Tells a service manager (sd_notify) when the broker is ready, reloads or stops."""

from __future__ import annotations

import contextlib
import os
import socket

_VARIABLE = "NOTIFY_SOCKET"


def tell(*states: str) -> None:
    """Tell it, where there is one: systemd's ``Type=notify``, or what else names a socket in this variable. That it does not
    listen is no reason not to serve."""
    name = os.environ.get(_VARIABLE, "")
    if not name.startswith(("/", "@")):
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager,
    ):
        manager.sendto("\n".join(states).encode(), address)
