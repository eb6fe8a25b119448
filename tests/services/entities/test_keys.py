"""What entities are found by: whatever clients call their attributes, the broker's own keys stay its own."""

import pytest
from msgspec.structs import replace

from pycmbs.errors import (
    CategoryConflict,
    ImmutableAttribute,
    InvalidAttribute,
    InvalidCategory,
    InvalidRequest,
    UnknownEntity,
)
from pycmbs.occi import cmbs
from pycmbs.occi.category import LINK, RESOURCE, parse_category
from pycmbs.occi.entity import Draft
from pycmbs.services.entities.selection import Selection
from pycmbs.services.records.entities import attribute_key, document_id, entity_from, keys_of
from pycmbs.services.records.rekeying import rekey
from pycmbs.store.base import Query, Write
from tests.services.world import OWN, add_own, make_broker

S = "http://example.org/odd#"
NAMES = ("kind", "id", "mixin", "folder")
ODD = {name: {"default": cmbs.MEMBER} for name in NAMES}
"""Attributes that are called as the broker's own keys are."""


def odd(class_, term, **fields):
    return parse_category(class_, {"scheme": S, "term": term, **fields})


@pytest.fixture
def broker(store):
    """A broker whose clients registered a kind and a mixin with such names."""
    broker = make_broker(store)
    broker.categories.register(
        [odd("kind", "thing", attributes=ODD), odd("kind", "plain"), odd("mixin", "tag", attributes=ODD)]
    )
    return broker


@pytest.mark.parametrize(("location", "mixins"), [("/thing/", ()), ("/plain/", (S + "tag",))])
def test_an_attribute_may_be_called_as_a_key_is(broker, location, mixins):
    """It takes no entity out of its collection, puts none into another, and can be filtered by."""
    broker.entities.create(location, [Draft(id="1", mixins=mixins)])
    assert broker.entities.find(location) == [location + "1"]
    assert broker.entities.find(cmbs.MEMBER_LOCATION) == []
    assert broker.members.all() == []
    for name in NAMES:
        assert broker.entities.find("/", Selection(attributes={name: cmbs.MEMBER})) == [location + "1"]
        assert broker.entities.find("/", Selection(attributes={name: "other"})) == []
    assert broker.entities.find("/", Selection(attributes={"occi.core.id": "1"})) == [location + "1"]
    with pytest.raises(CategoryConflict):
        broker.categories.remove([S + location.strip("/")])


def test_no_attribute_reaches_a_key_of_the_broker(broker):
    """Names of attributes are letters, digits, '-', '_' and '.'; a key of the broker's own has another character, or is never
    one of an attribute."""
    add_own(broker)
    entity = broker.entities.create("/thing/", [Draft(id="1")])[0]
    own = {name for name in keys_of(entity) if not name.startswith("=")}
    assert own == {"kind", "id"}
    assert not {attribute_key(name) for name in (*NAMES, "settled", "kept")} & {*NAMES, "@settled", "@kept"}


@pytest.mark.parametrize("name", ["occi.core.source", "occi.core.target", "occi.core.owner"])
@pytest.mark.parametrize("class_", ["mixin", "kind"])
def test_what_is_of_the_core_is_not_for_clients_to_define(broker, class_, name):
    """GFD.221 4.3.3: the prefix occi. is reserved. A mixin that brought a source would make a link of anything."""
    with pytest.raises(InvalidCategory) as caught:
        broker.categories.register([odd(class_, "bad", attributes={name: {}})])
    assert caught.value.data["attribute"] == name


def test_what_is_inherited_may_be_repeated(broker):
    """Clients copy a category as it was shown to them, its parents' attributes included; those stay what they were."""
    title = {"occi.core.title": {}, "occi.core.summary": {"type": "number", "required": True}}
    ends = {name: {"type": "number"} for name in LINK.attributes}
    broker.categories.register(
        [
            odd("kind", "copy", attributes=title, parent=RESOURCE.identifier),
            odd("kind", "wire", attributes={**title, **ends}, parent=LINK.identifier),
            odd("mixin", "note", attributes=title),
        ]
    )
    broker.entities.create("/copy/", [Draft(id="1", mixins=(S + "note",), title="t")])
    broker.entities.create(
        "/wire/", [Draft(id="1", attributes={"occi.core.source": "/copy/1", "occi.core.target": "/copy/1"})]
    )
    assert [link.path for link in broker.entities.get("/copy/1").links] == ["/wire/1"]


def damaged(store, path, **keys):
    """Give an entity the keys that version 0.3 would have written."""
    document = store.get(document_id(path))
    old = {name.removeprefix("="): values for name, values in keys_of(entity_from(document)).items()} | keys
    store.write([Write(document.id, document.type, document.body, old, document.revision)])


def test_entities_of_an_earlier_version_are_where_they_belong(broker, store):
    """A store whose keys an attribute took the place of is put right when a broker starts on it, once."""
    broker.entities.create("/thing/", [Draft(id="1")])
    broker.entities.create("/plain/", [Draft(id="2")])
    damaged(store, "/thing/1", kind=(cmbs.MEMBER,))
    assert broker.entities.find("/thing/") == []
    rekey(store, broker.categories.registry())
    assert broker.entities.find("/thing/") == ["/thing/1"]
    assert broker.entities.find(cmbs.MEMBER_LOCATION) == []
    before = store.commits
    rekey(store, broker.categories.registry())
    assert store.commits == before


