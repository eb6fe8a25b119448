"""``application/occi+json`` of 2012: bytes in, model out, and back, on literals."""

import contextlib
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycmbs.errors import InvalidCategory, InvalidRequest, MalformedBody
from pycmbs.occi.attribute import MOST_DEPTH, AttributeDefinition
from pycmbs.occi.category import Action, Kind, Mixin, parse_category
from pycmbs.occi.entity import Draft, Entity, Invocation
from pycmbs.occi.rendering import EntityView, ProviderBinding
from pycmbs.occi.rendering.json_2012 import JsonWriter, category_document, entity_document
from pycmbs.occi.rendering.json_reader import JsonReader, load
from pycmbs.occi.schema import Schema

READ, WRITE = JsonReader(), JsonWriter()
MEMBER = "http://houssem.org/cmbs#member"
START = "http://houssem.org/cmbs/member/action#start_l1"


def body(document):
    """The bytes of a document."""
    return json.dumps(document).encode()


# Reading


@pytest.mark.parametrize("text", [b"{", b"", b"{'a': 1}", b"\xff", b"{} x", b"NaN", b'{"a": "\xe9"}', b'"\\ud800"'])
def test_what_is_no_json_is_malformed(text):
    """RFC 8259: the error says where the body breaks."""
    with pytest.raises(MalformedBody) as caught:
        load(text)
    assert set(caught.value.data) == {"line", "column"}


def test_the_error_says_where():
    """Line and column count from one."""
    with pytest.raises(MalformedBody) as caught:
        load(b'{"a": 1,\n "b" 2}')
    assert caught.value.data["line"] == 2


def test_depth_has_a_limit():
    """What is accepted can also be answered: the encoder stops at 254 levels."""
    assert load(b"[" * MOST_DEPTH + b"]" * MOST_DEPTH)
    with pytest.raises(MalformedBody):
        load(b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1))


def test_many_brackets_are_no_depth():
    """A long list is not a deep one."""
    assert len(load(b"[" + b",".join([b"{}"] * 500) + b"]")) == 500


