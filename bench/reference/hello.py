"""Bare eventlet WSGI: its server as it comes, and an application that says hello.

``python -m bench.reference.hello [PORT]``
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any

import eventlet.greenio
import eventlet.wsgi

from bench.scenarios import HELLO


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """WSGI."""
    del environ
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(HELLO)))])
    return [HELLO.encode()]


def serve(application: Callable[..., Any], port: int = 0) -> None:
    """Serve on loopback for ever, beside other processes that do on the same port; says on which."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    plain.bind(("127.0.0.1", port))
    plain.listen(1024)
    print(plain.getsockname()[1], flush=True)
    eventlet.wsgi.server(
        eventlet.greenio.GreenSocket(plain), application, log_output=False, debug=False, max_size=10_000
    )


if __name__ == "__main__":
    serve(answer, int(sys.argv[1]) if len(sys.argv) > 1 else 0)
