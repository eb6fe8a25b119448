"""Entities that an earlier version let be made at what are the broker's own paths now."""

from __future__ import annotations

import pytest

from pycmbs.errors import EngineUnavailable
from pycmbs.occi import cmbs
from pycmbs.occi.entity import Entity
from pycmbs.services.records.entities import entity_write
from tests.services.world import FaultyStore
from tests.store.faulty import Fault
from tests.wsgi.conftest import Front
from tests.wsgi.test_roles import who

OWN = ["/metrics", "/livez", "/readyz", "/openapi.json"]


@pytest.fixture
def store():
    """A store with an entity at each of them."""
    store = FaultyStore()
    for path in OWN:
        entity = Entity(path[1:], cmbs.MESSAGE, path, private={"folders": ["/"], "by": "someone"})
        store.write([entity_write(entity, revision=None)])
    return store


@pytest.mark.parametrize("path", OWN)
def test_it_is_read_and_deleted_there_and_the_broker_answers_for_itself_from_the_next_start_on(store, path):
    """Nothing of a client's is hidden by a newer version."""
    front = Front(store=store)
    assert front.request("GET", path).json["kind"] == cmbs.MESSAGE
    assert front.request("DELETE", path).status_code == 200
    assert front.request("GET", path).status_code == 404
    again = Front(store=store)
    again.engine.error = EngineUnavailable("it is not here")
    answer = again.request("GET", path, Accept="*/*")
    assert answer.status_code in (200, 503)
    assert not answer.text.startswith("Category: message")


@pytest.mark.parametrize("path", OWN)
def test_it_is_no_way_around_the_users(store, path, tmp_path):
    """Health is for everybody, an entity is not."""
    front = Front(store=store, home=tmp_path, authentication="on")
    assert front.request("GET", path).status_code == 401
    assert front.request("GET", path, **who("nobody")).status_code == 401


def test_while_the_store_is_away_the_broker_answers_for_itself(store):
    """A front that starts then does not know of them, and tells at least that it lives."""
    broken = Front(store=store)
    store.arm(Fault.UNAVAILABLE, "get_many")
    assert Front(store=store).request("GET", "/livez", Accept="*/*").status_code == 200
    assert broken.request("GET", "/livez", Accept="text/plain").status_code in (200, 503)
