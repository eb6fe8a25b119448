"""Hashes and verifies passwords; makes tokens and their digests. Tokens are looked up in users.py."""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import secrets
from typing import Any

from pycmbs.errors import ConfigurationError

MEMORY_KIB, PASSES, PARALLELISM = 19456, 2, 1
"""What argon2id takes for one password (OWASP's least): some 17 ms."""
BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
"""A password as htpasswd and others keep it by bcrypt; its first group is the cost."""
MOST_COST = 13
"""What of it is checked: some 0.4 s. Each more takes twice as long, of a processor that all logins share."""
_MOST_BYTES = 72
"""Of a password: bcrypt looks at no more, and what writes such files cuts it there."""
TOKEN = "cmbs_"  # noqa: S105 - it is public
"""What every token begins with, so that who finds one knows what it is."""


@functools.cache
def _hasher() -> Any:
    from argon2 import PasswordHasher  # the command line and a broker without users never need it

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=PARALLELISM)


def hashed(password: str) -> str:
    """The password, to be kept. Takes some 20 ms."""
    return str(_hasher().hash(password))


def check_bcrypt(kept: str) -> None:
    """Raises ConfigurationError unless a password that is kept by bcrypt can be checked here."""
    found = BCRYPT.fullmatch(kept)
    if not found:
        raise ConfigurationError("its password is not as bcrypt keeps one: pycmbs user passwd sets it")
    if int(found[1]) > MOST_COST:
        raise ConfigurationError(
            f"its password is kept by bcrypt at a cost of {found[1]}, and more than {MOST_COST} would hold up all other "
            "logins: pycmbs user passwd sets it"
        )
    if _bcrypt() is None:
        raise ConfigurationError(
            "its password is kept by bcrypt, for which a library is needed: pip install 'pycmbs[bcrypt]'"
        )


@functools.cache
def _bcrypt() -> Any:
    """The library; None where the extra is not installed."""
    try:
        import bcrypt
    except ImportError:
        return None
    return bcrypt


def verified(kept: str, password: str) -> bool:
    """Whether this is the password that is kept so; false for what is kept wrongly. Takes some 20 ms."""
    if BCRYPT.fullmatch(kept):
        try:
            return bool(_bcrypt().checkpw(password.encode()[:_MOST_BYTES], kept.encode()))
        except (ValueError, AttributeError):  # such as a cost that there is not, or no library any more
            return False
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
