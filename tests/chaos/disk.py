"""A small disk of a broker's own, which can be full: a tmpfs, where one may be mounted."""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MEGABYTES = 48
_PORTION = 1 << 20


class Disk:
    """A file system of some megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave nothing free."""
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            size = _PORTION
            while size:
                try:
                    if file.write(b"\0" * size) < size:
                        size //= 2
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Have room again."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """The disk at ``folder``, which holds a copy of it afterwards. Raises CalledProcessError where one may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={_MEGABYTES}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield Disk(folder)
    finally:
        copy = shutil.copytree(folder, folder.with_suffix(".kept"), ignore_dangling_symlinks=True, ignore=_sockets)
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)
        folder.rmdir()
        copy.rename(folder)


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [one for one in names if Path(folder, one).is_socket()]


@functools.cache
def can_mount() -> bool:
    """Whether this user may mount here."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder) / "disk"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False
