"""Attribute definitions, and the check of one value against one definition."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycmbs.errors import InvalidAttribute, InvalidCategory
from pycmbs.occi.attribute import AttributeDefinition, is_definition, parse_definition

WHOLE = st.integers(-(2**63), 2**64 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
"""What a body of JSON can hold."""

SOCKETS_OF_2012 = "(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\\\\\\\\-]*[a-zA-Z0-9])\\\\\\\\.)*"


def attribute(**fields):
    """The definition of an attribute ``a``."""
    return parse_definition("a", fields)


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("string", ""),
        ("string", "x"),
        ("number", 5),
        ("number", -2.5),
        ("number", 0),
        ("boolean", True),
        ("boolean", False),
        ("array", []),
        ("array", [1, "x", {}]),
        ("object", {}),
        ("object", {"a": [1]}),
        ("any", None),
        ("any", "x"),
        ("any", [1]),
    ],
)
def test_a_value_of_the_declared_type_is_kept(type, value):
    """GFD.226 4.3: the types are string, number, boolean, array and object; any takes every JSON value."""
    assert attribute(type=type).check(value) == value


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("string", 5),
        ("string", True),
        ("string", None),
        ("string", []),
        ("number", "5"),
        ("number", True),
        ("boolean", 1),
        ("boolean", "yes"),
        ("boolean", ""),
        ("array", "x"),
        ("array", {}),
        ("object", []),
        ("object", "x"),
    ],
)
def test_a_value_of_another_type_is_refused(type, value):
    """The error names the attribute and the type it wants."""
    with pytest.raises(InvalidAttribute) as caught:
        attribute(type=type).check(value)
    assert caught.value.data == {"attribute": "a", "expected": type}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("String", "string"),
        ("ARRAY", "array"),
        ("list", "array"),
        ("Hash", "object"),
        ("integer", "number"),
        ("enum", "string"),
    ],
)
def test_types_compare_case_insensitively(written, meant):
    """2012 wrote capitals, and Core 1.2 has names of its own."""
    assert attribute(type=written).type == meant


def test_a_type_is_a_string_unless_said_otherwise():
    """GFD.226 4.3: type defaults to string."""
    assert attribute().type == "string"


@pytest.mark.parametrize("type", ["strin", "", 5, None, {}])
def test_an_unknown_type_is_refused(type):
    """A definition with a type of its own is an InvalidCategory that names the field."""
    with pytest.raises(InvalidCategory) as caught:
        attribute(type=type)
    assert caught.value.data["field"] == "type"


@pytest.mark.parametrize("value", ["True", "true", "TRUE", True])
def test_a_flag_declared_as_text_takes_every_spelling(value):
    """True, "true" and "True" mean the same, though the pattern of 2012 is true|false."""
    assert attribute(type="String", pattern="true|false").check(value) == "true"


@pytest.mark.parametrize("value", ["False", "false", False])
def test_a_flag_declared_as_boolean_takes_text(value):
    """The same holds for a flag that is a boolean."""
    assert attribute(type="boolean").check(value) is False


@pytest.mark.parametrize("value", ["truex", "", "yes", 1, None, ["true"]])
def test_a_flag_is_true_or_false(value):
    """What is neither is refused."""
    with pytest.raises(InvalidAttribute):
        attribute(type="string", pattern="true|false").check(value)


def test_a_boolean_may_have_the_pattern_of_a_flag():
    """A definition that says boolean and true|false means the same twice."""
    assert attribute(type="boolean", pattern="true|false").check("True") is True


def test_an_enumeration_takes_its_words():
    """A pattern of plain words allows each of them."""
    state = attribute(pattern="active|inactive|suspended|failed")
    assert [state.check(one) for one in ("active", "failed")] == ["active", "failed"]


@pytest.mark.parametrize("value", ["activeX", "inactiveactive", "Active", "", "active|inactive", "active\n"])
def test_an_enumeration_matches_whole(value):
    """A state "activeX" is refused, and the answer lists what is allowed."""
    with pytest.raises(InvalidAttribute) as caught:
        attribute(pattern="active|inactive").check(value)
    assert caught.value.data["allowed"] == ["active", "inactive"]


@pytest.mark.parametrize("pattern", ["l1|l2", "^l1|l2$", "(l1|l2)", "^(l1|l2)$"])
def test_an_enumeration_may_be_anchored(pattern):
    """Anchors and brackets around words change nothing."""
    with pytest.raises(InvalidAttribute):
        attribute(pattern=pattern).check("l1x")
    assert attribute(pattern=pattern).check("l1") == "l1"


def test_an_enumeration_of_layers_knows_the_aliases():
    """The README's l3.1 is the l31 of the enumeration."""
    assert attribute(pattern="l1|l2|l31|l32|l4").check("l3.1") == "l31"


