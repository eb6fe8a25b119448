"""Kinds, mixins and actions: read from JSON of 2012 and of 1.2, and compared."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pycmbs.errors import InvalidCategory
from pycmbs.occi import cmbs
from pycmbs.occi.category import CORE, ENTITY, LINK, RESOURCE, Action, Kind, Mixin, bind, covers, parse_category
from pycmbs.occi.rendering.json_reader import JsonReader
from pycmbs.preparation import shipped_definitions

README = Path(__file__).parents[2] / "json_examples" / "readme_2012"
SCHEME = "http://example.org/stuff#"


def kind(**members):
    """A kind from JSON."""
    return parse_category("kind", {"term": "thing", "scheme": SCHEME, **members})


def mixin(**members):
    """A mixin from JSON."""
    return parse_category("mixin", {"term": "extra", "scheme": SCHEME, **members})


def printed(name):
    """The categories that the README of 2012 prints, by identifier."""
    body = (README / f"post_category_cmbs_{name}.json").read_bytes()
    return {one.identifier: one for one in JsonReader().categories(body).categories}


def shipped():
    """The categories that the broker ships, by identifier."""
    return {one.identifier: one for one in shipped_definitions()}


def test_the_member_of_2012_is_read():
    """The README's definition of the member kind means what it says, its l3.1 being l31."""
    member = printed("member")[cmbs.MEMBER]
    assert (member.location, member.parent) == ("/cmbs/member/", RESOURCE.identifier)
    assert {cmbs.socket_attribute(layer) for layer in ("l1", "l2", "l31", "l32", "l4")} < set(member.attributes)
    assert cmbs.MEMBER_ACTIONS + "start_l31" in member.actions
    assert cmbs.MEMBER_ACTIONS + "start_l32" in printed("member")


def test_the_message_of_2012_is_read():
    """The README's definition of the message kind comes with five mixins and six actions."""
    found = printed("message")
    assert found[cmbs.MESSAGE].attributes[cmbs.CONTENT].type == "object"
    assert len([one for one in found.values() if isinstance(one, Mixin)]) == 5
    assert len([one for one in found.values() if isinstance(one, Action)]) == 6
    assert found[cmbs.mixin("l4")].attributes.keys() == {cmbs.PROVIDERS, cmbs.TOPICS}


@pytest.mark.parametrize("name", ["member", "message"])
def test_the_definitions_of_2012_are_covered_by_the_shipped_ones(name):
    """The README's own JSON, posted verbatim, changes nothing."""
    ours = shipped()
    assert [one for one in printed(name).values() if not covers(ours[one.identifier], one)] == []


def test_every_definition_covers_itself():
    """Posting what GET shows changes nothing."""
    assert [one for one in shipped_definitions() if not covers(one, one)] == []


MEMBER = {
    "title": "a thing",
    "location": "/thing/",
    "actions": [SCHEME + "go"],
    "attributes": {"t.size": {"type": "number", "required": True}, "t.color": {"pattern": "red|green"}},
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"title": "another title"},
        {"actions": []},
        {"attributes": {}},
        {"attributes": {"t.color": {"pattern": "red"}}},
        {"attributes": {"t.color": {"pattern": "r.*", "default": "red", "description": "x"}}},
        {"parent": CORE + "resource"},
    ],
)
def test_a_definition_covers_what_says_no_more(change):
    """Attributes and actions may be fewer, and wording may differ."""
    assert covers(kind(**MEMBER), kind(**{**MEMBER, **change}))


@pytest.mark.parametrize(
    "change",
    [
        {"location": "/things/"},
        {"actions": [SCHEME + "go", SCHEME + "stop"]},
        {"attributes": {"t.weight": {}}},
        {"attributes": {"t.size": {"type": "string", "required": True}}},
        {"attributes": {"t.size": {"type": "number"}}},
        {"attributes": {"t.color": {"mutable": False, "pattern": "red"}}},
        {"attributes": {"t.color": {"pattern": "red|blue"}}},
        {"parent": CORE + "link"},
    ],
)
def test_a_definition_does_not_cover_what_contradicts_it(change):
    """Another location, type, flag or parent, or more of anything, is a contradiction."""
    assert not covers(kind(**MEMBER), kind(**{**MEMBER, **change}))


def test_a_kind_does_not_cover_a_mixin():
    """One identifier is one category."""
    assert not covers(
        kind(location="/x/"), parse_category("mixin", {"term": "thing", "scheme": SCHEME, "location": "/x/"})
    )


@pytest.mark.parametrize("relation", ["depends", "applies"])
def test_a_mixin_does_not_cover_more_relations(relation):
    """What a mixin depends on and applies to is part of what it says."""
    more = mixin(**{relation: [CORE + "link"]})
    assert not covers(mixin(), more)
    assert covers(more, mixin())


def test_any_covers_every_type():
    """An attribute that takes every value contradicts no type."""
    assert covers(kind(attributes={"a": {"type": "any"}}), kind(attributes={"a": {"type": "object"}}))


def test_attributes_may_be_nested_or_flat():
    """GFD.226 names attributes in full, the drafts of 2012 nest them: the definitions are the same."""
    nested = kind(attributes={"t": {"size": {"type": "number"}, "box": {"lid": {}}}})
    assert nested == kind(attributes={"t.size": {"type": "number"}, "t.box.lid": {}})


