"""Files that are followed: whatever is at their place, what was good before counts, and nobody waits."""

import os
import time

import pytest

from pycmbs.services.access import files
from pycmbs.services.access.files import Watched


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """One with the text ``good``, looked at each time."""
    monkeypatch.setattr(files, "LOOK_SECONDS", 0)
    found = Watched(tmp_path / "users", str.strip, "")
    found.path.write_text("good\n")
    assert found.value == "good"
    found.path.unlink()
    return found


def endless(path):
    """A device that has no end."""
    path.symlink_to("/dev/zero")


def large(path):
    """More than any file of users has."""
    with path.open("wb") as file:
        file.truncate(files.MOST_BYTES + 1)


BAD = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "no end": endless,
    "too large": large,
    "no text": lambda path: path.write_bytes(b"\xff\xfe\n"),
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_what_cannot_be_read_counts_as_it_was(watched, caplog, make):
    """At once, said once, and over as soon as it can be."""
    make(watched.path)
    begun = time.monotonic()
    for _ in range(20):
        assert watched.value == "good"
    assert time.monotonic() - begun < 5
    assert watched.broken
    assert caplog.text.count("stays in force") == 1
    watched.path.rmdir() if watched.path.is_dir() else watched.path.unlink()
    watched.path.write_text("better")
    assert watched.value == "better"
    assert not watched.broken


def test_a_file_that_could_not_be_opened_is_tried_again(watched, monkeypatch):
    """As where a process had no descriptors left for a while: the file itself does not change by that."""
    watched.path.write_text("new")

    def fail(*_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "open", fail)
        assert watched.value == "good"
    assert watched.value == "new"


def test_one_that_is_gone_says_nothing(watched):
    """As before there was one."""
    assert watched.value == ""
    assert not watched.broken
