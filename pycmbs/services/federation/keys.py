"""The broker's identity and its keys for connections, in ``HOME/keys``.

``identity`` is an Ed25519 key: it signs, and is who this broker is, for good. ``curve`` is an X25519 key: connections are made
with it. Each is a file for its owner only, with a line for a key: the secret half and the public one, in base64url without
padding. While the key for connections changes, its file has a second line, of the key that comes ``next``, made at a time
(seconds since the epoch), or of the ``old`` one, which is valid up to a time; and it keeps the public half of each that is
``retired``. What makes and proves keys is imported when that is needed, which in a front it never is.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pycmbs.errors import ConfigurationError, Conflict, InvalidRequest
from pycmbs.services.access.files import changing

KEYS = "keys"
"""The folder's name."""
IDENTITY, CURVE = "identity", "curve"
NEXT, OLD, RETIRED = "next", "old", "retired"
MOST_RETIRED = 8
"""Keys for connections that no longer count of which that is remembered, and told."""
KEY_BYTES = 32
_FINGERPRINT = 20


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A secret key and the public one to it."""

    secret: bytes
    public: bytes


@dataclass(frozen=True, slots=True)
class Second:
    """A key for connections beside the one in use: the ``next`` one, made ``at`` a time, or the ``old`` one, which counts up to
    then."""

    pair: KeyPair
    phase: str
    at: float


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The keys of this broker."""

    identity: KeyPair
    curve: KeyPair
    second: Second | None = None
    """The other key for connections, while that changes."""
    retired: tuple[bytes, ...] = ()
    """Public keys for connections that no longer count, the last ones."""

    @property
    def curves(self) -> tuple[bytes, ...]:
        """The public keys for connections, the one in use first."""
        return (self.curve.public, self.second.pair.public) if self.second is not None else (self.curve.public,)

    @property
    def fingerprint(self) -> str:
        """Of the identity, for people to compare."""
        return fingerprint(self.identity.public)

    def sign(self, data: bytes) -> bytes:
        """The identity's signature of these bytes."""
        from nacl.signing import SigningKey

        return SigningKey(self.identity.secret).sign(data).signature


def own_keys(home: Path) -> OwnKeys:
    """The keys of a home, made now if they are not there. Raises ConfigurationError for files that hold none, OSError."""
    folder = home / KEYS
    with contextlib.suppress(FileNotFoundError):
        return _read(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, make in ((IDENTITY, _new_identity), (CURVE, new_curve)):
        with changing(folder / name) as replace:
            if not (folder / name).exists():
                pair = make()
                replace(f"{_line(pair)}\n")
    return _read(folder)


def _read(folder: Path) -> OwnKeys:
    curve, *more = _lines(folder / CURVE)
    second, retired = None, []
    for words in more:
        if words[0] == RETIRED:
            retired.append(key_of(words[1]))
        else:
            second = Second(_pair_of(words[:2]), words[2], float(words[3]))
    return OwnKeys(_pair(folder / IDENTITY), _pair_of(curve), second, tuple(retired))


def rotate(home: Path, now: float) -> KeyPair:
    """Make the next key for connections. Raises Conflict while one is changed for another."""
    keys, pair = own_keys(home), new_curve()
    with changing(home / KEYS / CURVE) as replace:
        keys = _read(home / KEYS)
        if keys.second is not None:
            raise Conflict("the key for connections is being changed already", hint="pycmbs key show says until when.")
        replace(_curve_file(keys.curve, Second(pair, NEXT, now), keys.retired))
    return pair


def take_next(home: Path, until: float) -> None:
    """Use the next key from now on; the one before counts ``until`` then."""
    with changing(home / KEYS / CURVE) as replace:
        keys = _read(home / KEYS)
        if keys.second is not None and keys.second.phase == NEXT:
            replace(_curve_file(keys.second.pair, Second(keys.curve, OLD, until), keys.retired))


def retire_old(home: Path) -> None:
    """The key before the one in use no longer counts."""
    with changing(home / KEYS / CURVE) as replace:
        keys = _read(home / KEYS)
        if keys.second is not None and keys.second.phase == OLD:
            replace(_curve_file(keys.curve, None, (*keys.retired, keys.second.pair.public)[-MOST_RETIRED:]))


def _curve_file(curve: KeyPair, second: Second | None, retired: tuple[bytes, ...]) -> str:
    lines = [_line(curve)]
    if second is not None:
        lines.append(f"{_line(second.pair)} {second.phase} {int(second.at)}")
    return "".join(f"{one}\n" for one in (*lines, *(f"{RETIRED} {text_of(one)}" for one in retired)))


def _line(pair: KeyPair) -> str:
    return f"{text_of(pair.secret)} {text_of(pair.public)}"


def own_fingerprint(home: Path) -> str:
    """The fingerprint of a home; empty while it has no keys."""
    with contextlib.suppress(OSError, ConfigurationError):
        return fingerprint(_pair(home / KEYS / IDENTITY).public)
    return ""


def fingerprint(identity: bytes) -> str:
    """Twenty letters and digits by which people tell identities apart: 100 bits of a digest."""
    return base64.b32encode(hashlib.sha256(identity).digest()).decode()[:_FINGERPRINT]


def verified(identity: bytes, data: bytes, signature: bytes) -> bool:
    """Whether this identity signed these bytes."""
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    try:
        VerifyKey(identity).verify(data, signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def new_curve() -> KeyPair:
    """A new X25519 key."""
    from nacl.public import PrivateKey

    key = PrivateKey.generate()
    return KeyPair(bytes(key), bytes(key.public_key))


def curve_of(secret: bytes) -> KeyPair:
    """An X25519 key by its secret half."""
    from nacl.public import PrivateKey

    return KeyPair(secret, bytes(PrivateKey(secret).public_key))


def text_of(key: bytes) -> str:
    """Bytes as text without characters that need quoting."""
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def bytes_of(text: object) -> bytes:
    """The same the other way. Raises InvalidRequest for any other text."""
    try:
        if isinstance(text, str):
            return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InvalidRequest("this is not base64url")


def key_of(text: object) -> bytes:
    """A key by its text. Raises InvalidRequest."""
    key = bytes_of(text)
    if len(key) != KEY_BYTES:
        raise InvalidRequest(f"a key has {KEY_BYTES} bytes, this one {len(key)}")
    return key


def _new_identity() -> KeyPair:
    from nacl.signing import SigningKey

    key = SigningKey.generate()
    return KeyPair(bytes(key), bytes(key.verify_key))


def _pair(path: Path) -> KeyPair:
    return _pair_of(_lines(path)[0])


def _pair_of(words: list[str]) -> KeyPair:
    secret, public = map(key_of, words)
    return KeyPair(secret, public)


def _lines(path: Path) -> list[list[str]]:
    """The words of each line of a file of keys, of which those of the first are a pair. Raises ConfigurationError."""
    if path.stat().st_mode & 0o077:
        os.chmod(path, 0o600)  # noqa: PTH101 - a copy that came with other rights
    lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    try:
        _pair_of(lines[0])
        for words in lines[1:]:
            if words[0] == RETIRED:
                key_of(words[1])
            elif words[2] in (NEXT, OLD):
                _pair_of(words[:2])
                float(words[3])
            else:
                raise ValueError(words[2])
    except (InvalidRequest, ValueError, IndexError):
        raise ConfigurationError(
            f"{path} holds no key of this broker",
            hint="Restore it from a copy: without it, other members no longer recognise this broker.",
        ) from None
    return lines
