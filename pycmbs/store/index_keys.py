"""Index keys: how the values of a document's keys are shortened for the index, and decoded when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from pycmbs import codec
from pycmbs.errors import StoreUnavailable

LONGEST = 192
"""Characters up to which a value is kept as it is."""
_PREFIX = 128


def indexed(text: str) -> str:
    """A value as it is indexed: of a long one the beginning, for the order, and a digest, for equality. That is longer than
    any value kept as it is, so that the two are never taken for each other."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:_PREFIX]}\0{hashlib.sha256(text.encode()).hexdigest()}"


class StoredKeys(Mapping[str, tuple[str, ...]]):
    """The keys of a document that was read: decoded when they are asked for, which is rare. Raises StoreUnavailable
    then for what is not JSON."""

    __slots__ = ("_keys", "_raw")

    def __init__(self, raw: bytes | str) -> None:
        self._raw = raw
        self._keys: dict[str, tuple[str, ...]] | None = None

    def _decoded(self) -> dict[str, tuple[str, ...]]:
        if self._keys is None:
            raw = self._raw if isinstance(self._raw, bytes) else self._raw.encode()
            try:
                self._keys = {name: tuple(values) for name, values in codec.loads(raw).items()}
            except codec.DecodeError as exc:
                raise StoreUnavailable(f"the keys of a document cannot be read: {exc}") from exc
        return self._keys

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self._decoded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    def __len__(self) -> int:
        return len(self._decoded())

    def __repr__(self) -> str:
        return repr(self._decoded())
