"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Broker


def _brokers(folder: Path) -> Iterator[Callable[..., Broker]]:
    started: list[Broker] = []

    def start(*flags: str, **options: object) -> Broker:
        broker = Broker(folder / f"broker-{len(started)}", *flags, **options)
        started.append(broker)
        return broker.start()

    yield start
    for broker in started:
        if broker.process is not None and broker.process.poll() is None:
            broker.kill()
    for broker in started:
        assert "Traceback" not in broker.log(), broker.log()


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Starts real brokers, each in a home of its own, and stops them after the test; none may have logged a traceback."""
    yield from _brokers(tmp_path)


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Broker]]:
    """The same for brokers that the tests of a module share."""
    yield from _brokers(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def shared(start_shared: Callable[..., Broker]) -> Broker:
    """One running broker for the tests of a module, with one front process and no member yet."""
    return start_shared("--workers", "1")


@pytest.fixture
def broker(start_broker: Callable[..., Broker]) -> Broker:
    """One running broker, with one front process and no member yet."""
    return start_broker("--workers", "1")
