"""The keys that an issuer signs its tokens with: from a file or a URL, refreshed when needed (ADR 45)."""

from __future__ import annotations

import json
import logging
import re
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pycmbs.errors import Unavailable
from pycmbs.runtime import Runtime, Signal

if TYPE_CHECKING:
    from joserfc.jwk import Key

log = logging.getLogger(__name__)

FETCH_SECONDS = 5.0
"""For all of an answer."""
_MOST_BYTES = 1024 * 1024
_FRESH_SECONDS = {True: 300.0, False: 2.0}
"""Until keys are read again that are at a URL, or in a file."""
_AGAIN_SECONDS = 5.0
"""Between tries, after one that failed or that brought no key that is wanted: tokens can name any."""
_MOST_KEYS = 64
_LEAST_BITS = 2048
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)
_KINDS = {"RS256": ("RSA", None), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519"), "Ed25519": ("OKP", "Ed25519")}
ALGORITHMS = tuple(_KINDS)
"""Those that are taken, whatever a token or a key says: they sign with what only the issuer has."""


class Keys:
    """The issuer's public keys. What was read last stays until something better is read."""

    def __init__(self, where: str, runtime: Runtime) -> None:
        """``where``: a URL, or the path of a file, with a JWK set or with public keys or certificates in PEM."""
        self._where = where
        self._remote = "://" in where
        self._runtime = runtime
        self._keys: tuple[Key, ...] = ()
        self._read_at = self._tried_at = -float("inf")
        self._reading: Signal | None = None

    def find(self, algorithm: str, id: str | None) -> list[Key]:
        """The keys that may have signed this. Raises Unavailable while there are no keys at all."""
        if self._keys and time.monotonic() - self._read_at > _FRESH_SECONDS[self._remote]:
            if self._remote:
                self._runtime.spawn("keys", self._refresh)  # the present ones will do until then
            else:
                self._refresh()
        found = self._matching(algorithm, id)
        if not found:
            self._refresh()
            found = self._matching(algorithm, id)
        if not self._keys:
            raise Unavailable("the keys for checking tokens are not available now", retry_after=int(_AGAIN_SECONDS))
        return found

    def _matching(self, algorithm: str, id: str | None) -> list[Key]:
        kind, curve = _KINDS[algorithm]
        return [
            key
            for key in self._keys
            if key.key_type == kind
            and (curve is None or getattr(key, "curve_name", None) == curve)
            and (id is None or key.kid is None or key.kid == id)
        ]

    def _refresh(self) -> None:
        """Read them again, unless that was tried just now; who comes while it is done waits for it."""
        if self._reading is not None:
            self._reading.wait(FETCH_SECONDS)
            return
        if time.monotonic() - self._tried_at < (_AGAIN_SECONDS if self._remote or self._keys else 0):
            return
        self._reading, self._tried_at = self._runtime.signal(), time.monotonic()
        try:
            self._keys = self._runtime.offload(read, self._where)
            self._read_at = time.monotonic()
        except (OSError, ValueError) as exc:
            log.error("the keys of tokens cannot be read from %s: %s", self._where, exc)  # noqa: TRY400 - no fault of ours
            self._read_at = time.monotonic() if self._keys else self._read_at
        finally:
            reading, self._reading = self._reading, None
            reading.set()


def read(where: str) -> tuple[Key, ...]:
    """The keys at a URL or in a file. Raises OSError, ValueError."""
    return parse(fetch(where) if "://" in where else Path(where).read_bytes())


def fetch(url: str, *, seconds: float = FETCH_SECONDS) -> bytes:
    """What is at a URL; redirections are not followed. Raises OSError, ValueError."""
    until = time.monotonic() + seconds
    opener = urllib.request.build_opener(_NoRedirection)
    data = b""
    with opener.open(url, timeout=seconds) as answer:
        while piece := answer.read1(65_536):
            data += piece
            if len(data) > _MOST_BYTES:
                raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
            if time.monotonic() > until:
                raise TimeoutError(f"it took longer than {seconds:g} s")
    return data


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """To nowhere: the answer is an error then."""


def parse(data: bytes) -> tuple[Key, ...]:
    """The keys of a JWK set, or in PEM, that sign by one of :data:`ALGORITHMS`; others are passed over. Raises ValueError where
    there is none."""
    try:
        text = data.decode("utf-8")
        document = json.loads(text) if text.lstrip().startswith("{") else None
    except (UnicodeDecodeError, RecursionError) as exc:
        raise ValueError("it is not text, or not JSON") from exc
    entries = _from_set(document) if document is not None else _from_pem(text)
    found = [key for key in _imported(entries) if key.key_type in {kind for kind, _ in _KINDS.values()}]
    if not found:
        raise ValueError(f"there is no key in it for {', '.join(ALGORITHMS)}")
    return tuple(found[:_MOST_KEYS])


def _from_set(document: Any) -> Iterator[tuple[Any, str]]:
    entries = document.get("keys")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("use", "sig") == "sig" and entry.get("kty") in ("RSA", "EC", "OKP"):
            yield entry, str(entry["kty"])


def _from_pem(text: str) -> Iterator[tuple[Any, str]]:
    for found in _PEM.finditer(text):
        for kind in ("RSA", "EC", "OKP"):
            yield found[0], kind


def _imported(entries: Iterator[tuple[Any, str]]) -> Iterator[Key]:
    from joserfc.errors import JoseError, SecurityWarning  # an extra
    from joserfc.jwk import JWKRegistry

    warnings.simplefilter("ignore", SecurityWarning)  # of short keys, which are not taken, and of the name EdDSA

    for entry, kind in entries:
        try:
            key: Any = JWKRegistry.import_key(entry, cast("Any", kind))
            if kind != "RSA" or key.get_op_key("verify").key_size >= _LEAST_BITS:
                yield key
        except (JoseError, ValueError, TypeError, KeyError):
            continue  # of another kind
