"""The keys of a broker, in the folder ``keys`` of its home: who it is, and how it speaks to other members.

``identity`` is an Ed25519 key: it signs, and is who this broker is, for good. ``curve`` is an X25519 key: connections are made
with it. Each is a file for its owner only, with one line: the secret key and the public one, in base64url without padding. What
makes and proves keys is imported when that is needed, which in a front it never is.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pycmbs.errors import ConfigurationError, InvalidRequest
from pycmbs.services.access.files import changing

KEYS = "keys"
"""The folder's name."""
IDENTITY, CURVE = "identity", "curve"
KEY_BYTES = 32
_FINGERPRINT = 20


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A secret key and the public one to it."""

    secret: bytes
    public: bytes


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The keys of this broker."""

    identity: KeyPair
    curve: KeyPair

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
                replace(f"{text_of(pair.secret)} {text_of(pair.public)}\n")
    return _read(folder)


def _read(folder: Path) -> OwnKeys:
    return OwnKeys(_pair(folder / IDENTITY), _pair(folder / CURVE))


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
    """The same the other way. Raises InvalidRequest for what is no such text."""
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
    if path.stat().st_mode & 0o077:
        os.chmod(path, 0o600)  # noqa: PTH101 - a copy that came with other rights
    words = path.read_text(encoding="utf-8", errors="replace").split()
    try:
        secret, public = map(key_of, words)
    except (InvalidRequest, ValueError):
        raise ConfigurationError(
            f"{path} holds no key of this broker",
            hint="Restore it from a copy: without it, other members no longer recognise this broker.",
        ) from None
    return KeyPair(secret, public)