def test_an_enumeration_holds_for_each_item_of_an_array():
    """An array's pattern is about its items."""
    layers = attribute(type="array", pattern="l1|l2")
    assert layers.check(["l1", "l2"]) == ["l1", "l2"]
    with pytest.raises(InvalidAttribute):
        layers.check(["l1", "l9"])


@pytest.mark.parametrize("item", [{}, [], None, {"l1": 1}])
def test_what_is_no_word_is_not_in_an_enumeration(item):
    """Any JSON value can be compared with an enumeration."""
    with pytest.raises(InvalidAttribute):
        attribute(type="array", pattern="l1|l2").check([item])


def test_numbers_can_be_enumerated():
    """A number is compared as it is written."""
    assert attribute(type="number", pattern="1|2").check(2) == 2
    with pytest.raises(InvalidAttribute):
        attribute(type="number", pattern="1|2").check(3)


def test_other_patterns_are_not_anchored():
    """A pattern (JSON Schema 6.3.3) that is not an enumeration may match anywhere."""
    assert attribute(pattern="[0-9]+").check("port 5010 or so") == "port 5010 or so"
    with pytest.raises(InvalidAttribute) as caught:
        attribute(pattern="[0-9]+").check("none")
    assert caught.value.data["attribute"] == "a"


def test_the_socket_pattern_of_2012_accepts_sockets():
    """The over-escaped pattern of the README's definition lets the README's sockets pass (reference, 1.4)."""
    assert attribute(pattern=SOCKETS_OF_2012).check("tcp://127.0.0.1:5010") == "tcp://127.0.0.1:5010"


@pytest.mark.parametrize("pattern", ["(", "[", "(?=x)", r"\1", "(?<=x)y", "a{2}{1001}", "*"])
def test_a_pattern_that_cannot_be_matched_in_linear_time_is_refused(pattern):
    """Wrong expressions, look-around and back-references are refused when they are declared, not when they are used."""
    with pytest.raises(InvalidCategory) as caught:
        attribute(pattern=pattern)
    assert caught.value.data["field"] == "pattern"


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        {"type": "string", "pattern": "(a+)+$"},
        {"patternProperties": {"(a+)+$": {}}, "additionalProperties": True},
    ],
    ids=["2012", "1.2", "properties"],
)
def test_an_evil_pattern_costs_nothing(pattern):
    """Patterns come from clients: matching is linear in the input, whichever form they come in."""
    evil = "a" * 5000 + "!"
    definition = attribute(type="any", pattern=pattern)
    started = time.perf_counter()
    with contextlib.suppress(InvalidAttribute):
        definition.check({evil: 1} if isinstance(pattern, dict) and "type" not in pattern else evil)
    assert time.perf_counter() - started < 1


def test_references_that_double_are_stopped():
    """A schema whose definitions each refer twice to the one before is given up, not followed 2**40 times."""
    definitions = {"d0": {}} | {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n - 1}"}] * 2} for n in range(1, 40)}
    with pytest.raises(InvalidAttribute):
        attribute(type="any", pattern={"$defs": definitions, "$ref": "#/$defs/d39"}).check(1)


def test_unique_items_are_found_in_linear_time():
    """A long array of objects is checked for doubles at once."""
    items = [{"n": n} for n in range(50_000)]
    definition = attribute(type="array", pattern={"uniqueItems": True})
    started = time.perf_counter()
    assert definition.check(items) is items
    assert time.perf_counter() - started < 2
    with pytest.raises(InvalidAttribute):
        definition.check([{"n": 1}, {"n": 1}])


