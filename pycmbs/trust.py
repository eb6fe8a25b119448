"""Files that another user may have changed, and passwords that must not be shown."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from pathlib import Path
from urllib.parse import quote, urlsplit

from pycmbs.errors import ConfigurationError

_CREDENTIALS = re.compile(r"//.*@", re.DOTALL)


def masked(text: str) -> str:
    """The text without what may be user and password of a URL in it."""
    return _CREDENTIALS.sub("//…@", text)


def has_password(url: str) -> bool:
    """Whether a URL shows a password."""
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return bool(_CREDENTIALS.search(url))


def with_password(url: str, file: str) -> str:
    """The URL of a CouchDB store with the password that is the first line of a file, if one is named.

    Raises ConfigurationError for a file that cannot be read, and for a URL that has no place for it."""
    if not file:
        return url
    scheme, marks, rest = url.partition("://")
    user, at, where = rest.rpartition("@")
    if not (scheme.startswith("couchdb") and marks and at) or not user or ":" in user:
        raise ConfigurationError(
            "store_password_file is for the URL of a store that names a user and no password",
            hint="Write couchdb://user@127.0.0.1:5984/pycmbs.",
        )
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"store_password_file {file} cannot be read: {reason}") from None
    if not lines or not lines[0]:
        raise ConfigurationError(f"store_password_file {file} has no password in its first line")
    return f"{scheme}://{user}:{quote(lines[0], safe='')}@{where}"


def why_untrusted(path: Path) -> str:
    """Why what is at this path is not to be trusted; empty when only this user or root could have put it there."""
    for status in (path.lstat(), path.stat()):
        if status.st_uid not in (os.geteuid(), 0):
            return f"{path} belongs to another user"
        if not stat.S_ISLNK(status.st_mode) and _others_may_write(status):
            return f"others may write {path}"
    return ""


def _others_may_write(status: os.stat_result) -> bool:
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_private(status.st_gid, status.st_uid)


def _is_private(group: int, user: int) -> bool:
    """Whether a group is one user's alone, as many systems make it for each."""
    try:
        owner = pwd.getpwuid(user)
        return owner.pw_gid == group and set(grp.getgrgid(group).gr_mem) <= {owner.pw_name}
    except KeyError:
        return False
