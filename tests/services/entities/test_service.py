"""Entities: created, read, found, changed, deleted and acted on, each operation whole or not at all."""

import pytest

from pycmbs.errors import (
    Conflict,
    DuplicateId,
    InvalidAttribute,
    InvalidRequest,
    StoreUnavailable,
    UnknownCategory,
    UnknownEntity,
    UnknownLocation,
)
from pycmbs.occi import cmbs
from pycmbs.occi.category import parse_category
from pycmbs.occi.entity import Draft, Invocation
from pycmbs.services.entities.drafts import TARGET
from pycmbs.services.entities.selection import Selection
from pycmbs.services.records.entities import path_of
from tests.services.world import make_broker
from tests.store.faulty import Fault

S = "http://example.org/stuff#"
DEFINITIONS = (
    parse_category("action", {"term": "open", "scheme": S}),
    parse_category("action", {"term": "dry", "scheme": S}),
    parse_category(
        "kind",
        {
            "term": "box",
            "scheme": S,
            "actions": [S + "open"],
            "attributes": {"b.size": {"type": "number", "default": 1}, "b.name": {}, "b.tags": {"type": "array"}},
        },
    ),
    parse_category("kind", {"term": "crate", "scheme": S}),
    parse_category(
        "mixin", {"term": "paint", "scheme": S, "attributes": {"p.color": {"default": "red"}}, "actions": [S + "dry"]}
    ),
    parse_category("mixin", {"term": "gloss", "scheme": S, "applies": [S + "box"]}),
)
PAINT, GLOSS = S + "paint", S + "gloss"


@pytest.fixture
def entities(store):
    broker = make_broker(store, shipped=False)
    broker.categories.register(DEFINITIONS)
    return broker.entities


def box(entities, id="1", **fields):
    """A new box."""
    return entities.create("/box/", [Draft(id=id, **fields)])[0]


def test_a_new_entity_is_complete(entities):
    """What is created can be read: its defaults, its path below the kind's location."""
    box(entities, title="t", summary="s", attributes={"b": {"name": "x"}})
    read = entities.get("/box/1")
    assert (read.id, read.kind, read.path, read.title, read.summary) == ("1", S + "box", "/box/1", "t", "s")
    assert read.attributes == {"b.size": 1, "b.name": "x"}


def test_an_id_is_made_when_none_is_given(entities):
    """Ids that the broker makes are unique and lie below the location."""
    paths = [one.path for one in entities.create("/box/", [Draft(), Draft()])]
    assert len(set(paths)) == 2
    assert entities.find("/box/") == paths


def test_a_batch_is_all_or_nothing(entities):
    """GFD.185 3.4: one wrong entity keeps the others out."""
    with pytest.raises(InvalidAttribute):
        entities.create("/box/", [Draft(id="1"), Draft(id="2", attributes={"b.size": "big"})])
    assert entities.find("/box/") == []


def test_an_id_is_used_once(entities):
    """A second entity of the same id is a conflict that says where the first is, and the batch leaves no trace."""
    box(entities)
    with pytest.raises(DuplicateId) as caught:
        entities.create("/box/", [Draft(id="2"), Draft(id="1")])
    assert caught.value.data["id"] == "/box/1"
    assert entities.find("/box/") == ["/box/1"]


def test_a_batch_uses_an_id_once(entities):
    """Two entities of one body cannot share an id."""
    with pytest.raises(DuplicateId):
        entities.create("/box/", [Draft(id="1"), Draft(id="1")])


@pytest.mark.parametrize(
    ("location", "draft", "error"),
    [
        ("/box/", Draft(kind=S + "crate"), InvalidRequest),
        ("/paint/", Draft(kind=S + "box"), InvalidRequest),
        ("/", Draft(), InvalidRequest),
        ("/nowhere/", Draft(kind=S + "box"), UnknownLocation),
        ("/crate/", Draft(mixins=(GLOSS,)), InvalidRequest),
        ("/box/", Draft(mixins=(S + "nothing",)), UnknownCategory),
        ("/box/", Draft(attributes={"p.color": "red"}), InvalidAttribute),
    ],
)
def test_a_wrong_creation_is_refused(entities, location, draft, error):
    """The kind must be that of the location, the mixins must apply, the attributes be theirs."""
    with pytest.raises(error):
        entities.create(location, [draft])