def test_what_looked_like_a_link_is_none(broker, store):
    """A mixin of version 0.3 may have brought a source: that is heard of no more, and deletes nothing."""
    broker.entities.create("/plain/", [Draft(id="1"), Draft(id="2", mixins=(S + "tag",))])
    category = store.get(f"category:{S}tag")
    body = {**category.body, "definition": {**category.body["definition"], "attributes": {"occi.core.source": {}}}}
    store.write([replace(Write(category.id, category.type, body, category.keys), revision=category.revision)])
    damaged(store, "/plain/2", **{"occi.core.source": ("/plain/1",)})
    rekey(store, broker.categories.registry())
    broker.entities.delete("/plain/1")
    assert broker.entities.find("/plain/") == ["/plain/2"]


def test_a_broker_looks_through_nothing_without_need(store):
    """No one who used ordinary names waits for it."""
    broker = make_broker(store)
    before = store.commits
    rekey(store, broker.categories.registry())
    assert store.commits == before
    assert store.find(Query("keys")) == []


def test_what_has_lost_its_kind_can_be_read_and_deleted(broker, store):
    """A kind may go while an entity of it is made, or counted as unused when it was not."""
    broker.entities.create("/plain/", [Draft(id="1", title="t", mixins=(S + "tag",))])
    for term in ("plain", "tag"):
        document = store.get(f"category:{S}{term}")
        store.write([Write(document.id, document.type, revision=document.revision, delete=True)])
    shown = broker.entities.get("/plain/1")
    assert (shown.title, shown.attributes, broker.entities.actions(shown)) == ("t", {}, {})
    broker.entities.delete("/plain/1")
    with pytest.raises(UnknownEntity):
        broker.entities.get("/plain/1")


@pytest.mark.parametrize("number", [0, 255, 256, 257, 999])
def test_every_item_of_an_array_is_found(broker, number):
    """Items beyond those that are keys, in a filter alone, together with others, and in a second array that is too long."""
    broker.categories.register(
        [odd("kind", "shelf", attributes={name: {"type": "array"} for name in ("s.a", "s.b")} | {"s.c": {}})]
    )
    many = [f"w{n}" for n in range(1000)]
    given = {"s.a": many, "s.b": [*many, 5, True, "x" * 600], "s.c": "here"}
    broker.entities.create("/shelf/", [Draft(id="1", attributes=given), Draft(id="2", attributes={"s.a": ["w1"]})])
    for attributes in (
        {"s.a": f"w{number}"},
        {"s.b": f"w{number}"},
        {"s.a": f"w{number}", "s.b": "w998", "s.c": "here"},
        {"s.b": "x" * 600},
        {"s.b": "5"},
        {"s.b": "true"},
    ):
        assert "/shelf/1" in broker.entities.find("/shelf/", Selection(attributes=attributes))
    assert broker.entities.find("/shelf/", Selection(attributes={"s.a": "w1000"})) == []
    assert broker.entities.find("/shelf/", Selection(attributes={"s.a": "w1"})) == ["/shelf/1", "/shelf/2"]
    assert broker.entities.find("/shelf/", Selection(attributes={"s.a": "w999", "s.c": "there"})) == []
    broker.entities.delete_all("/shelf/", Selection(attributes={"s.a": f"w{number}", "s.b": "w0"}))
    assert broker.entities.find("/shelf/") == ["/shelf/2"]


@pytest.mark.parametrize("name", ["providers", "topics", "l1_socket_receiver_member"])
@pytest.mark.parametrize("value", [5, 1.5, {"a": 1}, "plain", [["a"]]])
def test_a_mixin_of_a_client_makes_no_other_attribute_of_ours(broker, name, value):
    """It may bring an attribute of the name with another type: what the broker cannot read is refused, and nothing breaks."""
    full = f"cmbs.message.{name}"
    broker.categories.register([odd("mixin", "other", attributes={full: {"type": "any"}})])
    given = Draft(cmbs.MESSAGE, "1", (S + "other",), {full: value})
    with pytest.raises(InvalidRequest) as caught:
        broker.entities.create(cmbs.MESSAGE_LOCATION, [given])
    assert caught.value.data["attribute"] == full


def test_a_mixin_leaves_type_and_mutability_to_the_kind(broker):
    """GFD.221 4.4.2: a template sets defaults of its own. It makes nothing mutable, and no number of a string."""
    size = {"type": "number", "mutable": False, "default": 1}
    broker.categories.register(
        [
            odd("kind", "crate", attributes={"c.size": size, "c.free": {"type": "any"}}),
            odd("mixin", "big", attributes={"c.size": {"type": "any", "default": 9}, "c.free": {"type": "string"}}),
        ]
    )
    crate = broker.entities.create("/crate/", [Draft(id="1", mixins=(S + "big",))])[0]
    assert crate.attributes["c.size"] == 9
    with pytest.raises(InvalidAttribute):
        broker.entities.create("/crate/", [Draft(id="2", mixins=(S + "big",), attributes={"c.size": "x"})])
    with pytest.raises(ImmutableAttribute):
        broker.entities.update("/crate/1", Draft(attributes={"c.size": 2}))
    with pytest.raises(InvalidAttribute):
        broker.entities.update("/crate/1", Draft(attributes={"c.free": 2}))


def test_messages_are_found_by_whom_they_came_from(broker):
    """However the id of that member is spelled."""
    add_own(broker)
    broker.entities.create(cmbs.MESSAGE_LOCATION, [Draft(cmbs.MESSAGE, "1")])
    for spelling in (OWN, OWN.upper(), f"urn:uuid:{OWN.upper()}"):
        found = broker.entities.find(cmbs.MESSAGE_LOCATION, Selection(attributes={cmbs.ORIGIN: spelling}))
        assert found == [cmbs.MESSAGE_LOCATION + "1"]
