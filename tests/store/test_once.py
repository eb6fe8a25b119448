"""The store that writes an effect once keeps the contract, whatever store is behind it. What marks do is in tests/services."""

from __future__ import annotations

import pytest

from pycmbs.services.execution.once import OnceStore
from pycmbs.store.base import Store
from tests.store.contract import StoreContract
from tests.store.faulty import FaultyStore


class TestOnceStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def store(self) -> Store:
        return OnceStore(FaultyStore())


class TestOnceStoreApart(StoreContract):
    """The contract, in front of a store that is not atomic."""

    @pytest.fixture
    def store(self) -> Store:
        return OnceStore(FaultyStore(atomic=False))