def test_a_pattern_may_be_a_json_schema():
    """GFD.226 4.3: the pattern of 1.2 is a JSON Schema, here the standard's own example."""
    definition = attribute(
        pattern={"$schema": "http://json-schema.org/draft-04/schema#", "type": "string", "pattern": "\\S+"}
    )
    assert definition.check("x") == "x"
    with pytest.raises(InvalidAttribute) as caught:
        definition.check(" ")
    assert caught.value.data["attribute"] == "a"


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"minimum": 1}, 1, 0),
        ({"items": {"type": "string"}}, ["a"], [1]),
        ({"required": ["a"]}, {"a": 1}, {}),
        ({"properties": {"a": {"type": "number"}}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
        ({"patternProperties": {"^x": {"type": "number"}}}, {"x1": 1, "y": ""}, {"x1": ""}),
        ({"patternProperties": {"^x": {}}, "additionalProperties": {"type": "number"}}, {"x": "", "y": 1}, {"y": ""}),
        ({"$defs": {"n": {"type": "number"}}, "$ref": "#/$defs/n"}, 1, ""),
    ],
)
def test_a_json_schema_is_meant_as_it_says(schema, good, bad):
    """Also the keywords that are our own, so that they match in linear time, mean what JSON Schema says."""
    definition = attribute(type="any", pattern=schema)
    assert definition.check(good) == good
    with pytest.raises(InvalidAttribute):
        definition.check(bad)


@pytest.mark.parametrize(
    "schema",
    [{"type": 5}, {"$schema": 5}, {"minimum": "x"}, {"pattern": "(?=x)"}, {"items": {"pattern": "("}},
     {"patternProperties": {"(": {}}}, {"unevaluatedProperties": False}],
)  # fmt: skip
def test_what_is_no_usable_json_schema_is_refused(schema):
    """A wrong schema is refused when it is declared."""
    with pytest.raises(InvalidCategory) as caught:
        attribute(pattern=schema)
    assert caught.value.data["field"] == "pattern"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/schema", "file:///etc/passwd", "#/nowhere", "urn:x"])
def test_a_reference_is_never_fetched(url, monkeypatch):
    """A schema posted by a client cannot make the broker open anything: the value is refused instead."""
    monkeypatch.setattr("urllib.request.urlopen", lambda *_: pytest.fail("it was fetched"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("it was fetched"))
    with pytest.raises(InvalidAttribute):
        attribute(type="any", pattern={"$ref": url}).check("x")


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"$anchor": "b", "$ref": "#b"}, {"allOf": [{"$ref": "#"}]}])
def test_a_schema_that_refers_to_itself_is_an_error(schema):
    """Endless recursion refuses the value, and nothing worse."""
    with pytest.raises(InvalidAttribute):
        attribute(type="any", pattern=schema).check("x")


@pytest.mark.parametrize("pattern", [5, True, ["a"]])
def test_a_pattern_is_text_or_a_schema(pattern):
    """Anything else is refused."""
    with pytest.raises(InvalidCategory):
        attribute(pattern=pattern)


@pytest.mark.parametrize("pattern", [None, "", {}])
def test_no_pattern_allows_everything(pattern):
    """GFD.226 4.3: the default of pattern is {}."""
    assert attribute(pattern=pattern).pattern is None


def test_nothing_for_an_array_is_the_empty_one():
    """The samples of 2012 send "" for an array (reference, 1.4)."""
    assert attribute(type="Array", pattern=SOCKETS_OF_2012).check("") == []


def test_nothing_for_an_object_stays_nothing():
    """The samples of 2012 send "" for an object (reference, 1.4), whatever pattern that has."""
    assert attribute(type="Object", pattern="a|b").check("") == ""
    assert attribute(type="Object", pattern={"type": "object"}).check("") == ""


@pytest.mark.parametrize(("type", "value"), [("string", "a\x00"), ("array", ["a\x00"])])
def test_no_text_holds_nul(type, value):
    """NUL is refused, in an array's items too."""
    with pytest.raises(InvalidAttribute):
        attribute(type=type).check(value)


def test_a_default_is_a_value():
    """A default is kept in the spelling that a value would be."""
    assert attribute(pattern="true|false", default="True").initial() == "true"


