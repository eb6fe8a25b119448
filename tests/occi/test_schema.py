"""Schemas: what the attributes of one sort of entity must be, when it is created and when it changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycmbs.errors import ImmutableAttribute, InvalidAttribute
from pycmbs.occi import cmbs
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.schema import Schema, merged, nested


def schema(**definitions):
    """A schema of attributes ``t.<name>``."""
    return Schema({f"t.{name}": AttributeDefinition(f"t.{name}", **fields) for name, fields in definitions.items()})


SIZES = schema(size={"type": "number"}, color={"default": "red", "has_default": True}, made={"mutable": False})


@pytest.mark.parametrize(
    "given", [{"t": {"size": 1, "color": "x"}}, {"t.size": 1, "t.color": "x"}, {"t": {"size": 1}, "t.color": "x"}]
)
def test_nested_and_flat_names_are_the_same(given):
    """GFD.226 names attributes in full, 2012 nests them; a client may mix both."""
    assert SIZES.flatten(given) == {"t.size": 1, "t.color": "x"}


def test_an_object_attribute_keeps_its_inside():
    """The descent stops at a declared name, however its value looks."""
    content = {"t": {"size": {"unknown": {}}}}
    assert schema(box={"type": "object"}).flatten({"t": {"box": content}}) == {"t.box": content}


def test_the_readmes_spelling_is_understood():
    """l3.1_socket is l31_socket."""
    assert schema(l31_socket={}).flatten({"t": {"l3.1_socket": "x"}}) == {"t.l31_socket": "x"}


@pytest.mark.parametrize(
    ("given", "name"),
    [({"t": {"sise": 1}}, "t.sise"), ({"t.a.b": 1}, "t.a.b"), ({"x": 1}, "x"), ({"t": {"size": 1, "y": {}}}, "t.y")],
)
def test_an_unknown_attribute_is_refused(given, name):
    """The error names the attribute and those that come close."""
    with pytest.raises(InvalidAttribute) as caught:
        SIZES.flatten(given)
    assert caught.value.data["attribute"] == name


def test_a_typing_error_is_answered_with_what_was_meant():
    """The hint lists the attributes whose names begin alike."""
    with pytest.raises(InvalidAttribute) as caught:
        SIZES.flatten({"t": {"sizes": 1}})
    assert caught.value.hint == "It has: t.size."


@pytest.mark.parametrize("given", [{}, {"t": {}}])
def test_an_empty_level_says_nothing(given):
    """An object without attributes inside gives none."""
    assert SIZES.flatten(given) == {}


def test_a_deep_body_is_an_error():
    """Nesting without end is refused as an unknown attribute."""
    deep = value = {}
    for _ in range(90):
        value["a"] = value = {}
    value["a"] = 1
    with pytest.raises(InvalidAttribute):
        SIZES.flatten(deep)


def test_creation_fills_in_defaults():
    """GFD.226 4.3: a default is used when the attribute is not present."""
    assert SIZES.created({"t.size": 1}) == {"t.size": 1, "t.color": "red"}


def test_creation_may_set_what_is_immutable():
    """GFD.221 4.3.3: immutable means not changed by clients once it is there."""
    assert SIZES.created({"t.made": "2012"})["t.made"] == "2012"


def test_creation_checks_values():
    """A value that contradicts its definition is refused, by name."""
    with pytest.raises(InvalidAttribute) as caught:
        SIZES.created({"t.size": "big"})
    assert caught.value.data["attribute"] == "t.size"


@pytest.mark.parametrize("given", [{}, {"t.name": ""}])
def test_what_is_required_must_be_given(given):
    """GFD.221 4.3.3: required is checked at creation; nothing is not a value."""
    with pytest.raises(InvalidAttribute) as caught:
        schema(name={"required": True}).created(given)
    assert caught.value.data["attribute"] == "t.name"


def test_a_default_satisfies_what_is_required():
    """An attribute with a default is never missing."""
    assert schema(name={"required": True, "default": "x", "has_default": True}).created({}) == {"t.name": "x"}


OWN = Schema(cmbs.table(cmbs.internal("t.state"), AttributeDefinition("t.size", "number")))


def test_what_only_the_broker_writes_cannot_be_created():
    """A client that sets the broker's own attribute is refused."""
    with pytest.raises(ImmutableAttribute) as caught:
        OWN.created({"t.state": "sent"})
    assert caught.value.data["attribute"] == "t.state"


