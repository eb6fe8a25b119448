"""What the definitions of clients may cost: no check takes longer than a bounded number of steps."""

import pytest

from pycmbs.errors import InvalidAttribute, InvalidCategory, InvalidRequest
from pycmbs.occi import steps
from pycmbs.occi.pattern import check_schema, checked_pattern, search
from pycmbs.occi.steps import bounded, spend
from pycmbs.scope import current


@pytest.fixture
def spent():
    """How many steps were taken since the test began."""
    with bounded():
        yield lambda: steps.MOST - current.get().steps


def doubling(levels):
    """Definitions that each refer twice to the next."""
    definitions = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": definitions | {f"d{levels}": {}}, "$ref": "#/$defs/d0"}


COSTLY = {
    "patterns by keys": ({"patternProperties": {f"^k{n}": {} for n in range(1500)}}, {f"k{n}": 1 for n in range(1500)}),
    "others by patterns": (
        {"patternProperties": {f"^k{n}": {} for n in range(1500)}, "additionalProperties": False},
        {f"x{n}": 1 for n in range(1500)},
    ),
    "items by required": (
        {"items": {"required": [f"r{n}" for n in range(3000)]}},
        [{f"r{n}": 1 for n in range(3000)}] * 2000,
    ),
    "items by alternatives": ({"items": {"anyOf": [{"const": n} for n in range(2000)]}}, [1999] * 2000),
    "references": (doubling(40), 1),
    "sentences about a large value": ({"oneOf": [{"type": "string"}] * 2000}, ["x"] * 200_000),
    "a schema that nothing fits": ({"allOf": [{"not": {"contains": False}}] * 2000}, ["x" * 1000] * 1000),
    "distinct items": ({"allOf": [{"uniqueItems": True}] * 2000}, list(range(100_000))),
    "names": ({"items": {"propertyNames": {"pattern": "^k"}}}, [{f"k{n}": 1 for n in range(500)}] * 500),
    "long texts": ({"allOf": [{"pattern": f"x{n}?"} for n in range(2000)]}, "x" * 1_000_000),
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_check_that_takes_too_long_is_refused(name, spent):
    """A schema and a value whose sizes multiply are an error that names the attribute, before the work is done."""
    schema, value = COSTLY[name]
    with pytest.raises(InvalidAttribute) as caught:
        check_schema("a", schema, value)
    assert caught.value.data["attribute"] == "a"
    assert "steps" in caught.value.message
    assert spent() < 30 * steps.MOST  # what would have taken it over the edge was not done


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"enum": [f"w{n}" for n in range(3000)]}}, ["w2999"] * 3000),
        ({"uniqueItems": True}, [{"n": n} for n in range(20_000)]),
        ({"items": {"type": "number", "minimum": 0}}, list(range(20_000))),
        ({"properties": {f"p{n}": {"type": "number"} for n in range(3000)}}, {f"p{n}": n for n in range(3000)}),
        ({"type": "array"}, ["x" * 100] * 100_000),
        ({"patternProperties": {f"^k{n}$": {} for n in range(50)}}, {f"k{n}": 1 for n in range(1000)}),
    ],
)
def test_a_check_of_ordinary_size_is_done(schema, value, spent):
    """What grows with the value alone has room: thousands of items, and enumerations of thousands of words."""
    check_schema("a", schema, value)
    assert spent() < steps.MOST


@pytest.mark.parametrize(
    ("choices", "good", "bad"),
    [
        ([1, "1", None], [1, 1.0, "1", None], [True, 0, "", []]),
        ([True, []], [True, []], [1, {}, False]),
        ([{"a": [1, {}]}], [{"a": [1.0, {}]}], [{"a": [True, {}]}, {"a": [1, []]}, {}]),
    ],
)
def test_an_enumeration_compares_as_json_schema_does(choices, good, bad):
    """1 and 1.0 are equal, 1 and true are not, in whatever they are; the same for const and uniqueItems."""
    for value in good:
        check_schema("a", {"enum": choices}, value)
        check_schema("a", {"anyOf": [{"const": one} for one in choices]}, value)
    for value in bad:
        for schema in ({"enum": choices}, {"anyOf": [{"const": one} for one in choices]}):
            with pytest.raises(InvalidAttribute):
                check_schema("a", schema, value)
        check_schema("a", {"uniqueItems": True}, [value, *choices])
    for value in good:
        with pytest.raises(InvalidAttribute):
            check_schema("a", {"uniqueItems": True}, [*choices, value])


@pytest.mark.parametrize("draft", ["http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-07/schema"])
@pytest.mark.parametrize(
    "evil", [{"pattern": "(a+)+$"}, {"patternProperties": {"(a+)+$": {}}, "additionalProperties": False}]
)
def test_another_draft_is_no_way_around(draft, evil, spent):
    """A schema within the schema that names an older draft is matched by RE2 and counted, too."""
    value = "a" * 60 + "!" if "pattern" in evil else {"a" * 60 + "!": 1}
    for schema in (
        {"allOf": [{"$schema": draft, **evil}]},
        {"$schema": draft, "$ref": "#/x", "x": {"$schema": draft, **evil}},
    ):
        with pytest.raises(InvalidAttribute):
            check_schema("a", schema, value)
    assert spent() > 0


@pytest.mark.parametrize(
    "schema",
    [{"allOf": [{} for _ in range(200_000)]}, {"properties": {f"p{n}": {"type": "string"} for n in range(100_000)}}],
)
def test_a_schema_that_takes_too_long_to_check_is_refused(schema):
    """A definition has the same budget."""
    with pytest.raises(InvalidCategory) as caught:
        checked_pattern("a", schema)
    assert "steps" in caught.value.message


def test_a_schema_of_1500_patterns_is_taken():
    """It is large, and no more than that."""
    assert checked_pattern("a", {"patternProperties": {f"^k{n}$": {"type": "number"} for n in range(1500)}})


def test_expressions_that_are_large_when_compiled_count(spent):
    """What a pattern costs shows when it is compiled."""
    with pytest.raises(InvalidRequest):
        all(search(f"(?i)[\\pL\\pN]{{{number}}}") for number in range(1, 500))
    assert spent() > steps.MOST


def test_a_budget_is_shared(spent):
    """All that is done within one is one; outside of any nothing is counted."""
    with bounded():
        spend(steps.MOST // 2)
    with bounded(), pytest.raises(InvalidRequest):
        spend(steps.MOST)
    assert spent() > steps.MOST