@pytest.mark.parametrize(
    "fields",
    [
        {"pattern": "l1|l2|l31|l32|l4", "default": "true"},
        {"type": "number", "default": "5"},
        {"type": "array", "default": "x"},
        {"pattern": {"type": "string", "minLength": 1}, "default": ""},
    ],
)
def test_a_default_that_contradicts_its_definition_counts_as_none(fields):
    """cmbs_layer of 2012 has such a default (reference, 1.4)."""
    assert attribute(**fields).initial() is None


def test_no_default_is_none():
    """A definition without a default gives nothing."""
    assert attribute().initial() is None
    assert not attribute().has_default


@pytest.mark.parametrize("value", ["maybe", 5, None, [], ""])
@pytest.mark.parametrize("flag", ["mutable", "required"])
def test_mutable_and_required_are_flags(flag, value):
    """What is neither true nor false is refused, with the field's name."""
    with pytest.raises(InvalidCategory) as caught:
        attribute(**{flag: value})
    assert caught.value.data["field"] == flag


def test_an_attribute_is_mutable_and_optional_unless_said_otherwise():
    """The draft of May 2012 and the text rendering (GFD.229 5.4: {immutable}, {required}) agree on that."""
    assert (attribute().mutable, attribute().required) == (True, False)
    assert (attribute(mutable="False").mutable, attribute(required="True").required) == (False, True)


def test_an_unknown_field_is_refused():
    """A typing error in a definition does not pass in silence."""
    with pytest.raises(InvalidCategory) as caught:
        attribute(requierd=True)
    assert caught.value.data == {"attribute": "a", "field": "requierd"}


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ({}, True),
        ({"type": "string"}, True),
        ({"pattern": {"type": "string"}}, True),
        ({"default": {}}, True),
        ({"member": {"type": "string"}}, False),
        ({"type": {"type": "string"}}, False),
        ({"required": {}}, False),
    ],
)
def test_a_definition_is_told_from_a_level_of_names(value, answer):
    """A level of the nested form may hold an attribute named like a field of a definition."""
    assert is_definition(value) is answer


@given(
    VALUES,
    st.sampled_from(["string", "number", "boolean", "array", "object", "any"]),
    st.sampled_from([None, "true|false", "a|b", "x+", {"type": "string"}]),
)
def test_every_value_is_kept_or_refused(value, type, pattern):
    """No JSON value makes a check fail with anything but InvalidAttribute, and what is kept is kept again."""
    definition = AttributeDefinition("a", type, pattern=pattern)
    try:
        kept = definition.check(value)
    except InvalidAttribute:
        return
    assert definition.check(kept) == kept


@pytest.mark.parametrize(
    ("type", "good", "bad"), [("number", 2, 3.5), ("number", 1, 0), ("string", "ab", "abc"), ("array", [1], [])]
)
def test_bounds_hold(type, good, bad):
    """Draft of May 2012: minimum and maximum bound a number's value, a string's and an array's length."""
    definition = parse_definition("a", {"type": type, "minimum": 1, "maximum": 2})
    assert definition.check(good) == good
    with pytest.raises(InvalidAttribute):
        definition.check(bad)


@pytest.mark.parametrize(
    ("written", "bound"),
    [("1", 1), ("-2", -2), ("0.5", 0.5), ("1e3", 1000.0), ("", None), ("9" * 300, int("9" * 300))],
)
def test_a_bound_may_be_a_number_in_quotes(written, bound):
    """The draft of May 2012 writes its own samples so."""
    definition = parse_definition("a", {"type": "number", "minimum": written, "maximum": written})
    assert (definition.minimum, definition.maximum) == (bound, bound)
    if bound is not None:
        with pytest.raises(InvalidAttribute):
            definition.check(bound - 1 if bound < 10**20 else 5)


@pytest.mark.parametrize("bound", ["one", "1 2", "nan", "inf", "1e999", True, [], {}])
def test_a_bound_that_is_no_number_is_refused(bound):
    """A minimum is a number."""
    with pytest.raises(InvalidCategory):
        parse_definition("a", {"type": "number", "minimum": bound})
