"""The registry: categories by identifier and location, and what follows from a kind and its mixins."""

import pytest

from pycmbs.errors import InvalidCategory, InvalidRequest, UnknownCategory
from pycmbs.occi.attribute import AttributeDefinition
from pycmbs.occi.category import CORE_KINDS, ENTITY, RESOURCE, Action, Kind, Mixin
from pycmbs.occi.registry import Registry

S = "http://example.org/stuff#"
BOX = Kind(
    S, "box", attributes={"b.size": AttributeDefinition("b.size", "number")}, actions=(S + "open",), location="/box/"
)
CRATE = Kind(S, "crate", parent=S + "box", location="/crate/", actions=(S + "lift",))
PAINT = Mixin(
    S, "paint", attributes={"p.color": AttributeDefinition("p.color")}, location="/paint/", actions=(S + "dry",)
)
GLOSS = Mixin(S, "gloss", depends=(S + "paint",), applies=(S + "box",), location="/gloss/")
VERBS = tuple(Action(S, term) for term in ("open", "lift", "dry"))
ALL = (*CORE_KINDS, BOX, CRATE, PAINT, GLOSS, *VERBS)


@pytest.fixture
def registry():
    return Registry(ALL)


def test_a_category_is_found_by_name_and_place(registry):
    """Identifier and location lead to the same category."""
    assert registry.get(BOX.identifier) is registry.at("/box/") is BOX
    assert registry.get("x") is registry.at("/x/") is None


def test_each_class_has_its_own_lookup(registry):
    """A mixin is not a kind, and the error says which ones there are."""
    assert (registry.kind(S + "box"), registry.mixin(S + "paint"), registry.action(S + "open")) == (
        BOX,
        PAINT,
        VERBS[0],
    )
    with pytest.raises(UnknownCategory) as caught:
        registry.kind(S + "paint")
    assert caught.value.data["category"] == S + "paint"
    assert BOX.identifier in caught.value.hint


def test_lineage_goes_from_the_root_down(registry):
    """GFD.221 4.4.1: a kind inherits from its parents, entity first."""
    assert registry.lineage(CRATE) == [ENTITY, RESOURCE, BOX, CRATE]


@pytest.mark.parametrize("parents", [("a", "a"), ("b", "a"), ("b", "c", "b")])
def test_a_kind_cannot_be_its_own_ancestor(parents):
    """A cycle of parents is an error, not an endless loop."""
    kinds = [
        Kind(S, term, parent=S + parent, location=f"/{term}/") for term, parent in zip("abc", parents, strict=False)
    ]
    with pytest.raises(InvalidCategory):
        Registry([*CORE_KINDS, *kinds]).lineage(kinds[0])


def test_capabilities_are_inherited(registry):
    """A kind has its parents' attributes and actions."""
    assert set(registry.schema(CRATE, ()).definitions) == {"b.size"}
    assert set(registry.actions(CRATE, ())) == {"open", "lift"}


def test_a_mixin_brings_what_it_depends_on(registry):
    """GFD.221 4.4.2: with depends, an entity has both capabilities."""
    assert set(registry.schema(BOX, (GLOSS.identifier,)).definitions) == {"b.size", "p.color"}
    assert set(registry.actions(BOX, (GLOSS.identifier,))) == {"open", "dry"}


def test_mixins_may_depend_on_each_other():
    """A circle of mixins is followed once."""
    one, two = Mixin(S, "one", depends=(S + "two",)), Mixin(S, "two", depends=(S + "one",), actions=(S + "open",))
    assert set(Registry([*ALL, one, two]).actions(CRATE, (one.identifier,))) == {"open", "lift"}


def test_a_mixins_definition_overrides_its_kinds():
    """GFD.221 4.4.2: a template sets defaults of its own."""
    large = AttributeDefinition("b.size", "number", default=100, has_default=True)
    registry = Registry([*ALL, Mixin(S, "large", attributes={"b.size": large})])
    assert registry.schema(BOX, (S + "large",)).created({}) == {"b.size": 100}


def test_what_the_backend_knows_overrides_all():
    """An attribute of the backend is what the backend says, whatever a definition says."""
    own = AttributeDefinition("b.size", "number", internal=True)
    assert Registry(ALL, lambda _kind: {"b.size": own}).schema(BOX, ()).definitions["b.size"] is own


def test_an_unknown_mixin_is_an_error(registry):
    """A mixin that is not there cannot be given to anything."""
    with pytest.raises(UnknownCategory):
        registry.schema(BOX, (S + "nothing",))


def test_a_mixin_without_applies_is_for_everything(registry):
    """GFD.221 4.4.2: a mixin without applies can be given to any entity."""
    registry.check_applies(RESOURCE, (PAINT.identifier,))


def test_a_mixin_applies_to_descendants(registry):
    """What applies to a kind applies to the kinds below it."""
    registry.check_applies(CRATE, (GLOSS.identifier,))


def test_a_mixin_applies_to_nothing_else(registry):
    """GFD.221 4.4.2: a mixin made for one kind is refused to another."""
    with pytest.raises(InvalidRequest) as caught:
        registry.check_applies(RESOURCE, (GLOSS.identifier,))
    assert caught.value.data["category"] == GLOSS.identifier


def test_schemas_are_made_once(registry):
    """The same kind and mixins share one schema."""
    assert registry.schema(BOX, (PAINT.identifier,)) is registry.schema(BOX, (PAINT.identifier,))


def test_an_entity_of_kind_entity_cannot_be_made(registry):
    """GFD.221 4.4.1: the kind entity is never instantiated."""
    assert registry.instantiable(RESOURCE.identifier) is RESOURCE
    with pytest.raises(InvalidRequest):
        registry.instantiable(ENTITY.identifier)
