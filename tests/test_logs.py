"""What others say cannot pose as a log line."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from pathlib import Path

import pytest

from pycmbs import logs
from pycmbs.config import Settings
from pycmbs.logs import OneLine
from pycmbs.tracing import tracing

FORGED = "2026-01-01T00:00:00.000Z INFO engine[1] pycmbs: all is well"


def formatted(message: str, *, exc_info: bool = False) -> str:
    """A record with this message as an argument, as a formatter of the broker writes it."""
    info = sys.exc_info() if exc_info else None
    return OneLine("%(levelname)s %(name)s: %(message)s").format(
        logging.LogRecord("test", logging.WARNING, __file__, 1, "from %s", (message,), info)
    )


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        ("\n", "\\n"),
        ("\r\n", "\\r\\n"),
        ("\r", "\\r"),
        ("\v", "\\x0b"),
        ("\f", "\\x0c"),
        ("\0", "\\x00"),
        ("\x1b[2K\x1b[1G", "\\x1b[2K\\x1b[1G"),
        ("\x7f", "\\x7f"),
        ("\x85", "\\x85"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_record_is_one_line(end: str, shown: str) -> None:
    """Whatever ends a line, moves the cursor or cannot be encoded is shown as in a literal."""
    text = formatted(f"a{end}{FORGED}")
    assert text == f"WARNING test: from a{shown}{FORGED}"
    assert len(text.encode().splitlines()) == 1


def test_what_people_write_stays() -> None:
    """Letters of any language, and signs, are left alone."""
    assert formatted("Zürich, Αθήνα, 東京 \U0001f680") == "WARNING test: from Zürich, Αθήνα, 東京 \U0001f680"


def test_a_traceback_cannot_pose_as_a_record() -> None:
    """Below a record each line of its traceback is marked, also those that are in an exception's text."""
    try:
        raise ValueError(f"bad\n{FORGED}\r{FORGED}")
    except ValueError:
        lines = formatted("x", exc_info=True).splitlines()
    assert lines[0] == "WARNING test: from x"
    assert "| Traceback (most recent call last):" in lines
    assert f"| {FORGED}\\r{FORGED}" in lines
    assert all(line.startswith("| ") for line in lines[1:])


def test_a_record_has_an_end() -> None:
    """A message that someone made long is cut."""
    assert len(formatted("x" * 1_000_000)) < 10_000


def test_every_process_logs_like_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is configured for a process of the broker is this formatter."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root, level = logging.getLogger(), logging.getLogger().level
    try:
        logs.configure(Settings(), "engine")
        logging.getLogger("pycmbs.test").warning("from %s", f"a\n{FORGED}")
    finally:
        while logs._installed:
            root.removeHandler(logs._installed.pop())
        root.setLevel(level)
    assert len(stream.getvalue().splitlines()) == 1


def test_a_line_may_be_an_object(tmp_path: Path) -> None:
    """Whatever is in it, it is one line of JSON, which says who wrote it when, and what is known of a message."""
    file = tmp_path / "log"
    logs.configure(Settings(log_format="json", log_file=str(file)), "front-0")
    token = tracing.set({"request_id": "q1"})
    try:
        raise ValueError("half \ud800 of it\nand a line")
    except ValueError:
        logging.getLogger("test").exception("a\nb \ud800 %s", "x" * 9000, extra={"message_id": "m1", "layer": "l2"})
    finally:
        tracing.reset(token)
        logs.configure(Settings(), "test")

    (line,) = file.read_text(encoding="utf-8").splitlines()
    said = json.loads(line)
    assert said["msg"].startswith("a\nb \\ud800 xxx")
    assert len(said["msg"]) < 8100
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said["time"])
    shown = {name: said[name] for name in ("level", "process", "logger", "request_id", "message", "layer")}
    assert shown == {
        "level": "ERROR", "process": "front-0", "logger": "test", "request_id": "q1", "message": "m1", "layer": "l2",
    }  # fmt: skip
    assert "ValueError" in said["exc_info"]