def test_what_is_not_there_says_what_is(entities):
    """A 404 on a path of a known location hints at its neighbours."""
    box(entities)
    with pytest.raises(UnknownEntity) as caught:
        entities.get("/box/2")
    assert caught.value.data["location"] == "/box/2"
    assert "/box/1" in caught.value.hint


def test_put_creates(entities):
    """GFD.223 5.6.2: PUT to a free path makes the entity there."""
    entity, new = entities.put("/box/9", Draft(attributes={"b.name": "x"}))
    assert (entity.path, entity.kind, new) == ("/box/9", S + "box", True)


def test_put_replaces(entities):
    """GFD.223 5.6.2: what is not in the new representation is gone, but for its links (GFD.185 3.4.3)."""
    box(
        entities,
        title="t",
        attributes={"b.name": "x"},
        links=[Draft(id="l", attributes={"occi.core.target": "/x"})],
        mixins=(PAINT,),
    )
    entity, new = entities.put("/box/1", Draft(attributes={"b.size": 2}))
    assert new is False
    assert (entity.attributes, entity.title, entity.mixins) == ({"b.size": 2}, "", ())
    assert [link.path for link in entity.links] == ["/link/l"]


@pytest.mark.parametrize(
    ("path", "draft"),
    [
        ("/box/1", Draft(id="2")),
        ("/box/1", Draft(kind=S + "crate")),
        ("/box/2", Draft(kind=S + "crate")),
        ("/elsewhere/2", Draft()),
        ("/box/a b", Draft()),
        ("/-/x", Draft(kind=S + "box")),
    ],
)
def test_a_wrong_put_is_refused(entities, path, draft):
    """Id and kind cannot change, and must fit the path."""
    box(entities)
    with pytest.raises(InvalidRequest):
        entities.put(path, draft)


def test_an_update_changes_only_what_is_given(entities):
    """GFD.223 5.6.3: POST changes a part."""
    box(entities, title="t", attributes={"b.name": "x"})
    entities.update("/box/1", Draft(summary="s", attributes={"b": {"size": 3}}))
    read = entities.get("/box/1")
    assert (read.title, read.summary, read.attributes) == ("t", "s", {"b.size": 3, "b.name": "x"})


def test_a_conflict_is_tried_again(entities, store):
    """Someone who is faster makes the update start over, and both changes stay."""
    box(entities)
    store.before_write = lambda: entities.update("/box/1", Draft(title="theirs"))
    entities.update("/box/1", Draft(summary="ours"))
    read = entities.get("/box/1")
    assert (read.title, read.summary) == ("theirs", "ours")


def test_a_conflict_without_end_is_given_up(entities, store):
    """An update never spins for ever: it is a Conflict after some tries."""
    box(entities)

    def once():
        store.before_write = None
        entities.modify("/box/1", lambda entity: entity.private.update(n=entity.private.get("n", 0) + 1) is None)
        store.before_write = once

    store.before_write = once
    with pytest.raises(Conflict):
        entities.update("/box/1", Draft(summary="ours"))


def test_a_put_that_loses_the_race_replaces(entities, store):
    """Two PUTs to one free path: the second one replaces what the first one made."""
    store.before_write = lambda: entities.put("/box/1", Draft(title="first"))
    entity, new = entities.put("/box/1", Draft(title="second"))
    assert (entity.title, new) == ("second", False)


def test_what_is_deleted_is_gone(entities):
    """DELETE removes the entity, and a second one finds nothing."""
    box(entities)
    entities.delete("/box/1")
    with pytest.raises(UnknownEntity):
        entities.delete("/box/1")


def test_a_deleted_id_is_free_again(entities):
    """An id can be used again once its entity is gone."""
    box(entities, title="old")
    entities.delete("/box/1")
    assert box(entities).title == ""


def test_a_collection_is_deleted_as_selected(entities):
    """GFD.223 5.5.6: DELETE on a collection takes the entities that the filter selects."""
    box(entities, "1", attributes={"b.size": 5})
    box(entities, "2")
    assert entities.delete_all("/box/", Selection(attributes={"b.size": 5})) == 1
    assert entities.find("/box/") == ["/box/2"]


