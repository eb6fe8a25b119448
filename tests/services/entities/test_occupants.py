"""What earlier versions let be made at paths that are the broker's own by now."""

from __future__ import annotations

import pytest

from pycmbs.errors import InvalidCategory, InvalidRequest
from pycmbs.occi import cmbs
from pycmbs.occi.category import parse_category
from pycmbs.occi.entity import Draft, Entity
from pycmbs.occi.naming import RESERVED
from pycmbs.services.entities.categories import _write
from pycmbs.services.entities.occupants import entities_at, occupants
from pycmbs.services.records.entities import entity_write
from tests.services.world import make_broker

OWN = [path.rstrip("/") for path in RESERVED]
NAMED = [f"{path}/one" for path in OWN]


def made_by_an_earlier_version(broker, path):
    """An entity that a version without that rule stored."""
    parts = path.split("/")[1:-1]
    folders = ["/" + "/".join(parts[:length]) + "/" for length in range(1, len(parts) + 1)]
    entity = Entity(path.rpartition("/")[2], cmbs.MESSAGE, path, private={"folders": folders or ["/"]})
    broker.store.write([entity_write(entity, revision=None)])


@pytest.mark.parametrize("path", ["/ui/one", "/metrics", "/livez", "/readyz", "/openapi.json", "/.well-known/a/b"])
def test_what_was_there_before_is_named_and_still_readable(path):
    """A newer version takes the path, and loses nothing of what a client put there."""
    broker = make_broker()
    made_by_an_earlier_version(broker, path)
    made_by_an_earlier_version(broker, "/elsewhere/one")
    assert occupants(broker.store, broker.categories.registry()) == [path]
    assert entities_at(broker.store) == [path for path in [path] if path in OWN]
    assert broker.entities.get(path).path == path
    assert path in broker.entities.find("/cmbs/message/") + broker.entities.find("/")
    broker.entities.delete(path)
    assert not occupants(broker.store, broker.categories.registry())


@pytest.mark.parametrize("location", ["/ui/", "/metrics/", "/livez/below/"])
def test_no_category_is_registered_there(location):
    """By a POST of it, by a PUT, or by moving one."""
    broker = make_broker()
    kind = parse_category("kind", {"term": "k", "scheme": "http://example.org/#", "location": location})
    for register in (broker.categories.register, broker.categories.replace):
        with pytest.raises(InvalidCategory, match="the broker's own"):
            register([kind])


def test_a_category_that_was_there_before_stays_and_is_named():
    """Its entities are read as ever; what is below its location needs no naming of its own."""
    broker = make_broker()
    definition = {"term": "k", "scheme": "http://example.org/#", "location": "/ui/"}
    kind = parse_category("kind", definition)
    broker.store.write([_write(kind)])
    registry = broker.categories.registry()
    assert occupants(broker.store, registry) == ["/ui/"]
    (entity,) = broker.entities.create("/ui/", [Draft()])
    assert broker.entities.get(entity.path).kind == kind.identifier
    broker.categories.register([kind])
    broker.categories.replace([kind])


@pytest.mark.parametrize("path", [*OWN, *NAMED])
def test_nothing_new_is_made_there(path):
    """By a PUT, a location in the body, or a category."""
    broker = make_broker()
    with pytest.raises(InvalidRequest, match="there can be no entity"):
        broker.entities.put(path, Draft(cmbs.MESSAGE))
    with pytest.raises(InvalidRequest, match="there can be no entity"):
        broker.entities.create("/cmbs/message/", [Draft(cmbs.MESSAGE, location=path)])
