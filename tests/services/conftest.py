"""Fixtures of all tests of the services."""

from __future__ import annotations

import pytest

from tests.services.world import FakeEngine, FaultyStore


@pytest.fixture
def store() -> FaultyStore:
    """A memory store that fails when told to."""
    return FaultyStore()


@pytest.fixture
def engine() -> FakeEngine:
    """An engine that notes what it is asked."""
    return FakeEngine()