@pytest.mark.parametrize("name", ["type", "mutable", "required", "description", "minimum"])
def test_an_attribute_may_be_named_like_a_field(name):
    """An attribute called "type" is an attribute, not the type of its parent."""
    assert list(kind(attributes={"t": {name: {"type": "string"}}}).attributes) == [f"t.{name}"]


def test_the_spelling_of_attributes_is_one():
    """l3.1_socket declares l31_socket, nested or flat."""
    assert list(kind(attributes={"t": {"l3.1_socket": {}}}).attributes) == ["t.l31_socket"]
    assert list(kind(attributes={"t.l3.2_socket": {}}).attributes) == ["t.l32_socket"]


@pytest.mark.parametrize(
    "attributes",
    ["x", ["a"], 5, {"a": 5}, {"a": {"b": {"type": "string"}, "": {"type": "string"}}}, {"": {}}, {"a.": {}}, {"a..b": {}},
     {"a b": {}}, {".".join("a" * 17): {}}, {"a": {"b": "c"}}],
)  # fmt: skip
def test_attributes_that_are_none_are_refused(attributes):
    """What could not be read back from its own rendering never gets in."""
    with pytest.raises(InvalidCategory):
        kind(attributes=attributes)


def test_a_kind_has_the_resource_as_its_parent():
    """GFD.221 4.4.1: a kind has a parent; 2012's have none, and are resources."""
    assert kind().parent == RESOURCE.identifier


@pytest.mark.parametrize(
    "members", [{"parent": CORE + "link"}, {"related": [CORE + "link"]}, {"related": CORE + "link"}]
)
def test_a_parent_may_be_called_related(members):
    """The word of 2012 and that of 1.2 mean the same."""
    assert kind(**members).parent == LINK.identifier


@pytest.mark.parametrize("members", [{"depends": [SCHEME + "l3.1"]}, {"related": [{"term": "l31", "scheme": SCHEME}]}])
def test_a_mixin_depends_or_is_related(members):
    """References are identifiers or objects, in either spelling of the layers."""
    assert mixin(**members).depends == (SCHEME + "l31",)


def test_a_reference_counts_once():
    """The same action named twice is one action."""
    assert kind(actions=[SCHEME + "go", {"term": "go", "scheme": SCHEME}]).actions == (SCHEME + "go",)


@pytest.mark.parametrize("reference", [5, "go", {"term": "go"}, [["x"]], {}])
def test_a_reference_that_is_none_is_refused(reference):
    """Whatever is no identifier is an InvalidCategory."""
    with pytest.raises(InvalidCategory):
        kind(actions=[reference])


def test_a_location_is_made_of_the_term():
    """A category that does not say where it is, is at its term."""
    assert (kind().location, mixin().location) == ("/thing/", "/extra/")


@pytest.mark.parametrize("class_", ["kind", "mixin", "action"])
@pytest.mark.parametrize(
    "document", [None, 5, "x", [], {}, {"term": "a"}, {"scheme": SCHEME}, {"term": 5, "scheme": SCHEME}]
)
def test_what_is_no_category_is_refused(class_, document):
    """A category is an object with term and scheme."""
    with pytest.raises(InvalidCategory):
        parse_category(class_, document)


@pytest.mark.parametrize("member", ["attribute", "rel", "class"])
def test_an_unknown_member_is_refused(member):
    """A typing error does not pass in silence."""
    with pytest.raises(InvalidCategory) as caught:
        kind(**{member: "x"})
    assert caught.value.data["field"] == member


@pytest.mark.parametrize("title", [5, None, ["x"], "a\x00"])
def test_a_title_is_text(title):
    """Anything else is refused."""
    with pytest.raises(InvalidCategory):
        kind(title=title)


def test_an_action_has_no_location():
    """GFD.226 4.2.4: an action has term, scheme, title and attributes."""
    with pytest.raises(InvalidCategory):
        parse_category("action", {"term": "go", "scheme": SCHEME, "location": "/go/"})


def test_the_core_has_its_lineage():
    """GFD.221 4.4.1: resource and link are entities, and an entity has no parent. Each has a location."""
    assert (ENTITY.parent, ENTITY.location) == ("", "/entity/")
    assert RESOURCE.parent == LINK.parent == ENTITY.identifier


def test_binding_changes_the_backend_alone():
    """A kind that another backend serves is the same kind."""
    bound = bind(kind(), "cmbs_member", ("elsewhere",))
    assert (bound.provider, bound.remote_providers) == ("cmbs_member", ("elsewhere",))
    assert replace(bound, provider="dummy", remote_providers=()) == kind()


def test_a_kind_is_served_by_the_dummy_at_first():
    """As in 2012, a kind that was only posted is kept and nothing more."""
    assert kind().provider == Kind(SCHEME, "x").provider == "dummy"


def test_definitions_are_json():
    """What ships is what json_examples show."""
    example = json.loads((README.parent / "post_category_cmbs_member.json").read_text(encoding="utf-8"))
    assert {one["term"] for one in example["actions"]} <= {one.term for one in shipped_definitions()}
