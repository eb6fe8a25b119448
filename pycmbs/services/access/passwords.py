"""Passwords and tokens, stored so that reading the file is not enough to use them."""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
from typing import Any

MEMORY_KIB, PASSES, PARALLELISM = 19456, 2, 1
"""What argon2id takes for one password (OWASP's least): some 17 ms."""
TOKEN = "cmbs_"  # noqa: S105 - it is public
"""What every token begins with, so that who finds one knows what it is."""


@functools.cache
def _hasher() -> Any:
    from argon2 import PasswordHasher  # the command line and a broker without users never need it

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=PARALLELISM)


def hashed(password: str) -> str:
    """The password, to be kept. Takes some 20 ms."""
    return str(_hasher().hash(password))


def verified(kept: str, password: str) -> bool:
    """Whether this is the password that is kept so; false for what is kept wrongly. Takes some 20 ms."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return bool(_hasher().verify(kept, password))
    except (VerificationError, InvalidHashError, UnicodeError):
        return False


@functools.cache
def dummy() -> str:
    """The hash of a random password, for unknown users: to refuse them takes as long as to refuse others."""
    return hashed(secrets.token_hex())


def new_token() -> str:
    """A random token of 256 bits."""
    return TOKEN + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """The token, to be kept: it has no need of a slow hash, since 256 bits cannot be tried out."""
    return hashlib.sha256(token.encode()).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two texts are the same, in a time that does not tell how much of them is."""
    return hmac.compare_digest(one.encode(), other.encode())