def test_a_mixin_is_given_and_taken(entities):
    """GFD.223 5.5.3, 5.5.5: an entity gets the mixin's attributes with it, and loses them with it."""
    box(entities)
    entities.memberships.associate(PAINT, ["/box/1"])
    entities.update("/box/1", Draft(attributes={"p.color": "blue"}))
    assert entities.get("/box/1").mixins == (PAINT,)
    entities.memberships.associate(PAINT, ["/box/1"], member=False)
    read = entities.get("/box/1")
    assert (read.mixins, read.attributes) == ((), {"b.size": 1})


def test_what_lost_its_mixin_can_be_sent_back(entities):
    """A client that sends what it read is never refused."""
    box(entities, mixins=(PAINT,), attributes={"p.color": "blue"})
    entities.update("/box/1", Draft(mixins=()))
    read = entities.get("/box/1")
    assert entities.put("/box/1", Draft(attributes=read.attributes))[0].attributes == read.attributes


def test_associating_is_all_or_nothing(entities):
    """One path that is not there keeps the mixin from the others."""
    box(entities)
    with pytest.raises(UnknownEntity):
        entities.memberships.associate(PAINT, ["/box/1", "/box/2"])
    assert entities.get("/box/1").mixins == ()


def test_associating_twice_is_once(entities, store):
    """A member of the collection that is added again changes nothing."""
    box(entities, mixins=(PAINT,))
    before = store.change_token("entity")
    entities.memberships.associate(PAINT, ["/box/1", "/box/1"])
    assert store.change_token("entity") == before


def test_a_mixin_that_does_not_apply_is_refused(entities):
    """GFD.221 4.4.2: a mixin made for another kind cannot be associated."""
    entities.create("/crate/", [Draft(id="1")])
    with pytest.raises(InvalidRequest):
        entities.memberships.associate(GLOSS, ["/crate/1"])


def test_an_action_that_applies_is_performed(entities):
    """GFD.223 5.6.5: an action of the kind, or of a mixin the entity has."""
    box(entities, mixins=(PAINT,))
    assert entities.act("/box/1", Invocation("open")) == entities.act("/box/1", Invocation("dry", S + "dry")) == {}


@pytest.mark.parametrize("invocation", [Invocation("dry"), Invocation("fly"), Invocation("open", "http://other/#open")])
def test_an_action_that_does_not_apply_is_refused(entities, invocation):
    """The refusal lists those that do, and names the mixin that would bring the one asked for."""
    box(entities)
    with pytest.raises(InvalidRequest) as caught:
        entities.act("/box/1", invocation)
    assert caught.value.hint.endswith("These do: open.")
    assert (PAINT in caught.value.hint) == (invocation.term == "dry")


def test_a_collections_action_must_apply_to_all(entities):
    """GFD.221 4.5.4: an action on a collection is valid only if all entities have it; none is acted on otherwise."""
    box(entities, "1", mixins=(PAINT,))
    box(entities, "2")
    assert entities.act_all("/box/", Invocation("open")) == (S + "open", {"/box/1": {}, "/box/2": {}})
    with pytest.raises(InvalidRequest):
        entities.act_all("/box/", Invocation("dry"))


@pytest.mark.parametrize(
    ("location", "selection", "found"),
    [
        ("/box/", Selection(), ["/box/1", "/box/2"]),
        ("/", Selection(), ["/box/1", "/box/2", "/crate/3"]),
        ("/paint/", Selection(), ["/box/1", "/crate/3"]),
        ("/", Selection(categories=(S + "crate",)), ["/crate/3"]),
        ("/box/", Selection(categories=(PAINT,)), ["/box/1"]),
        ("/box/", Selection(categories=(S + "crate",)), []),
        ("/box/", Selection(categories=(PAINT, GLOSS)), []),
        ("/box/", Selection(attributes={"b.size": 7}), ["/box/2"]),
        ("/box/", Selection(attributes={"b.tags": "x"}), ["/box/2"]),
        ("/box/", Selection(attributes={"b.size": 7, "b.name": "y"}), []),
        ("/paint/", Selection(attributes={"p.color": "red"}), ["/box/1", "/crate/3"]),
        ("/", Selection(drafts=(Draft(title="one"), Draft(id="3"))), ["/box/1", "/crate/3"]),
        ("/box/", Selection(drafts=(Draft(attributes={"b": {"size": 7}}),)), ["/box/2"]),
    ],
)
def test_a_collection_is_filtered(entities, location, selection, found):
    """GFD.223 5.5.1: what is found has every one of the conditions, in order of creation."""
    box(entities, "1", title="one", mixins=(PAINT,))
    box(entities, "2", attributes={"b": {"size": 7, "tags": ["x", "y"]}})
    entities.create("/crate/", [Draft(id="3", mixins=(PAINT,))])
    assert entities.find(location, selection) == found