METHODS = {
    "categories": READ.categories,
    "category_names": READ.category_names,
    "category_filter": READ.category_filter,
    "drafts": READ.drafts,
    "entity_filter": READ.entity_filter,
    "locations": READ.locations,
    "invocation": lambda text: READ.invocation(text, "start_l1"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", [b"[5]", b"5", b"null", b'"x"', b"true", b"{"])
def test_a_body_is_an_object(method, text):
    """GFD.226 4: every body is a JSON object, but for rOCCI's lists of locations."""
    with pytest.raises(MalformedBody):
        METHODS[method](text)


@pytest.mark.parametrize("method", [*(name for name in METHODS if name not in ("locations", "drafts")), "drafts"])
def test_an_unknown_member_is_malformed(method):
    """A typing error does not pass in silence; the error names it."""
    with pytest.raises(MalformedBody) as caught:
        METHODS[method](b'{"resurces": []}')
    assert caught.value.data["field"] == "resurces"


def test_categories_come_by_class():
    """GFD.226 4.4: kinds, mixins and actions in one body."""
    scheme = "http://example.org/s#"
    text = body({member: [{"term": member[:-1], "scheme": scheme}] for member in ("kinds", "mixins", "actions")})
    assert [type(one) for one in READ.categories(text).categories] == [Kind, Mixin, Action]


def test_a_provider_is_bound():
    """PUT /-/ of 2012 (reference, 2): the backend of a kind, by name."""
    text = body({"providers": [{"Provider": {"local": ["cmbs_member"], "remote": []}, "OCCI_ID": MEMBER}]})
    assert READ.categories(text).providers == [ProviderBinding(MEMBER, ("cmbs_member",))]


@pytest.mark.parametrize(
    "item",
    [{"OCCI_ID": MEMBER}, {"Provider": {"local": ["x"]}}, {"Provider": {"local": [5]}, "OCCI_ID": MEMBER},
     {"Provider": {"local": "x"}, "OCCI_ID": MEMBER}, {"Provider": {}, "OCCI_ID": 5}, {"Provider": []}],
)  # fmt: skip
def test_a_wrong_provider_is_refused(item):
    """A binding has an object of name lists and a kind's identifier."""
    with pytest.raises(InvalidRequest):
        READ.categories(body({"providers": [item]}))


@pytest.mark.parametrize("document", [{}, {"kinds": []}, {"kinds": "", "mixins": None, "providers": []}])
def test_no_category_is_malformed(document):
    """A POST on the query interface names at least one category (GFD.223 5.4.2)."""
    with pytest.raises(MalformedBody):
        READ.categories(body(document))


@pytest.mark.parametrize("value", [{}, "x", 5, [5], ["x"], [[]]])
def test_a_list_of_categories_holds_objects(value):
    """Anything else is malformed."""
    with pytest.raises(MalformedBody):
        READ.categories(body({"kinds": value}))


def test_categories_to_delete_are_named_by_term_and_scheme():
    """GFD.223 5.4.3: an identifier, or an object with term and scheme."""
    text = body(
        {
            "kinds": [{"term": "member", "scheme": "http://houssem.org/cmbs#"}],
            "mixins": ["http://houssem.org/cmbs#l3.1"],
        }
    )
    assert READ.category_names(text) == [MEMBER, "http://houssem.org/cmbs#l31"]


@pytest.mark.parametrize("text", [b"", b" \n", b"{}"])
def test_no_filter_filters_nothing(text):
    """A GET with an empty body asks for everything."""
    assert READ.category_filter(text) is None
    assert READ.entity_filter(text) == []


def test_categories_are_filtered_by_class():
    """2012 (reference, 2): GET /-/ with partial categories; a class that is not named is not asked for."""
    assert READ.category_filter(b'{"kinds": [{"term": "member"}], "mixins": []}') == {
        "kind": [{"term": "member"}],
        "mixin": [],
    }


ENTITY = {
    "kind": MEMBER,
    "id": "urn:uuid:996ad860",
    "mixins": ["http://houssem.org/cmbs#l3.1"],
    "attributes": {"cmbs": {"member": {"state": "active"}}},
    "title": "a title",
    "summary": "a summary",
    "links": [{"target": "/x"}],
    "actions": [],
}
DRAFT = Draft(
    kind=MEMBER,
    id="996ad860",
    mixins=("http://houssem.org/cmbs#l31",),
    attributes={"cmbs": {"member": {"state": "active"}}},
    title="a title",
    summary="a summary",
    links=[Draft(attributes={"occi.core.target": "/x"})],
)


@pytest.mark.parametrize(
    "document", [{"resources": [ENTITY]}, ENTITY, {"resources": [], "links": [ENTITY]}, {"links": [ENTITY]}]
)
def test_an_entity_may_be_bare_or_in_a_collection(document):
    """GFD.226 4.1: a collection; GFD.223 5.6.2: the bare object."""
    assert READ.drafts(body(document)) == [DRAFT]
    assert READ.entity_filter(body(document)) == [DRAFT]


def test_what_is_not_given_is_none():
    """A partial entity says only what changes."""
    assert READ.drafts(b'{"title": "x"}') == [Draft(title="x")]


def test_the_core_attributes_have_two_places():
    """GFD.226 4.2.1: id, title and summary are members, and occi.core attributes."""
    attributes = {"occi.core.id": "a", "occi.core.title": "b", "occi.core.summary": "c", "x": 1}
    assert READ.drafts(body({"attributes": attributes})) == [Draft(id="a", title="b", summary="c", attributes={"x": 1})]


@pytest.mark.parametrize("id", [None, ""])
def test_an_empty_id_is_none(id):
    """A form that leaves the id empty wants one made."""
    assert READ.drafts(body({"id": id, "kind": MEMBER}))[0].id is None


@pytest.mark.parametrize("document", [{}, {"resources": []}, {"links": []}, {"resources": ""}])
def test_no_entity_is_malformed(document):
    """A creation describes at least one entity, and the answer shows how."""
    with pytest.raises(MalformedBody) as caught:
        READ.drafts(body(document))
    assert caught.value.hint


@pytest.mark.parametrize(
    "document",
    [{"resources": {}}, {"resources": [5]}, {"resources": [], "kinds": []}, {"kind": 5}, {"kind": "member"},
     {"kind": [MEMBER, MEMBER]}, {"id": 5}, {"id": "a/b"}, {"attributes": []}, {"attributes": "x"}, {"title": 5},
     {"summary": "a\x00"}, {"mixins": [5]}, {"mixins": 5}, {"links": ["x"]}, {"links": {}}, {"kind": {}}, {"resources": [[]]}],
)  # fmt: skip
def test_a_wrong_entity_is_refused(document):
    """A member of the wrong shape is an InvalidRequest, and never anything worse."""
    with pytest.raises(InvalidRequest):
        READ.drafts(body(document))


@pytest.mark.parametrize("member", ["X-OCCI-Location", "Location", "locations"])
def test_locations_have_three_names(member):
    """2012 transposed the header's name; MartServer says locations (reference, 3.3)."""
    assert READ.locations(body({member: ["http://host/a/1"]})) == ["http://host/a/1"]


def test_no_locations_are_none():
    """A body that lists none is told from one that lists no one."""
    assert READ.locations(b"{}") is None
    assert READ.locations(b'{"X-OCCI-Location": []}') == []


@pytest.mark.parametrize("value", [5, "http://host/a", [5], {}])
def test_locations_are_texts(value):
    """Anything else is malformed."""
    with pytest.raises(MalformedBody):
        READ.locations(body({"X-OCCI-Location": value}))


@pytest.mark.parametrize("text", [b"", b"{}"])
def test_an_action_needs_no_body(text):
    """2012 sends {} with every action."""
    assert READ.invocation(text, "start_l1") == Invocation("start_l1")


@pytest.mark.parametrize(
    "document",
    [
        {"action": START},
        {"category": START},
        {"actions": [START]},
        {"actions": [{"term": "start_l1", "scheme": START[:-8]}]},
    ],
)
def test_an_action_may_be_named_in_the_body(document):
    """GFD.226 4.2.5: an invocation has the action's identifier and attributes."""
    invocation = READ.invocation(body({**document, "attributes": {"wait": 1}}), "start_l1")
    assert invocation == Invocation("start_l1", START, {"wait": 1})


def test_an_action_has_one_spelling():
    """?action=start_l3.1 of the README is start_l31."""
    assert READ.invocation(b"{}", "start_l3.1").term == "start_l31"


@pytest.mark.parametrize(
    "document",
    [{"action": START[:-1] + "2"}, {"actions": [START, START[:-1] + "2"]}, {"action": 5}, {"attributes": []}],
)
def test_a_wrong_invocation_is_refused(document):
    """URL and body name the same one action."""
    with pytest.raises(InvalidRequest):
        READ.invocation(body(document), "start_l1")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["kinds", "kind", "resources", "links", "attributes", "id", "term", "scheme", "providers", "Provider",
                         "local", "OCCI_ID", "action", "actions", "mixins", "title", "location", "depends", "pattern", "a"]),
        inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(st.sampled_from(sorted(METHODS)), JUNK)
def test_no_body_breaks_the_reader(method, document):
    """Whatever JSON a client sends is read, or refused as an InvalidRequest."""
    with contextlib.suppress(InvalidRequest):
        METHODS[method](body(document))


# Writing


def test_categories_are_written_by_class():
    """GFD.226 4.4: kinds, mixins and actions, each an array even when it is empty."""
    shown = json.loads(WRITE.categories([Action("http://x/y#", "go", "Go")], pretty=False))
    assert shown == {
        "kinds": [],
        "mixins": [],
        "actions": [{"term": "go", "scheme": "http://x/y#", "title": "Go", "attributes": {}}],
    }


def test_an_entity_is_written_bare():
    """2012 (reference, 2): GET answers the bare object, attributes nested, actions as {title, href, category}."""
    entity = Entity("1", MEMBER, "/cmbs/member/1", ("http://x/y#m",), {"cmbs.member.state": "active"}, "t", "s")
    assert json.loads(WRITE.entity(EntityView(entity, "http://h/cmbs/member/1", {START: "start"}), pretty=False)) == {
        "kind": MEMBER,
        "mixins": ["http://x/y#m"],
        "attributes": {"cmbs": {"member": {"state": "active"}}},
        "id": "1",
        "title": "t",
        "summary": "s",
        "links": [],
        "actions": [{"title": "start", "href": "http://h/cmbs/member/1?action=start_l1", "category": START}],
    }


@pytest.mark.parametrize(
    ("written", "document"),
    [
        (WRITE.listing(["http://h/a/1"], pretty=False), {"X-OCCI-Location": ["http://h/a/1"]}),
        (WRITE.created(["http://h/a/1"], pretty=False), {"Location": ["http://h/a/1"]}),
        (WRITE.report("", {"state": "sending"}, pretty=False), {"state": "sending"}),
        (WRITE.error({"code": "conflict"}, pretty=False), {"error": {"code": "conflict"}}),
    ],
)
def test_answers_have_the_form_of_2012(written, document):
    """2012 (reference, 2): listings and creations are objects with the header's name."""
    assert json.loads(written) == document


def test_people_get_indented_json():
    """Pretty is the same document over several lines, and every answer ends with a newline."""
    plain, pretty = (WRITE.listing(["http://h/a"], pretty=one) for one in (False, True))
    assert json.loads(plain) == json.loads(pretty)
    assert (plain.count(b"\n"), pretty.count(b"\n")) == (1, 5)


def test_what_is_private_is_not_shown():
    """The broker's own record, revision and number stay inside."""
    entity = Entity("1", MEMBER, "/x/1", private={"wanted": ["l1"]}, revision="9", number=4)
    assert "wanted" not in str(entity_document(entity))
    assert {"private", "revision", "number", "path"}.isdisjoint(entity_document(entity))


# There and back

PARTS = st.sampled_from(["a", "b", "type", "default", "pattern", "required", "l31_socket", "x-1"])
NAMES = st.lists(PARTS, min_size=1, max_size=4).map(".".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
TERMS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)
IDENTIFIERS = TERMS.map(lambda term: "http://example.org/s#" + term)
REFERENCES = st.lists(IDENTIFIERS, max_size=2, unique=True).map(tuple)


@st.composite
def attributes(draw):
    """Definitions by name."""
    return {
        name: AttributeDefinition(
            name,
            draw(st.sampled_from(["string", "number", "boolean", "array", "object", "any"])),
            draw(st.booleans()),
            draw(st.booleans()),
            draw(st.sampled_from([None, "a|b", "[0-9]+", {"type": "string"}])),
            default=draw(VALUES),
            has_default=True,
            description=draw(st.text(max_size=5)),
        )
        for name in draw(st.lists(NAMES, max_size=5, unique=True))
    }


TITLES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
COMMON = {"scheme": st.just("http://example.org/s#"), "term": TERMS, "title": TITLES, "attributes": attributes()}
LOCATIONS = TERMS.map(lambda term: f"/{term}/")
CATEGORIES = (
    st.builds(Action, **COMMON)
    | st.builds(
        Kind, **COMMON, parent=IDENTIFIERS, actions=REFERENCES, location=LOCATIONS, provider=st.just("dummy"),
        remote_providers=st.just(()),
    )
    | st.builds(Mixin, **COMMON, depends=REFERENCES, applies=REFERENCES, actions=REFERENCES, location=LOCATIONS)
)  # fmt: skip


@given(CATEGORIES)
def test_a_category_is_what_its_rendering_says(category):
    """What is stored as JSON is the same category when it is read: nothing is lost between two starts."""
    text = orjson.dumps(category_document(category))
    assert parse_category(category.class_, orjson.loads(text)) == category


@given(st.dictionaries(NAMES, VALUES, max_size=5), TITLES, TITLES)
def test_an_entity_is_what_its_rendering_says(values, title, summary):
    """A client that sends back what it got says the same entity."""
    entity = Entity("1", MEMBER, "/x/1", ("http://x/y#m",), values, title, summary)
    (draft,) = READ.drafts(WRITE.entity(EntityView(entity, "http://h/x/1", {}), pretty=True))
    assert (draft.kind, draft.id, draft.mixins, draft.title, draft.summary) == (
        MEMBER,
        "1",
        entity.mixins,
        title,
        summary,
    )
    schema = Schema({name: AttributeDefinition(name, "any") for name in values})
    assert schema.flatten(draft.attributes) == values


def test_a_wrong_category_says_which_one():
    """An error in one of many definitions names the category."""
    with pytest.raises(InvalidCategory) as caught:
        READ.categories(body({"kinds": [{"term": "a", "scheme": "http://x/y#", "title": 5}]}))
    assert caught.value.data["category"] == "http://x/y#a"