@pytest.mark.parametrize("replace", [True, False])
def test_what_only_the_broker_writes_may_be_sent_back(replace):
    """A client may send the whole entity it read, and changes nothing of the broker's by it."""
    assert OWN.changed({"t.state": "sent"}, {"t.state": "sent", "t.size": 2}, replace=replace) == {
        "t.state": "sent",
        "t.size": 2,
    }


@pytest.mark.parametrize("replace", [True, False])
def test_what_only_the_broker_writes_cannot_be_changed(replace):
    """Neither PUT nor POST changes the broker's own attributes."""
    with pytest.raises(ImmutableAttribute):
        OWN.changed({"t.state": "sent"}, {"t.state": "delivered"}, replace=replace)


def test_what_is_shown_may_be_sent_back():
    """An attribute that is only shown, not stored, is compared with what is shown."""
    assert OWN.changed({}, {"t.state": "now"}, replace=True, shown={"t.state": "now"}) == {}


def test_a_partial_update_keeps_the_rest():
    """GFD.223 5.6.3: only what is given changes."""
    assert SIZES.changed({"t.size": 1, "t.color": "blue"}, {"t.size": 2}, replace=False) == {
        "t.size": 2,
        "t.color": "blue",
    }


def test_a_replacement_falls_back_to_defaults():
    """GFD.223 5.6.2: what is not given is as if it had never been, but for what is immutable."""
    changed = SIZES.changed({"t.size": 1, "t.color": "blue", "t.made": "2012"}, {}, replace=True)
    assert changed == {"t.color": "red", "t.made": "2012"}


def test_what_is_immutable_stays():
    """GFD.221 4.3.3: an immutable attribute cannot be changed, and the same value is no change."""
    assert SIZES.changed({"t.made": "2012"}, {"t.made": "2012"}, replace=False) == {"t.made": "2012"}
    with pytest.raises(ImmutableAttribute) as caught:
        SIZES.changed({"t.made": "2012"}, {"t.made": "2013"}, replace=False)
    assert caught.value.data["attribute"] == "t.made"


def test_an_update_cannot_take_what_is_required():
    """A required attribute can be changed and not removed."""
    with pytest.raises(InvalidAttribute):
        schema(name={"required": True}).changed({"t.name": "x"}, {}, replace=True)


def test_a_filter_is_spelled_as_what_it_looks_for():
    """Values to filter by are normalised like stored ones; one that cannot be is kept, and finds nothing."""
    flags = schema(on={"pattern": "true|false"}, size={"type": "number"})
    assert flags.checked_filter({"t.on": "True", "t.size": "x"}) == {"t.on": "true", "t.size": "x"}


def test_a_later_layer_overrides():
    """GFD.221 4.4.2: a mixin's default overrides its kind's."""
    first, second = AttributeDefinition("a", default=1), AttributeDefinition("a", default=2)
    assert merged([{"a": first}, {"a": second}, {}]) == {"a": second}


def test_a_name_within_another_stays_flat():
    """The nested form cannot hold a value and a level in one place."""
    assert nested({"a": 1, "a.b": 2, "c.d": 3}) == {"a": 1, "a.b": 2, "c": {"d": 3}}


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(".".join)


@given(st.dictionaries(NAMES, st.integers() | st.dictionaries(st.sampled_from(["a", "b"]), st.integers())))
def test_nesting_loses_nothing(flat):
    """Attributes come back from the nested form, whatever their names are."""
    assert Schema({name: AttributeDefinition(name, "any") for name in flat}).flatten(nested(flat)) == flat