@pytest.mark.parametrize(
    ("location", "selection", "error"),
    [
        ("/nowhere/", Selection(), UnknownLocation),
        ("/box/", Selection(categories=("nothing",)), UnknownCategory),
        ("/box/", Selection(attributes={"b.sise": 1}), InvalidAttribute),
    ],
)
def test_a_filter_on_what_is_not_there_is_an_error(entities, location, selection, error):
    """A mistyped filter must not select everything, nor nothing in silence."""
    with pytest.raises(error):
        entities.find(location, selection)


def test_a_long_collection_is_listed_whole(entities):
    """More than a page is more than one read, and nothing is listed twice or left out."""
    made = [one.path for one in entities.create("/crate/", [Draft() for _ in range(1300)])]
    assert entities.find("/crate/") == made


@pytest.mark.parametrize("operation", ["create", "put", "update", "delete"])
def test_a_store_that_is_gone_changes_nothing(entities, store, operation):
    """StoreUnavailable comes through as it is, and later the same request passes."""
    box(entities)
    requests = {
        "create": lambda: entities.create("/box/", [Draft(id="2")]),
        "put": lambda: entities.put("/box/1", Draft(title="x")),
        "update": lambda: entities.update("/box/1", Draft(title="x")),
        "delete": lambda: entities.delete("/box/1"),
    }
    store.arm(Fault.UNAVAILABLE, "write")
    with pytest.raises(StoreUnavailable):
        requests[operation]()
    store.disarm()
    assert entities.get("/box/1").title == ""
    requests[operation]()


def test_a_mixin_brings_its_defaults(entities):
    """An entity that is given a mixin has its defaults, is found by them, and keeps what it had."""
    path = box(entities, attributes={"b.size": 7}).path
    entities.memberships.associate(PAINT, [path])
    assert entities.get(path).attributes["p.color"] == "red"
    assert entities.get(path).attributes["b.size"] == 7
    assert entities.find("/box/", Selection(attributes={"p.color": "red"})) == [path]


def test_a_long_text_is_found_by_its_value(entities):
    """A text too long for the index is compared instead."""
    path = box(entities, attributes={"b.name": "x" * 5000}).path
    box(entities, "2", attributes={"b.name": "x" * 5001})
    assert entities.find("/box/", Selection(attributes={"b.name": "x" * 5000})) == [path]


def test_only_ids_that_the_broker_drew_are_drawn(store):
    """A store may take it that no one has them: not those that a client chose, in a body or a URL, nor what is changed."""
    broker = make_broker(store)
    store.batches.clear()
    linked = Draft(
        cmbs.MESSAGE, links=[Draft(attributes={TARGET: "/other"}), Draft(id="c", attributes={TARGET: "/other"})]
    )
    made, _ = broker.entities.create(cmbs.MESSAGE_LOCATION, [linked, Draft(cmbs.MESSAGE, "chosen")])
    broker.entities.put(cmbs.MESSAGE_LOCATION + "put", Draft(cmbs.MESSAGE))
    broker.entities.update(made.path, Draft(title="again"))
    drawn = [[(path_of(write.id).rpartition("/")[0], write.drawn) for write in batch] for batch in store.batches]
    link, message = "/link", cmbs.MESSAGE_LOCATION.rstrip("/")
    assert drawn == [
        [(link, True), (link, False), (message, True), (message, False)],
        [(message, False)],
        [(message, False)],
    ]
