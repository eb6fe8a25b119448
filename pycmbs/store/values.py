"""Values of keys as an index keeps them: short."""

from __future__ import annotations

import hashlib

LONGEST = 192
"""Characters up to which a value is kept as it is."""
_PREFIX = 128


def indexed(text: str) -> str:
    """A value as it is indexed: of a long one the beginning, for the order, and a digest, for equality. That is longer than
    any value kept as it is, so that the two are never taken for each other."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:_PREFIX]}\0{hashlib.sha256(text.encode()).hexdigest()}"
