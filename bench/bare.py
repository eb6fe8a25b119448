"""The bare application: what eventlet's WSGI server does per second when nobody does anything behind it.

Same server, same settings and as many processes as the broker's fronts have, with SO_REUSEPORT; it gives fixed answers of
the same size. A body is read and decoded, as every application must. A process of it: ``python -m bench.bare``.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from bench import ROOT
from pycmbs.processes.claims import claim_port

Answers = Mapping[str, tuple[int, str]]
"""Status and body, by path."""


@contextlib.contextmanager
def serving(workers: int, answers: Answers) -> Iterator[int]:
    """A bare application while the context lasts; gives its port."""
    with contextlib.ExitStack() as stack:
        reserved = stack.enter_context(claim_port("127.0.0.1", 0))
        port: int = reserved.getsockname()[1]
        for _ in range(workers):
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.bare"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            stack.callback(stop, process)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"port": port, "answers": answers}))
            process.stdin.close()
            process.stdout.readline()
        yield port


def stop(process: subprocess.Popen[str]) -> None:
    """End a process, within seconds."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def application(answers: Answers) -> Callable[..., list[bytes]]:
    """WSGI."""
    ready = {
        path: (
            f"{status} Status",
            [("Content-Type", "application/occi+json"), ("Content-Length", str(len(body.encode())))],
            body.encode(),
        )
        for path, (status, body) in answers.items()
    }

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        status, headers, body = ready[environ["PATH_INFO"]]
        if length := environ.get("CONTENT_LENGTH"):
            orjson.loads(environ["wsgi.input"].read(int(length)))
        start_response(status, headers)
        return [body]

    return answer


def main() -> None:
    """Serve what standard input orders, until SIGTERM."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # eventlet's notice of retirement
        from pycmbs.wsgi import server

    orders = json.load(sys.stdin)
    listener = server.listen("127.0.0.1", orders["port"])
    server.serve(
        listener,
        application(orders["answers"]),
        started=lambda: print("ready", flush=True),
        drain_seconds=1,
    )


if __name__ == "__main__":
    main()
