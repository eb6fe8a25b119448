"""The store in a dictionary keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycmbs.errors import ConfigurationError
from pycmbs.runtime import ThreadRuntime
from pycmbs.store import open_store
from pycmbs.store.base import Store
from pycmbs.store.memory import MemoryStore
from tests.store.contract import StoreContract


class TestMemoryStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


def test_the_url_chooses_the_store(tmp_path: Path) -> None:
    """``memory:`` opens this one."""
    assert isinstance(open_store("memory:", home=tmp_path, runtime=ThreadRuntime()), MemoryStore)


@pytest.mark.parametrize("url", ["mongo:x", "memory", ""])
def test_an_unknown_scheme_is_said_so(url: str, tmp_path: Path) -> None:
    """A URL that names no store is a sentence with the schemes there are."""
    with pytest.raises(ConfigurationError, match="memory:, sqlite:"):
        open_store(url, home=tmp_path, runtime=ThreadRuntime())
