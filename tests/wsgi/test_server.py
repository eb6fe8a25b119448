"""The HTTP server's own life."""

from __future__ import annotations

import subprocess
import sys

ENDS = """
import warnings
warnings.simplefilter("ignore")
from pycmbs.wsgi import server

class Broken(server._Listener):
    def accept(self):
        raise ValueError("it is broken")

listener = server.listen("127.0.0.1", 0)
listener.__class__ = Broken
server.serve(listener, None, started=lambda: None, ending=lambda: None, drain_seconds=1)
"""


def test_a_server_that_ends_ends_its_process() -> None:
    """When the thread that accepts connections ends, whatever the reason, its process ends, to be started again."""
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "it is broken" in done.stderr
