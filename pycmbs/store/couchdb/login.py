"""How requests to a CouchDB server are authenticated: by a session's cookie, which stays valid while the account is locked.

A server that has no sessions is told user and password with every request.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http.client import HTTPMessage
from typing import Any

_COOKIE = re.compile(r"\bAuthSession=([^;,\s]+)")

Ask = Callable[[str, str, bytes], tuple[int, HTTPMessage, Any]]
"""A request to the server itself: method, path, and body. Raises as a session of CouchDB-Python does."""


class Login:
    """The session, or what there is instead. Of threads that log in at the same time each gets one, and the last one stays."""

    def __init__(self, credentials: tuple[str, str] | None) -> None:
        self._credentials = credentials
        self._cookie = ""
        self._has_sessions = credentials is not None

    @property
    def is_due(self) -> bool:
        """Whether a session is to be begun before anything else is asked."""
        return self._has_sessions and not self._cookie

    @property
    def body(self) -> dict[str, str]:
        """What a session is begun with."""
        name, password = self._credentials or ("", "")
        return {"name": name, "password": password}

    @property
    def headers(self) -> dict[str, str]:
        """The header that authenticates a request, within a session."""
        return {"Cookie": f"AuthSession={self._cookie}"} if self._cookie else {}

    @property
    def credentials(self) -> tuple[str, str] | None:
        """The header that authenticates a request, without a session."""
        return None if self._cookie else self._credentials

    def heard(self, headers: HTTPMessage) -> None:
        """An answer may begin the session, or go on with it under another cookie: a server renews those by itself."""
        for text in headers.get_all("Set-Cookie") or ():
            found = _COOKIE.search(text)
            if found is not None:
                self._cookie = found[1]

    def expire(self) -> bool:
        """The server does not know the user; tells whether beginning another session may help."""
        had, self._cookie = self._cookie, ""
        return bool(had)

    def do_without(self) -> None:
        """The server has no sessions."""
        self._has_sessions = False
