"""Brokers whose store is a database on a CouchDB server: what holds for the embedded store holds for this one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import brokers
from tests.couchdb_server import CouchServer
from tests.harness import Broker
from tests.system.test_durability import (  # noqa: F401 - they run here, too
    test_a_deadline_that_passes,
    test_a_killed_front_is_replaced,
    test_a_receiver_that_is_away,
    test_one_killed_front_of_two,
    test_sigkill_of_everything_loses_nothing,
    test_sigkill_of_the_engine_while_it_sends,
    test_sigkill_of_the_receivers_engine,
    test_sigkill_of_the_sender_as_a_whole,
)
from tests.system.test_federation import *  # noqa: F403
from tests.system.test_readme_2012 import *  # noqa: F403


@pytest.fixture
def start_broker(tmp_path: Path, couchdb_server: CouchServer) -> Iterator[Callable[..., Broker]]:
    """Starts real brokers, each with a home and a database of its own."""
    made: list[str] = []

    def store() -> tuple[str, ...]:
        made.append(f"pycmbs-test-{uuid.uuid4().hex}")
        return ("--store", couchdb_server.store_url(made[-1]))

    yield from brokers(tmp_path, store)
    for name in made:
        couchdb_server.request("DELETE", f"/{name}")
