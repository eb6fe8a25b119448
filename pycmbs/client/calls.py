"""HTTP calls without I/O: builds requests, reads responses, decides what may be retried."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from pycmbs.client.places import Place
from pycmbs.errors import CmbsError, DuplicateId, RemoteError, Unavailable, from_dict

JSON = "application/occi+json;version=1.2"
"""What the client sends and reads: flat attributes, and collections of whole entities."""
MOST_WAIT = 60.0
"""Seconds that the broker lets one request wait."""
_TRIES = 3
_LONGEST_PAUSE = 5.0
"""Seconds that the client pauses at most because the broker says so."""
_NOT_READY = {"code": Unavailable.code, "message": "the broker takes no messages in just now", "status": 503}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``seconds``: what the broker may take for it besides the time it needs. ``repeatable``: doing it twice does
    what doing it once does, so it may be sent again when it is not known whether it arrived."""

    method: str
    path: str
    body: Any = None
    seconds: float = 0.0
    repeatable: bool = False

    @property
    def changes(self) -> bool:
        """Whether it changes something at the broker."""
        return self.method not in ("GET", "HEAD")

    @property
    def data(self) -> bytes | None:
        """The body, as it is sent. Raises ValueError for what is not JSON."""
        return None if self.body is None else _text(self.body).encode()

    @property
    def headers(self) -> dict[str, str]:
        """Those of the request, without credentials."""
        return {"Accept": JSON} if self.body is None else {"Accept": JSON, "Content-Type": JSON}


Verb = Generator[Sequence[Call], list[Any], T]
"""What a client can do, without doing it: yields calls that are done one after the other, is sent what they answered, and
returns what came of it."""


def curl(place: Place, call: Call) -> str:
    """The call as a line for a shell. A secret is not in it, but the environment variable that holds it."""
    words = ["curl", "-sS", "--fail-with-body"]
    if call.method != ("GET" if call.body is None else "POST"):
        words += ["-X", call.method]
    for name, value in call.headers.items():
        words += ["-H", shlex.quote(f"{name}: {value}")]
    if place.token:
        words += ["-H", '"Authorization: Bearer $PYCMBS_TOKEN"']
    elif place.user:
        words += ["--user", '"$PYCMBS_USER"']
    if place.ca:
        words += ["--cacert", shlex.quote(place.ca)]
    if call.body is not None:
        words += ["--data-raw", shlex.quote(_text(call.body))]
    return " ".join([*words, shlex.quote(place.url + call.path)])


def read(status: int, content: bytes) -> Any:
    """What an answer says. Raises the error that it is."""
    if status < 400:
        if not content.strip():
            return None
        try:
            return json.loads(content)
        except ValueError as exc:
            raise RemoteError(f"this is not a broker: its answer ({status}) is not JSON") from exc
    try:
        document = json.loads(content)
        # /readyz answers without an error: it says why it is not ready.
        document = document["error"] if "error" in document else {"reasons": document["reasons"], **_NOT_READY}
    except (ValueError, TypeError, KeyError):
        document = {"message": f"the answer is {status}, without a reason", "status": status}
        if status in (502, 503, 504):
            document["code"] = Unavailable.code
    raise from_dict(document)


def pause(call: Call, error: CmbsError, tries: int, headers: Mapping[str, str]) -> float | None:
    """Seconds after which a call that failed so may be made again, or None if it may not. ``tries``: those made so far."""
    if tries >= _TRIES or not isinstance(error, Unavailable):
        return None
    if "retry-after" in headers:  # the broker did nothing, and says when it will
        try:
            seconds = float(headers["retry-after"])
        except ValueError:
            return None
        return seconds if seconds <= _LONGEST_PAUSE else None
    return 0.05 * tries if call.repeatable and error.data.get("connected") else None


def is_there(call: Call, error: CmbsError, tries: int) -> bool:
    """Whether the error of a repeated creation says that an earlier try made it."""
    return tries > 1 and call.repeatable and call.changes and isinstance(error, DuplicateId)


def path_of(folder: str, id: str) -> str:
    """The path of an entity, from its id, path or URL."""
    if "://" in id:
        id = "/" + id.split("://", 1)[1].partition("/")[2]
    if id.startswith("/"):
        return quote(id, safe="/:@!$&'()*+,;=~")
    return folder + quote(id, safe=":@!$&'()*+,;=~")


def _text(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
